"""A reactor that stands still ends the process."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from uring.watchdog import BEAT_SECONDS, Watchdog


class WatchdogTests(SynchronousTestCase):
    """What it counts.  The thread's looks are made by hand."""

    def setUp(self) -> None:
        self.clock, self.bites = Clock(), list[str]()
        self.watchdog = Watchdog(self.clock, self.bites.append, seconds=3)
        self.patch(self.watchdog.__class__, "_watch", lambda self: None)
        self.watchdog.start()

    def test_reactor_that_runs(self) -> None:
        """While the reactor moves nothing happens, even if it is late."""
        for _ in range(20):
            self.watchdog.look()
            self.watchdog.look()
            self.clock.advance(BEAT_SECONDS)
        self.assertEqual(self.bites, [])

    def test_reactor_that_stands_still(self) -> None:
        """It bites once, and says where the reactor is."""
        for _ in range(10):
            self.watchdog.look()
        (reason,) = self.bites
        self.assertIn("has stood still for 3 s", reason)
        self.assertIn("test_reactor_that_stands_still", reason)

    def test_process_that_was_stopped(self) -> None:
        """Hours without a look are no hours of standing still."""
        self.watchdog.look()
        self.clock.advance(3600)
        self.watchdog.look()
        self.watchdog.look()
        self.assertEqual(self.bites, [])

    def test_stop(self) -> None:
        """When the node stops, no more is expected of the reactor."""
        self.watchdog.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
