"""All machines behind one door: a batch of commands in, results and changes out."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from msgspec import Struct

from uring.machines import keys, kv, leases, mring, once, tokens, txn
from uring.machines.base import Readable, Transaction
from uring.machines.commands import (
    AddNode,
    AddToken,
    Cas,
    Command,
    Delete,
    Expire,
    Get,
    GetHolder,
    GetLease,
    GetNodes,
    GetSize,
    GetTokens,
    Grant,
    KeepAlive,
    Lease,
    List,
    Look,
    Once,
    Put,
    Query,
    RecoverToken,
    RemoveNode,
    RemoveToken,
    Result,
    Revoke,
    SetSize,
    Txn,
)
from uring.machines.events import Event
from uring.machines.proposal import ProposalError, decode
from uring.machines.ring import members, queries
from uring.machines.ring.commands import (
    AbandonNode,
    BeginHandoff,
    CancelHandoff,
    CommitPlan,
    FinishHandoff,
    GetHandoffs,
    GetPlan,
    GetRing,
    GetVnode,
    JoinRing,
    LimitHandoffs,
)
from uring.machines.sessions import first_time
from uring.machines.turn import Turn

LARGE_RING = 1 << 14
"""To change a ring of so many vnodes takes some 5 ms, and one of a million up to a second."""
_LENGTHY = frozenset((AddNode, RemoveNode, CommitPlan, JoinRing, AbandonNode))
_LENGTHY_QUERIES = frozenset((GetNodes, GetPlan, GetRing, GetHandoffs))
_REVISION = b"r"
_OF_KEYS = frozenset((Put, Delete, Cas))
_U64 = struct.Struct(">Q")
_PAIR = struct.Struct(">II")


class Applied(Struct, frozen=True):
    """What became of one entry.

    ``results`` has one result for each command, or is None for a batch that was not applied because
    it had been before; ``proposer`` is 0 where the entry held no proposal at all.  ``before`` is
    the revision that the first of the ``events`` found.
    """

    proposer: int
    incarnation: int
    sequence: int
    results: list[Result] | None
    events: list[Event]
    before: int = 0
    leases: list[Lease] = []
    """Leases that were touched, as they are now."""
    tokens: bool = False
    """Whether any token was added or removed."""


class Lengthy(Exception):
    """A batch that takes long has not been begun."""


def _always(*about: object) -> bool:
    return True


@frozen
class Machines:
    """Applies and answers.  Holds no state itself: all of it is in the transaction."""

    answered: Callable[[int, int], bool] = _always
    """Whether somebody here waits for the results of a (proposer, incarnation); where not, answers
    with a ring leave it out."""
    large_ring: int = LARGE_RING
    """Vnodes from which a ring takes long to change, or to read as a whole."""

    def apply(
        self, transaction: Transaction, index: int, data: bytes, *, in_turn: bool = False
    ) -> Applied:
        """Apply the entry at ``index``.  Never raises for anything that ``data`` may hold.

        But ``in_turn``, where others wait for this thread, :exc:`Lengthy` is raised for what takes
        long, and nothing is done.
        """
        try:
            proposal = decode(data)
        except ProposalError:
            return Applied(0, 0, index, None, [])
        name = (proposal.proposer, proposal.incarnation, proposal.sequence)
        if not all(0 < number < 1 << 63 for number in name):
            return Applied(0, 0, index, None, [])
        if in_turn and self._is_lengthy(transaction, proposal.commands):
            raise Lengthy
        if not first_time(transaction, *name, proposal.floor):
            return Applied(*name, None, [])
        before = self.revision(transaction)
        turn = Turn(
            revision=before,
            answered=self.answered(proposal.proposer, proposal.incarnation),
        )
        results = [
            kv.put(transaction, command, turn)
            if type(command) is Put
            else _apply(transaction, command, turn)
            for command in proposal.commands
        ]
        if turn.revision != before:
            transaction.put(_REVISION, _U64.pack(turn.revision))
        return Applied(*name, results, turn.events, before, turn.leases, turn.tokens)

    def _is_lengthy(self, state: Readable, commands: Sequence[Command]) -> bool:
        if _LENGTHY.isdisjoint(map(type, commands)):
            return False
        sizes = [command.size for command in commands if type(command) is SetSize]
        return max([*sizes, mring.size(state) or 0]) >= self.large_ring

    def are_lengthy(self, state: Readable, queries: Sequence[Query]) -> bool:
        """Tell whether it takes long to answer ``queries``."""
        if _LENGTHY_QUERIES.isdisjoint(map(type, queries)):
            return False
        return (mring.size(state) or 0) >= self.large_ring

    def query(self, state: Readable, query: Query) -> Any:
        """Answer ``query`` from ``state``; see the queries for the types of their answers."""
        if type(query) is Get:
            return kv.read(state, query.key)
        return _QUERIES[type(query)](self, state, query)

    def revision(self, state: Readable) -> int:
        """Return how many changes there have been, ever."""
        record = state.get(_REVISION)
        return 0 if record is None else int(_U64.unpack(record)[0])

    def raise_revision(self, transaction: Transaction, by: int) -> None:
        """Count on from a revision that nobody has seen (after a backup was restored)."""
        transaction.put(_REVISION, _U64.pack(self.revision(transaction) + by))

    def digest(self, state: Readable) -> bytes:
        """Return a hash of the whole state: equal on all replicas at an equal applied index."""
        digest = hashlib.blake2b(digest_size=16)
        for key, value in state.iterate(b""):
            digest.update(_PAIR.pack(len(key), len(value)) + key + value)
        return digest.digest()


_QUERIES: dict[type, Callable[[Machines, Readable, Any], Any]] = {
    Look: lambda machines, state, query: kv.look(state, query.key),
    List: lambda machines, state, query: kv.page(state, query, machines.revision(state)),
    GetLease: lambda machines, state, query: (
        leases.load(state, query.lease),
        [key.decode() for key in leases.keys_of(state, query.lease)],
    ),
    GetHolder: lambda machines, state, query: members.named(state, query.lease),
    GetTokens: lambda machines, state, query: tokens.every(state),
    GetSize: lambda machines, state, query: mring.size(state),
    GetNodes: lambda machines, state, query: mring.nodes(state),
    **dict.fromkeys(
        (GetVnode, GetRing, GetPlan, GetHandoffs),
        lambda machines, state, query: queries.answer(state, query),
    ),
}


def _apply(transaction: Transaction, command: Command, turn: Turn) -> Result:
    if type(command) in _OF_KEYS:
        return kv.apply(transaction, command, turn)  # type: ignore[arg-type]
    return _MACHINES[type(command)](transaction, command, turn)


def _once(transaction: Transaction, command: Once, turn: Turn) -> Result:
    return once.apply(transaction, command, lambda: _apply(transaction, command.command, turn))


def _end_lease(transaction: Transaction, command: Revoke | Expire, turn: Turn) -> Result:
    """Remove a lease and its keys, unless it was renewed since the leader measured."""
    lease = leases.load(transaction, command.lease)
    if not lease.alive or (type(command) is Expire and command.renewals != lease.renewals):
        return lease
    for key in leases.keys_of(transaction, lease.id):
        record = transaction.get(b"k" + key)
        if record is not None:
            keys.remove(transaction, b"k" + key, record, turn)
            keys.note_delete(turn, key.decode(), record)
    mring.lease_ended(transaction, lease.id, turn)
    return leases.end(transaction, lease, turn)


_MACHINES: dict[type, Callable[[Transaction, Any, Turn], Result]] = {
    Txn: txn.apply,
    Once: _once,
    Grant: leases.grant,
    KeepAlive: leases.keep_alive,
    Revoke: _end_lease,
    Expire: _end_lease,
    AddToken: tokens.add,
    RemoveToken: tokens.remove,
    RecoverToken: tokens.recover,
    **dict.fromkeys(
        (
            SetSize,
            AddNode,
            RemoveNode,
            CommitPlan,
            JoinRing,
            BeginHandoff,
            FinishHandoff,
            CancelHandoff,
            AbandonNode,
            LimitHandoffs,
        ),
        mring.apply,
    ),
}
