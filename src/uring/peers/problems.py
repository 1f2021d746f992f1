"""Why connections with other nodes do not come about: what a node can show of it."""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

RECENT_SECONDS = 30.0
"""A problem that lasts is met again at every attempt to connect, so an older one is over."""
PROBLEMS_MAX = 64
"""Strangers may make as many as they like; the oldest makes room."""


@frozen
class Problem:
    """One reason, met last ``at``; ``node`` is 0 where nobody said who is there."""

    node: int
    by: str
    reason: str
    at: float


@define
class Problems:
    """The latest problem of each kind with each address."""

    clock: IReactorTime
    _found: dict[tuple[str, str], Problem] = field(factory=dict, init=False)
    """By address and code, oldest first."""

    def note(self, where: str, code: str, reason: str, by: str = "here", node: int = 0) -> None:
        """Take note of a problem with ``where``; ``by`` "there" if the other side has it with us.

        Codes are those of HelloRefused, "unreachable", "tls", and "closed".
        """
        self._found.pop((where, code), None)
        if len(self._found) >= PROBLEMS_MAX:
            del self._found[next(iter(self._found))]
        self._found[where, code] = Problem(node, by, reason, self.clock.seconds())

    def over(self, *addresses: str) -> None:
        """Forget what was wrong with ``addresses``: they are connected."""
        self._found = {key: each for key, each in self._found.items() if key[0] not in addresses}

    def shown(self) -> list[dict[str, Any]]:
        """Return what has been wrong of late, JSON-ready; ``age`` in seconds."""
        now = self.clock.seconds()
        return [
            {
                "address": where,
                "node": each.node or None,
                "code": code,
                "by": each.by,
                "reason": each.reason,
                "age": round(now - each.at, 3),
            }
            for (where, code), each in self._found.items()
            if now - each.at <= RECENT_SECONDS
        ]
