"""A ring in memory, asked through the table of all machines."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from uring.machines.base import MemoryState
from uring.machines.commands import Command, Expire, KeepAlive, Lease, Query, SetSize
from uring.machines.events import Event
from uring.machines.proposal import Proposal, encode
from uring.machines.ring.commands import GetVnode, Joined, JoinRing, Refused, Vnode
from uring.machines.table import Machines


class RingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = MemoryState()
        self.machines = Machines()
        self.index = 0
        self.events: list[Event] = []

    def apply(self, command: Command) -> Any:
        """Return what the command is answered; its revision must be that of its events."""
        self.index += 1
        before = self.machines.revision(self.state)
        transaction = self.state.begin()
        data = encode(Proposal(1, 1, self.index, self.index, [command]))
        applied = self.machines.apply(transaction, self.index, data)
        transaction.commit()
        assert applied.results is not None
        self.assertEqual(self.machines.revision(self.state), before + len(applied.events))
        self.events.extend(applied.events)
        for event in applied.events:
            event.spelled()
        return applied.results[0]

    def ask(self, query: Query) -> Any:
        return self.machines.query(self.state, query)

    def refused(self, command: Command, *kinds: str) -> Refused:
        """Apply a command that must change nothing."""
        session = b"s"
        before = [item for item in self.state.iterate(b"") if item[0][:1] != session]
        result = self.apply(command)
        after = [item for item in self.state.iterate(b"") if item[0][:1] != session]
        self.assertEqual(before, after)
        self.assertIsInstance(result, Refused)
        self.assertIn(result.kind, kinds)
        assert isinstance(result, Refused)
        return result

    def size(self, size: int, replicas: int = 1, strategy: str = "minimal") -> None:
        self.apply(SetSize(size, strategy, replicas))

    def join(self, node: str, instance: str = "i") -> int:
        joined = self.apply(JoinRing(node, instance, f"{node}:1", 5000))
        assert isinstance(joined, Joined), joined
        return joined.lease

    def expire(self, lease: int) -> None:
        """Let a lease be over."""
        renewed = self.apply(KeepAlive(lease))
        assert isinstance(renewed, Lease)
        self.apply(Expire(lease, renewed.renewals))

    def vnode(self, vnode: int) -> Vnode:
        found = self.ask(GetVnode(vnode))
        assert isinstance(found, Vnode)
        return found

    def owner(self, vnode: int) -> str | None:
        return self.vnode(vnode).handoff.owner

    def state_of(self, vnode: int) -> str:
        return self.vnode(vnode).handoff.state
