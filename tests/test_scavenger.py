"""Memory given back after a load."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from uring.scavenger import RELEASES, SECONDS, Scavenger, release


class ScavengerTests(SynchronousTestCase):
    """When it releases."""

    def setUp(self) -> None:
        self.clock, self.used, self.costs, self.released = Clock(), 0.0, 0.0, 0
        self.cost = 0.0
        self.scavenger = Scavenger(self.clock, self.release, lambda: self.used, lambda: self.costs)
        self.scavenger.start()

    def release(self) -> None:
        self.released += 1
        self.costs += self.cost

    def spend(self, share: float, looks: int = 1) -> int:
        """Use that share of a processor; return how often memory was released meanwhile."""
        before = self.released
        for _ in range(looks):
            self.used += share * SECONDS
            self.clock.advance(SECONDS)
        return self.released - before

    def test_idle(self) -> None:
        """Without a load nothing is released."""
        self.assertEqual(self.spend(0.2, 100), 0)

    def test_after_a_load(self) -> None:
        """After a load it is released for two minutes, and then no more."""
        self.assertEqual(self.spend(0.9, 10), 0)
        self.assertEqual(self.spend(0.1, 100), RELEASES)
        self.assertEqual(self.spend(0.1, 100), 0)

    def test_falling_to_a_smaller_load(self) -> None:
        """Where a flood ends over a load that goes on, memory is released, too."""
        self.spend(0.9, 10)
        self.assertEqual(self.spend(0.4, 100), RELEASES)

    def test_load_that_goes_on(self) -> None:
        """While the load goes up and down, nothing is released."""
        self.assertEqual(sum(self.spend(share) for share in (0.9, 0.6, 0.8, 0.5) * 20), 0)

    def test_dear(self) -> None:
        """Releasing takes at most a thousandth of the time."""
        self.cost = 0.1
        self.spend(0.9)
        self.assertEqual(self.spend(0.1, int(200 / SECONDS)), 2)

    def test_stop(self) -> None:
        """When the node stops nothing is left."""
        self.scavenger.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


IN_A_THREAD = """
import ctypes, threading
from uring.scavenger import prepare
prepare()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
thread = threading.Thread(target=lambda: [bytearray(2000) for _ in range(100)])
thread.start()
thread.join()
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""
"""Prints malloc's regions as XML."""


class ReleaseTests(SynchronousTestCase):
    """What is given back."""

    def test_memory_between_what_is_used(self) -> None:
        """Freed memory with some in use above it goes back to the system."""
        if "glibc" not in _libc():
            self.skipTest("another C library")
        before = _resident()
        pieces: list[Any] = [bytes(50_000) for _ in range(1000)]
        pieces[:-1] = []
        release()
        self.assertLess(_resident() - before, 20 << 20)

    def test_one_region(self) -> None:
        """What threads were given comes from the region that is trimmed, and goes back, too."""
        if "glibc" not in _libc():
            self.skipTest("another C library")
        done = subprocess.run(
            [sys.executable, "-c", IN_A_THREAD], capture_output=True, text=True, check=True
        )
        self.assertNotIn('<heap nr="1">', done.stdout)
        self.assertIn('<heap nr="0">', done.stdout)

    def test_cycles(self) -> None:
        """What refers to itself is collected."""
        gc.disable()
        self.addCleanup(gc.enable)
        cycle: list[Any] = []
        cycle.append(cycle)
        count = len(gc.get_objects())
        del cycle
        release()
        self.assertLess(len(gc.get_objects()), count)


def _libc() -> str:
    import platform

    return platform.libc_ver()[0]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
