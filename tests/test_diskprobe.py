"""Measuring a disk when somebody asks."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.gateway import at_once
from uring.diskprobe import KEPT_SECONDS, NAME, WRITES, DiskProbe, measure
from uring.errors import Unavailable


class MeasureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def test_each_is_synced(self) -> None:
        """Each write is synced, and nothing stays behind."""
        synced: list[int] = []
        self.patch(os, "fdatasync", synced.append)
        steps = itertools.count()
        found = measure(self.directory, lambda: next(steps) / 1000)
        self.assertEqual(len(synced), WRITES)
        self.assertEqual([round(each, 6) for each in found], [0.001] * WRITES)
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_slow(self) -> None:
        """Of a disk that takes a second for each, one is enough."""
        steps = itertools.count()
        self.assertEqual(len(measure(self.directory, lambda: float(next(steps)))), 1)

    def test_what_a_failure_leaves(self) -> None:
        """A write that fails is said, and its file removed."""

        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fdatasync", full)
        self.assertRaises(OSError, measure, self.directory, lambda: 0.0)
        self.assertFalse((self.directory / NAME).exists())


class ProbeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.jobs: list[Callable[[], None]] = []

    def probe(self) -> DiskProbe:
        def submit(job: Callable[[], Any], done: Callable[[Any], None]) -> None:
            self.jobs.append(lambda: at_once(job, done))

        return DiskProbe(self.directory, submit, self.clock.seconds)

    def test_one_for_all(self) -> None:
        """Who asks while it is measured, or right afterwards, gets the same answer."""
        probe = self.probe()
        first, second = probe.ask(), probe.ask()
        self.assertEqual(len(self.jobs), 1)
        self.jobs.pop()()
        found = self.successResultOf(first)
        self.assertEqual(len(found["writes_ms"]), WRITES)
        self.assertEqual(self.successResultOf(second), found)
        self.assertEqual(self.successResultOf(probe.ask()), found)
        self.clock.advance(KEPT_SECONDS)
        probe.ask()
        self.assertEqual(len(self.jobs), 1)

    def test_nothing_can_be_written(self) -> None:
        """That nothing can be written is the answer, and the next one asks anew."""
        probe = self.probe()
        self.directory.rmdir()
        asked = probe.ask()
        self.jobs.pop()()
        self.failureResultOf(asked, Unavailable)
        probe.ask()
        self.assertEqual(len(self.jobs), 1)
