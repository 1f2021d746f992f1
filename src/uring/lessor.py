"""Measures the time of leases, on the leader only, and says through the log when one is over.

Never early: a leader begins with the whole time of each lease when it comes to lead, a renewal
begins it again when it is applied here, and time during which this process stood still does not
count, since renewals may have been waiting at its door all the while.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from attrs import define, field

from uring.machines.commands import Expire, Lease

READ_EACH_TICK = 2_000
"""Leases that a new leader reads in one tick: some milliseconds."""
EXPIRE_EACH_TICK = 200
"""Leases that end with one tick, each with all its keys."""
AGAIN_SECONDS = 1.0
"""After this long an expiry that had no effect is said again."""


@define
class Lessor:
    """The deadlines of all leases while this node leads; nothing while it does not."""

    read: Callable[[int, int], list[Lease]]
    """``read(after, count)`` returns applied leases with ids greater than ``after``, ascending."""
    submit: Callable[[Expire, Callable[[Any], None]], None]
    step: float
    """Seconds that one tick may count for at the most."""
    _leads: bool = field(default=False, init=False)
    _now: float = field(default=0.0, init=False)
    """Seconds that this node has seen as a leader."""
    _known: dict[int, tuple[float, int]] = field(factory=dict, init=False)
    """Deadline and renewals by lease."""
    _due: list[tuple[float, int]] = field(factory=list, init=False)
    """A heap of (deadline, lease); an entry whose deadline is not the known one is void."""
    _read_to: int | None = field(default=None, init=False)
    """The last lease that was read since this node came to lead; None when all are."""

    @property
    def measured(self) -> int:
        """How many leases are measured here: none on a node that does not lead."""
        return len(self._known)

    def remaining(self, lease: int) -> float | None:
        """Return the seconds that ``lease`` has left, None where that is not known here."""
        known = self._known.get(lease)
        return None if known is None else max(0.0, known[0] - self._now)

    def touched(self, leases: list[Lease]) -> None:
        """Take note of leases that were made, renewed or ended by what was just applied."""
        if self._leads:
            for lease in leases:
                self._measure(lease)

    def tick(self, leads: bool, elapsed: float) -> None:
        """Let ``elapsed`` seconds pass; ``leads`` says whether this node's word counts."""
        if leads != self._leads:
            self._leads = leads
            self._known.clear()
            self._due.clear()
            self._read_to = 0 if leads else None
        if not leads:
            return
        self._now += min(elapsed, self.step)
        self._read_more()
        self._expire()

    def _read_more(self) -> None:
        if self._read_to is None:
            return
        found = self.read(self._read_to, READ_EACH_TICK)
        for lease in found:
            if lease.id not in self._known:
                self._measure(lease)
        self._read_to = found[-1].id if len(found) == READ_EACH_TICK else None

    def _measure(self, lease: Lease) -> None:
        if not lease.alive:
            self._known.pop(lease.id, None)
            return
        # The time of the last tick: what has passed since then is counted by the next one.
        deadline = self._now + self.step + lease.ttl_ms / 1000
        self._put(lease.id, deadline, lease.renewals)
        if len(self._due) > 2 * len(self._known) + 64:  # mostly void: leases that are renewed often
            self._due = [(deadline, each) for each, (deadline, _) in self._known.items()]
            heapify(self._due)

    def _put(self, lease: int, deadline: float, renewals: int) -> None:
        self._known[lease] = (deadline, renewals)
        heappush(self._due, (deadline, lease))

    def _expire(self) -> None:
        ended = 0
        while self._due and self._due[0][0] <= self._now and ended < EXPIRE_EACH_TICK:
            deadline, lease = heappop(self._due)
            known = self._known.get(lease)
            if known is None or known[0] != deadline:
                continue
            ended += 1
            # It goes when the expiry is applied; if that is lost, it is said again.
            self._put(lease, self._now + AGAIN_SECONDS, known[1])
            self.submit(Expire(lease, known[1]), _ignore)


def _ignore(result: object) -> None:
    """Whatever comes of it: a lease that is still there has its next deadline."""
