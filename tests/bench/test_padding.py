"""Logs that are made long."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.padding import CHUNK, pad
from uring.machines.proposal import decode
from uring.raft.types import Entry, HardState
from uring.store.directory import open_directory


class PadTests(SynchronousTestCase):
    """bench.padding.pad."""

    def test_pad(self) -> None:
        """What is appended is committed, follows the log, and applies once each."""
        path, last = self.mktemp(), 2 * CHUNK + 7
        data = open_directory(path, 1)
        batch = data.log.prepare(HardState(3, 2, 1), [Entry(3, 1)])
        batch.write()
        batch.done()
        data.close()
        self.assertEqual(pad(path, 1, last), last - 1)
        data = open_directory(path, 1)
        self.addCleanup(data.close)
        self.assertEqual(data.log.last_index(), last)
        self.assertEqual(data.log.initial_state()[0], HardState(3, 2, last))
        entries = data.log.entries(2, last + 1, 1 << 40)
        sequences = [decode(entry.data).sequence for entry in entries]
        self.assertEqual(sequences, list(range(1, last)))

    def test_long_enough(self) -> None:
        """A log that is long enough already stays as it is."""
        path = self.mktemp()
        pad(path, 1, 5)
        self.assertEqual(pad(path, 1, 3), 0)
