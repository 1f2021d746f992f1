"""Clients that hold leases: granted, hung a key on, renewed for a while, and left to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field

from uring.machines.commands import Command, Grant, KeepAlive, Lease, PutOp, Txn

if TYPE_CHECKING:
    from tests.sim.world import World

PATIENCE = 2.5
FASTEST = 1.05
"""The rate of the fastest clock that a leader may measure with."""


@define(eq=False)
class Holder:
    """One lease after the other; what must never happen is that one ends while it is renewed.

    From the moment at which the last renewal that was answered had been asked for, a lease has its
    whole time, whoever leads meanwhile, as long as clocks differ by 5 % at most.
    """

    world: World
    id: int
    random: Any = field(init=False)
    _lease: int = field(default=0, init=False)
    _seconds: float = field(default=0.0, init=False)
    _since: float = field(default=0.0, init=False)
    """When the last grant or renewal was asked for that was answered."""
    _renewals: int = field(default=0, init=False)
    """How many are left before this lease is left to end."""
    _call: int = field(default=0, init=False)
    """The call under way; answers to others come too late."""
    _over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.random = self.world.random(f"holder {self.id}")

    def begin(self) -> None:
        self._later(self.random.random())

    def finish(self) -> None:
        """Renew nothing any more: all leases end by themselves."""
        self._over = True

    def _later(self, seconds: float) -> None:
        call = self._call

        def act() -> None:
            if call == self._call and not self._over:
                self._act()

        self.world.schedule(seconds, "", act)

    def _act(self) -> None:
        if not self._lease:
            self._seconds = self.random.uniform(1.0, 2.0)
            self._renewals = self.random.randrange(8)
            self._ask(Grant(int(1000 * self._seconds)), self._granted)
        elif not self._renewals:
            self._lease = 0
            self._later(self.random.uniform(0.0, 2.0))
        else:
            self._renewals -= 1
            self._ask(KeepAlive(self._lease), self._renewed)

    def _ask(self, command: Command, then: Callable[[Lease, float], None]) -> None:
        """Ask any node; without an answer, ask again, or another one, some time later."""
        self._call += 1
        call, asked = self._call, self.world.now
        life = self.world.hosts[self.random.choice(sorted(self.world.hosts))].life
        if life is None or life.node is None:
            self._later(0.1)
            return

        def done(result: Any) -> None:
            if call == self._call:
                self._call += 1
                if type(result) is Lease:
                    then(result, asked)
                # Often so late that the lease is just about to end, or has ended.
                share = self.random.choice((0.05, 0.5, 0.85, 0.85)) + self.random.uniform(0.0, 0.2)
                self._later(self._seconds * share)

        life.later(0.001, "", lambda: life.node.submit(command, done))
        self._later(PATIENCE)

    def _granted(self, lease: Lease, asked: float) -> None:
        self._lease, self._since = lease.id, asked
        self.world.faults.counts["leases granted"] += 1
        life = self.world.hosts[self.random.choice(sorted(self.world.hosts))].life
        if life is not None and life.node is not None:
            hang = Txn([], [PutOp(f"held {lease.id}", b"x", lease.id)])
            life.later(0.001, "", lambda: life.node.submit(hang, lambda result: None))

    def _renewed(self, lease: Lease, asked: float) -> None:
        if lease.alive:
            self._since = asked
            self.world.faults.counts["leases renewed"] += 1
            return
        passed = self.world.now - self._since
        if passed < self._seconds / FASTEST:
            self.world.properties.violated(
                f"lease {self._lease} of {self._seconds:.3f} s has ended {passed:.3f} s after it"
                " was renewed"
            )
        self.world.faults.counts["leases ended"] += 1
        self._lease = 0
