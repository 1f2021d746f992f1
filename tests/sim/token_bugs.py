"""Bugs to plant in tokens and upgrades; see tests.sim.bugs."""

from __future__ import annotations

from typing import Any

from tests.sim.bugs import Patch, bug
from uring.machines import table, tokens
from uring.machines.commands import RemoveToken
from uring.upgrades import Upgrades


@bug("a command let in that a member does not know")
def _() -> list[Patch]:
    return [(Upgrades, "refusal", lambda self, command: None)]


@bug("the level raised by those who are connected")
def _() -> list[Patch]:
    members = Upgrades._members

    def present(self: Any) -> list[int]:
        return [each for each in members(self) if (self.of(each) or 0) >= self.supported]

    return [(Upgrades, "_members", present)]


@bug("a level that is not kept")
def _() -> list[Patch]:
    from uring.store.transaction import StateTransaction

    return [(StateTransaction, "set_level", lambda self, level: None)]


@bug("a token that counts after its removal")
def _() -> list[Patch]:
    return [(tokens, "_unentitled", lambda known, by: None)]


@bug("doors are not told that a token is gone")
def _() -> list[Patch]:
    def remove(transaction: Any, command: RemoveToken, turn: Any) -> Any:
        result = tokens.remove(transaction, command, turn)
        turn.tokens = False
        return result

    return [(table, "_MACHINES", {**table._MACHINES, RemoveToken: remove})]
