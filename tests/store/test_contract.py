"""What every implementation of the core's Storage answers, over memory and over LevelDB."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.store.base import DirectoryTestCase, compact, entry, run, write
from uring.raft import storage as raft_storage
from uring.raft.storage import Compacted, Unavailable
from uring.raft.types import ConfState, Entry, HardState

MemoryStorage: Any = getattr(raft_storage, "MemoryStorage", None)
BIG = 1 << 30


class Contract:
    """The tests; who inherits provides ``storage``, ``append`` and ``compact``."""

    storage: Any
    assertEqual: Any
    assertRaises: Any

    def append(self, entries: list[Entry]) -> None:
        raise NotImplementedError

    def compact(self, index: int) -> None:
        raise NotImplementedError

    def test_empty(self) -> None:
        """An empty log begins at 1, ends at 0 and has term 0 before its beginning."""
        self.assertEqual(self.storage.initial_state(), (HardState(), ConfState()))
        self.assertEqual((self.storage.first_index(), self.storage.last_index()), (1, 0))
        self.assertEqual(self.storage.term(0), 0)

    def test_append(self) -> None:
        """Entries come back as they were appended, in order."""
        self.append(run(1, 3))
        self.append(run(4, 5, term=2))
        self.assertEqual(self.storage.entries(1, 6, BIG), run(1, 3) + run(4, 5, term=2))
        self.assertEqual(self.storage.entries(2, 4, BIG), run(2, 3))
        self.assertEqual(self.storage.last_index(), 5)
        self.assertEqual([self.storage.term(i) for i in range(6)], [0, 1, 1, 1, 2, 2])

    def test_conflicting_tail(self) -> None:
        """Entries replace everything from their first index on."""
        self.append(run(1, 5))
        self.append(run(3, 4, term=2))
        self.assertEqual(self.storage.last_index(), 4)
        self.assertEqual(self.storage.entries(1, 5, BIG), run(1, 2) + run(3, 4, term=2))
        self.assertRaises(Unavailable, self.storage.term, 5)

    def test_limit(self) -> None:
        """At least one entry comes, and no more than fit the limit."""
        self.append([entry(i, data=b"x" * 10) for i in range(1, 6)])
        self.assertEqual(len(self.storage.entries(1, 6, 0)), 1)
        self.assertEqual(len(self.storage.entries(1, 6, BIG)), 5)

    def test_compacted(self) -> None:
        """The compacted part is gone but for the term at its end."""
        self.append(run(1, 4) + run(5, 6, term=2))
        self.compact(5)
        self.assertEqual((self.storage.first_index(), self.storage.last_index()), (6, 6))
        self.assertEqual(self.storage.term(5), 2)
        self.assertRaises(Compacted, self.storage.term, 4)
        self.assertRaises(Compacted, self.storage.entries, 5, 7, BIG)
        self.assertEqual(self.storage.entries(6, 7, BIG), run(6, 6, term=2))

    def test_unavailable(self) -> None:
        """Nothing is answered from past the end."""
        self.append(run(1, 2))
        self.assertRaises(Unavailable, self.storage.term, 3)
        self.assertRaises(Unavailable, self.storage.entries, 1, 4, BIG)

    def test_compact_everything(self) -> None:
        """A log compacted to its end goes on from there."""
        self.append(run(1, 3))
        self.compact(3)
        self.assertEqual((self.storage.first_index(), self.storage.last_index()), (4, 3))
        self.append(run(4, 4))
        self.assertEqual(self.storage.entries(4, 5, BIG), run(4, 4))


class MemoryTests(Contract, SynchronousTestCase):
    if MemoryStorage is None:
        skip = "there is no storage in memory"

    def setUp(self) -> None:
        self.storage = MemoryStorage()

    def append(self, entries: list[Entry]) -> None:
        self.storage.append(entries)

    def compact(self, index: int) -> None:
        self.storage.compact(index)


class LevelDBTests(Contract, DirectoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.storage = self.open().log
        self.storage.applied_floor = None

    def append(self, entries: list[Entry]) -> None:
        write(self.storage, entries)

    def compact(self, index: int) -> None:
        compact(self.storage, index)


class SmallWindowTests(LevelDBTests):
    """The same with nearly every read from the disk."""

    def setUp(self) -> None:
        DirectoryTestCase.setUp(self)
        self.storage = self.open(window_bytes=1).log
        self.storage.applied_floor = None
