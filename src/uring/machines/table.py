"""All machines behind one door: a batch of commands in, results and changes out."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

from attrs import frozen
from msgspec import Struct

from uring.machines import kv, mring
from uring.machines.base import Readable, Transaction
from uring.machines.commands import (
    Cas,
    Change,
    Command,
    Delete,
    Get,
    GetSize,
    Put,
    Query,
    Result,
)
from uring.machines.proposal import ProposalError, decode
from uring.machines.sessions import first_time
from uring.machines.turn import Turn

_REVISION = b"r"
_OF_KEYS = frozenset((Put, Delete, Cas))
_U64 = struct.Struct(">Q")
_PAIR = struct.Struct(">II")


class Applied(Struct, frozen=True):
    """What became of one entry.

    ``results`` has one result for each command, or is None for a batch that was not applied because
    it had been before; ``proposer`` is 0 where the entry held no proposal at all.
    """

    proposer: int
    incarnation: int
    sequence: int
    results: list[Result] | None
    changes: list[Change]


def _always(*about: object) -> bool:
    return True


@frozen
class Machines:
    """Applies and answers.  Holds no state itself: all of it is in the transaction."""

    answered: Callable[[int, int], bool] = _always
    """Whether somebody here waits for the results of a (proposer, incarnation); where not, answers
    with a ring leave it out."""
    heard: Callable[[str], bool] = _always
    """Whether somebody here listens to a channel ("kv", "mring"); where not, its changes are left
    out of :class:`Applied`."""

    def apply(self, transaction: Transaction, index: int, data: bytes) -> Applied:
        """Apply the entry at ``index``.  Never raises for anything that ``data`` may hold."""
        try:
            proposal = decode(data)
        except ProposalError:
            return Applied(0, 0, index, None, [])
        name = (proposal.proposer, proposal.incarnation, proposal.sequence)
        if not all(0 < number < 1 << 63 for number in name):
            return Applied(0, 0, index, None, [])
        if not first_time(transaction, *name, proposal.floor):
            return Applied(*name, None, [])
        before = self.revision(transaction)
        turn = Turn(
            revision=before,
            answered=self.answered(proposal.proposer, proposal.incarnation),
            kv_heard=self.heard(kv.CHANNEL),
            mring_heard=self.heard(mring.CHANNEL),
        )
        results = [_apply(transaction, command, turn) for command in proposal.commands]
        if turn.revision != before:
            transaction.put(_REVISION, _U64.pack(turn.revision))
        return Applied(*name, results, turn.changes)

    def query(self, state: Readable, query: Query) -> Any:
        """Answer ``query`` from ``state``; see the queries for the types of their answers."""
        if type(query) is Get:
            return kv.read(state, query.key)
        if type(query) is GetSize:
            return mring.size(state)
        return mring.nodes(state)

    def revision(self, state: Readable) -> int:
        """Return how many changes there have been, ever."""
        record = state.get(_REVISION)
        return 0 if record is None else int(_U64.unpack(record)[0])

    def digest(self, state: Readable) -> bytes:
        """Return a hash of the whole state: equal on all replicas at an equal applied index."""
        digest = hashlib.blake2b(digest_size=16)
        for key, value in state.iterate(b""):
            digest.update(_PAIR.pack(len(key), len(value)) + key + value)
        return digest.digest()


def _apply(transaction: Transaction, command: Command, turn: Turn) -> Result:
    if type(command) in _OF_KEYS:
        return kv.apply(transaction, command, turn)  # type: ignore[arg-type]
    return mring.apply(transaction, command, turn)  # type: ignore[arg-type]
