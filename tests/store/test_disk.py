"""Tests of uring.store.disk, and of what a real full disk does to a store."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.store.base import DirectoryTestCase, run
from tests.support.disk import ManualDisk
from uring.store.disk import DiskThread

FULL_DISK = """
import resource, sys
from tests.store.base import run, write
from uring.store.directory import open_directory
from uring.store.failures import StoreFailed
directory = open_directory(sys.argv[1], 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
acknowledged = 0
try:
    while True:
        write(directory.log, run(acknowledged + 1, acknowledged + 10))
        acknowledged += 10
except StoreFailed:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    directory.log.prepare(None, run(acknowledged + 1, acknowledged + 1))
except StoreFailed:
    print(acknowledged)
"""


class DiskThreadTests(TestCase):
    async def test_order_and_threads(self) -> None:
        """Jobs run in order in one other thread, and answer in the reactor's."""
        disk = DiskThread(reactor)
        here, calls, finished = threading.get_ident(), list[Any](), Deferred[None]()

        def job(number: int) -> int:
            calls.append((number, threading.get_ident() != here))
            return number

        def done(result: Any) -> None:
            calls.append((result, threading.get_ident() == here))
            if result == 9:
                finished.callback(None)

        for number in range(10):
            disk.submit(partial(job, number), done)
        await finished
        self.assertEqual(sorted(calls), sorted([(n, True) for n in range(10)] * 2))
        self.assertEqual(disk.pending, 0)
        await disk.stop()

    async def test_failure(self) -> None:
        """An exception comes back as a Failure, and the thread goes on."""
        disk, results = DiskThread(reactor), list[Any]()
        disk.submit(lambda: 1 // 0, results.append)
        disk.submit(lambda: "fine", results.append)
        await disk.stop()
        self.assertIsInstance(results[0], Failure)
        results[0].trap(ZeroDivisionError)
        self.assertEqual(results[1], "fine")

    async def test_measures(self) -> None:
        """The running job and the last and slowest one can be asked for."""
        now, started, release = [100.0], Deferred[None](), threading.Event()
        disk = DiskThread(reactor, clock=lambda: now[0])

        def job() -> None:
            reactor.callFromThread(started.callback, None)  # type: ignore[attr-defined]
            release.wait(10)

        self.assertIsNone(disk.busy_since())
        disk.submit(job, lambda result: None)
        await started
        self.assertEqual(disk.busy_since(), 100.0)
        now[0] = 103.0
        release.set()
        disk.submit(lambda: None, lambda result: None)
        await disk.stop()
        self.assertEqual((disk.last_duration, disk.longest_duration), (0.0, 3.0))
        self.assertIsNone(disk.busy_since())

    async def test_quick(self) -> None:
        """A job may run here while the others have been quick and none is under way."""
        now = [100.0]
        disk = DiskThread(reactor, clock=lambda: now[0])

        def job(seconds: float) -> int:
            now[0] += seconds
            return threading.get_ident()

        self.assertEqual(disk.run_now(partial(job, 0.001)), threading.get_ident())
        self.assertIsInstance(disk.run_now(lambda: 1 // 0), Failure)
        self.assertTrue(disk.is_quick)
        disk.run_now(partial(job, 0.02))
        self.assertFalse(disk.is_quick)
        self.assertAlmostEqual(disk.longest_duration, 0.02)
        for _ in range(5):
            disk.submit(partial(job, 0.0), lambda result: None)
        self.assertFalse(disk.is_quick)
        await disk.stop()
        self.assertFalse(disk.is_quick)

    async def test_slow_disk_is_forgotten_in_time(self) -> None:
        """After a slow job the next few are the thread's, then it may be tried again."""
        now = [100.0]
        disk, jobs = DiskThread(reactor, clock=lambda: now[0]), 0

        def job() -> None:
            now[0] += 0.0001

        disk.run_now(lambda: now.append(now.pop() + 0.1))
        while not disk.is_quick:
            jobs += 1
            finished = Deferred[Any]()
            disk.submit(job, finished.callback)
            await finished
        self.assertTrue(10 < jobs < 30, jobs)
        await disk.stop()

    async def test_stop(self) -> None:
        """Stopping waits for what is queued; afterwards nothing is taken."""
        disk, results = DiskThread(reactor), list[Any]()
        for number in range(5):
            disk.submit(partial(int, number), results.append)
        await disk.stop()
        self.assertEqual(results, [0, 1, 2, 3, 4])
        self.assertRaises(RuntimeError, disk.submit, lambda: None, results.append)
        await DiskThread(reactor).stop()


class ManualDiskTests(SynchronousTestCase):
    def test_when_told(self) -> None:
        """Nothing runs before it is told to, and a failure strikes one job only."""
        disk, ran, results = ManualDisk(), list[int](), list[Any]()
        disk.submit(lambda: ran.append(1), results.append)
        disk.submit(lambda: ran.append(2), results.append)
        self.assertEqual((ran, disk.pending), ([], 2))
        disk.fail_next(OSError("full"))
        disk.run_all()
        self.assertEqual(ran, [2])
        self.assertIsInstance(results[0], Failure)


class FullDiskTests(DirectoryTestCase):
    def test_nothing_acknowledged_is_lost(self) -> None:
        """When the disk is full the store ends, and what it acknowledged is there afterwards."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", FULL_DISK, str(self.path)]
        found = subprocess.run(command, capture_output=True, text=True, env=environment)
        self.assertEqual(found.stderr, "")
        acknowledged = int(found.stdout)
        self.assertGreater(acknowledged, 0)
        log = self.open().log
        self.assertEqual(log.entries(1, acknowledged + 1, 1 << 20), run(1, acknowledged))
