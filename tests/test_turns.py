"""Clients share the thread."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from uring.turns import SLICE_SECONDS, TURN_SECONDS, WAITING_SECONDS, Turns


class Busy:
    """A client with work for some seconds."""

    def __init__(self, test: TurnsTests, name: str, seconds: float) -> None:
        self.test, self.name, self.left = test, name, seconds

    def come(self, is_new: bool = True) -> None:
        turns, clock = self.test.turns, self.test.clock
        if not turns.enter():
            turns.later(self.come, is_new)
            return
        try:
            self.test.served.append(self.name)
            while self.left > 0:
                step = min(self.left, SLICE_SECONDS / 4)
                clock.rightNow += step
                self.left -= step
                if turns.is_over:
                    break
        finally:
            turns.leave()
        if self.left > 0:
            turns.later(lambda: self.come(False), False)


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.served = Clock(), list[str]()
        self.turns = Turns(self.clock)

    def iterate(self) -> float:
        """Let the reactor look after everything else once; return what clients took then."""
        before = self.clock.seconds()
        # Not by Clock.advance: what is done takes time, so it would do what that calls for, too.
        for call in self.clock.getDelayedCalls():
            func = call.func  # type: ignore[attr-defined]
            call.cancel()
            func()
        return self.clock.seconds() - before

    def test_little_work(self) -> None:
        """Who has little to ask is served at once, and no timer is set for it."""
        Busy(self, "a", TURN_SECONDS / 4).come()
        self.assertEqual(self.served, ["a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_much_work_of_one(self) -> None:
        """A client alone has the whole turn, and then lets the reactor go on."""
        client = Busy(self, "a", 3 * TURN_SECONDS)
        client.come()
        self.assertAlmostEqual(client.left, 2 * TURN_SECONDS)
        while client.left > 0:
            self.assertLess(self.iterate(), TURN_SECONDS + SLICE_SECONDS)

    def test_crowd(self) -> None:
        """However many want much at once, everything else waits for one turn at the most."""
        crowd = [Busy(self, str(n), 1.0) for n in range(100)]
        for client in crowd:
            client.come()
        self.assertLess(self.clock.seconds(), TURN_SECONDS + SLICE_SECONDS)
        for _ in range(100):
            self.assertLess(self.iterate(), WAITING_SECONDS + 2 * SLICE_SECONDS)
        left = [client.left for client in crowd[1:]]
        self.assertLess(max(left) - min(left), 3 * SLICE_SECONDS)

    def test_newcomer(self) -> None:
        """Who comes while others have much to do does not wait for all of them."""
        for n in range(100):
            Busy(self, str(n), 1.0).come()
        while len(set(self.served)) < 100:
            self.iterate()
        Busy(self, "new", SLICE_SECONDS / 4).come()
        for _ in range(2):
            self.iterate()
        self.assertIn("new", self.served)

    def test_work_within_work(self) -> None:
        """What one client's work brings about counts for its own slice."""
        self.assertTrue(self.turns.enter())
        self.assertTrue(self.turns.enter())
        self.turns.leave()
        self.clock.rightNow += TURN_SECONDS
        self.assertFalse(self.turns.enter())
        self.turns.leave()
        self.assertFalse(self.turns.enter())
        self.clock.advance(0)
        self.assertTrue(self.turns.enter())
