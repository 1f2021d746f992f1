"""The leader's measure of leases: never early, said again when lost, in bounded pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from uring import lessor
from uring.lessor import Lessor
from uring.machines.commands import Expire, Lease

STEP = 0.5


class LessorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stored: list[Lease] = []
        self.said: list[Expire] = []
        self.lessor = Lessor(read=self.read, submit=self.submit, step=STEP)

    def read(self, after: int, count: int) -> list[Lease]:
        return [lease for lease in self.stored if lease.id > after][:count]

    def submit(self, expire: Expire, done: Callable[[Any], None]) -> None:
        self.said.append(expire)

    def pass_(self, seconds: float, leads: bool = True) -> None:
        for _ in range(round(seconds / STEP)):
            self.lessor.tick(leads, STEP)

    def lead(self) -> None:
        self.lessor.tick(True, 0.0)

    def test_over(self) -> None:
        """A lease that nobody renews is over after its time, not before."""
        self.lead()
        self.lessor.touched([Lease(1, 2000, True)])
        self.pass_(2.0)
        self.assertEqual((self.said, self.lessor.remaining(1)), ([], STEP))
        self.pass_(STEP)
        self.assertEqual(self.said, [Expire(1, 0)])

    def test_lease_was_shorter_by_the_time_since_the_last_tick(self) -> None:
        """A lease that begins just before a tick has its whole time, too."""
        self.lead()
        self.lessor.touched([Lease(1, 1000, True)])
        self.lessor.tick(True, STEP)  # nearly all of it was over when the lease began
        self.pass_(1.0 - STEP)
        self.assertEqual(self.said, [])

    def test_renewed(self) -> None:
        """A renewal begins the time again, and the expiry names it."""
        self.lead()
        self.lessor.touched([Lease(1, 2000, True)])
        self.pass_(1.5)
        self.lessor.touched([Lease(1, 2000, True, 1)])
        self.pass_(2.0)
        self.assertEqual(self.said, [])
        self.pass_(STEP)
        self.assertEqual(self.said, [Expire(1, 1)])

    def test_ended(self) -> None:
        """A lease that was revoked is forgotten."""
        self.lead()
        self.lessor.touched([Lease(1, 2000, True), Lease(1, 2000, False)])
        self.pass_(5)
        self.assertEqual((self.said, self.lessor.remaining(1)), ([], None))

    def test_new_leader_gives_the_whole_time(self) -> None:
        """Who comes to lead begins anew with what is stored, however long it had been."""
        self.stored = [Lease(1, 2000, True, 7)]
        self.pass_(60, leads=False)
        self.pass_(2 + STEP)
        self.assertEqual(self.said, [])
        self.pass_(STEP)
        self.assertEqual(self.said, [Expire(1, 7)])

    def test_deposed(self) -> None:
        """Who leads no more measures nothing, and begins anew when it leads again."""
        self.stored = [Lease(1, 2000, True)]
        self.pass_(2.0)
        self.pass_(10, leads=False)
        self.lessor.touched([Lease(2, 1000, True)])
        self.pass_(2)
        self.assertEqual(self.said, [])

    def test_standstill_does_not_count(self) -> None:
        """A process that stood still for an hour has not seen that nobody renewed."""
        self.lead()
        self.lessor.touched([Lease(1, 2000, True)])
        self.lessor.tick(True, 3600.0)
        self.assertEqual((self.said, self.lessor.remaining(1)), ([], 2.0))

    def test_said_again(self) -> None:
        """An expiry that has no effect is said again after a while, once each time."""
        self.lead()
        self.lessor.touched([Lease(1, 2000, True)])
        self.pass_(2 + STEP + lessor.AGAIN_SECONDS)
        self.assertEqual(self.said, [Expire(1, 0)] * 2)

    def test_read_in_pieces(self) -> None:
        """A new leader reads so many leases each tick; what is renewed meanwhile stays renewed."""
        self.patch(lessor, "READ_EACH_TICK", 2)
        self.stored = [Lease(each, 2000, True) for each in range(1, 6)]
        self.lead()
        self.assertEqual(self.lessor.remaining(2), 2.0 + STEP)
        self.assertIsNone(self.lessor.remaining(3))
        self.lessor.touched([Lease(4, 2000, True, 9)])
        self.pass_(1)
        self.assertEqual(self.lessor.remaining(5), 2.0 + STEP)
        self.pass_(2 + STEP)
        self.assertIn(Expire(4, 9), self.said)
        self.assertEqual({each.lease for each in self.said}, {1, 2, 3, 4, 5})

    def test_many_end_at_once(self) -> None:
        """So many end with one tick, the rest with the next."""
        self.patch(lessor, "EXPIRE_EACH_TICK", 2)
        self.lead()
        self.lessor.touched([Lease(each, 1000, True) for each in range(1, 6)])
        self.pass_(1 + STEP)
        self.assertEqual(len(self.said), 2)
        self.pass_(0.5)
        self.assertEqual(len(self.said), 4)

    def test_heap_is_bounded(self) -> None:
        """A lease that is renewed a thousand times keeps no thousand deadlines."""
        self.lead()
        for renewals in range(1000):
            self.lessor.touched([Lease(1, 2000, True, renewals)])
        self.assertLess(len(self.lessor._due), 100)
