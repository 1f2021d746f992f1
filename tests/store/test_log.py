"""Tests of uring.store.log: batches, restarts, compaction, failure."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import plyvel
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.store.base import DirectoryTestCase, commit, compact, entry, run, sync, write
from uring.raft.storage import Compacted, SnapshotTemporarilyUnavailable
from uring.raft.types import Entry, HardState, SnapshotMeta
from uring.store.directory import DataDirectory, open_directory
from uring.store.failures import DirectoryError, StoreDamaged, StoreFailed
from uring.store.records import ENTRY, ENTRY_END, entry_key
from uring.store.window import ENTRY_OVERHEAD, EntryWindow, size_of

BIG = 1 << 30


class BrokenDatabase:
    """A LevelDB whose disk is full."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def write_batch(self, **options: object) -> Any:
        raise plyvel.IOError(b"IO error: No space left on device")


class BatchTests(DirectoryTestCase):
    def test_visible_only_when_done(self) -> None:
        """What is not yet durable is not answered."""
        log = self.open().log
        batch = log.prepare(HardState(3, 2, 0), run(1, 2, term=3))
        self.assertEqual((log.last_index(), log.hard_state), (0, HardState()))
        batch.write()
        self.assertEqual(log.last_index(), 0)
        batch.done()
        self.assertEqual((log.last_index(), log.hard_state), (2, HardState(3, 2, 0)))

    def test_several_prepared(self) -> None:
        """Batches prepared before the first is written build on each other."""
        log = self.open().log
        batches = [
            log.prepare(None, run(1, 5)),
            log.prepare(None, run(3, 3, term=2)),
            log.prepare(None, run(4, 4, term=2)),
        ]
        for batch in batches:
            batch.write()
            batch.done()
        self.assertEqual(log.entries(1, 5, BIG), run(1, 2) + run(3, 4, term=2))
        crashed = self.open(self.crash())
        self.assertEqual(crashed.log.entries(1, 5, BIG), run(1, 2) + run(3, 4, term=2))

    def test_gap(self) -> None:
        """Entries that do not follow the log, or each other, are refused."""
        log = self.open().log
        write(log, run(1, 2))
        self.assertRaises(ValueError, log.prepare, None, run(4, 5))
        self.assertRaises(ValueError, log.prepare, None, [entry(3), entry(5)])

    def test_record_as_it_is(self) -> None:
        """The record of an entry is stored unchanged, and made where it is missing."""
        directory = self.open()
        write(directory.log, [entry(1), Entry(1, 2, data=b"x")])
        self.assertEqual(directory.log.db.get(entry_key(1)), entry(1).record)
        self.assertEqual(directory.log.db.get(entry_key(2)), entry(2, data=b"x").record)

    def test_byte_limit(self) -> None:
        """The limit counts data, from memory and from disk alike."""
        log = self.open(window_bytes=3 * (ENTRY_OVERHEAD + 40)).log
        write(log, [entry(i, data=b"x" * 10) for i in range(1, 11)])
        self.assertEqual([e.index for e in log.entries(1, 11, 35)], [1, 2, 3])
        self.assertEqual([e.index for e in log.entries(8, 11, 20)], [8, 9])
        self.assertEqual([e.index for e in log.entries(5, 11, BIG)], list(range(5, 11)))

    def test_failure_is_final(self) -> None:
        """After a failed write nothing is taken, not even when there is space again."""
        directory = self.open()
        log, db = directory.log, directory.log.db
        log.db = BrokenDatabase(db)
        batch = log.prepare(None, run(1, 1))
        self.assertIn("No space", str(self.assertRaises(StoreFailed, batch.write)))
        log.db = db
        self.assertRaises(StoreFailed, log.prepare, None, run(1, 1))
        self.assertRaises(StoreFailed, directory.state.begin)
        self.assertRaises(StoreFailed, directory.state.sync)
        self.assertTrue(directory.failed)


class RestartTests(DirectoryTestCase):
    def test_all_is_there(self) -> None:
        """A restart finds hard state and entries, those after the applied index in memory."""
        directory = self.open()
        write(directory.log, run(1, 10), HardState(1, 1, 7))
        commit(directory.state, 6)
        directory.close()
        log = self.open().log
        self.assertEqual(log.initial_state()[0], HardState(1, 1, 7))
        self.assertEqual(log.entries(1, 11, BIG), run(1, 10))
        self.assertEqual(log._window.start, 7)

    def test_commit_follows_applied(self) -> None:
        """What was applied is committed, even if the hard state of it was not written yet."""
        directory = self.open()
        write(directory.log, run(1, 4), HardState(1, 1, 1))
        commit(directory.state, 3)
        self.assertEqual(self.open(self.crash()).log.initial_state()[0], HardState(1, 1, 3))

    def test_state_ahead_of_log(self) -> None:
        """A log that lost what was applied is refused."""
        directory = self.open()
        write(directory.log, run(1, 4))
        commit(directory.state, 5)
        crashed = self.crash()
        self.assertRaises(DirectoryError, open_directory, crashed, 1)

    def test_missing_entry(self) -> None:
        """A gap in the log is refused, and named."""
        directory = self.open()
        write(directory.log, run(1, 9))
        directory.log.db.delete(entry_key(4))
        error = self.assertRaises(DirectoryError, open_directory, self.crash(), 1)
        self.assertIn("log entries 4 to 4 are missing", str(error))

    def test_falling_term(self) -> None:
        """Terms that fall along the log are refused."""
        directory = self.open()
        write(directory.log, run(1, 3, term=5))
        directory.log.db.put(entry_key(4), entry(4, term=2).record)
        self.assertRaises(DirectoryError, open_directory, self.crash(), 1)

    def test_lost_tail(self) -> None:
        """A log that ends before its commit index is refused."""
        directory = self.open()
        write(directory.log, run(1, 3), HardState(1, 1, 3))
        directory.log.db.delete(entry_key(3))
        self.assertRaises(DirectoryError, open_directory, self.crash(), 1)

    def test_damaged_record(self) -> None:
        """An entry whose checksum fails is refused at opening, or when it is read at last."""
        directory = self.open(window_bytes=1)
        write(directory.log, run(1, 9))
        bad = bytearray(entry(4).record)
        bad[-1] ^= 1
        directory.log.db.put(entry_key(4), bytes(bad))
        self.assertRaises(DirectoryError, open_directory, self.crash("tail"), 1)
        commit(directory.state, 9)
        log = self.open(self.crash("applied")).log
        self.assertRaises(StoreDamaged, log.entries, 1, 9, BIG)
        self.assertRaises(StoreFailed, log.prepare, None, run(10, 10))


class CompactionTests(DirectoryTestCase):
    def test_overtaken_by_snapshot(self) -> None:
        """A compaction that is written after a snapshot's reset does not move the log back."""
        log = self.open().log
        log.applied_floor = None
        write(log, run(1, 20))
        late = log.compact(10, 1)
        write(log, (), HardState(1, 1, 30), SnapshotMeta(30, 1))
        late.write()
        late.done()
        self.assertEqual((log.first_index(), log.last_index()), (31, 30))

    def test_bytes_kept(self) -> None:
        """The size of the log follows appends, overwritten tails and compactions."""
        directory = self.open()
        log, size = directory.log, len(entry(10).record)
        log.applied_floor = None
        write(log, [entry(i, data=b"data 10") for i in range(1, 11)])
        self.assertEqual(log.bytes_kept, 10 * size)
        write(log, [entry(i, 2, b"data 10") for i in range(6, 8)])
        self.assertEqual(log.bytes_kept, 7 * size)
        self.assertEqual(self.open(self.crash()).log.bytes_kept, 7 * size)
        compact(log, 3)
        self.assertEqual(log.bytes_kept, 4 * size)
        write(log, (), None, SnapshotMeta(9, 2))
        self.assertEqual(log.bytes_kept, 0)

    def test_not_past_durable_state(self) -> None:
        """The log is not compacted past what the state has synced."""
        directory = self.open()
        write(directory.log, run(1, 9))
        commit(directory.state, 8)
        self.assertRaises(ValueError, directory.log.compact, 5, 1)
        sync(directory.state)
        compact(directory.log, 8)
        self.assertEqual(directory.log.first_index(), 9)
        self.assertRaises(Compacted, directory.log.compact, 8, 1)

    def test_crash_between_pieces(self) -> None:
        """Garbage that a crash left is not part of the log and is collected later."""
        directory = self.open()
        write(directory.log, run(1, 20))
        commit(directory.state, 15)
        sync(directory.state)
        batch = directory.log.compact(15, 1)
        batch.write()
        batch.done()
        piece = directory.log.collect_garbage(limit=4)
        assert piece is not None
        piece.write()
        log = self.open(self.crash()).log
        self.assertEqual((log.first_index(), log.last_index()), (16, 20))
        while (piece := log.collect_garbage(limit=4)) is not None:
            self.assertLessEqual(len(piece.garbage), 4)
            piece.write()
            piece.done()
        keys = list(log.db.iterator(start=ENTRY, stop=ENTRY_END, include_value=False))
        self.assertEqual(keys, [entry_key(i) for i in range(16, 21)])

    def test_reset_by_snapshot(self) -> None:
        """A snapshot replaces the whole log, whatever was in it, and entries go on after it."""
        directory = self.open()
        log = directory.log
        log.applied_floor = None
        write(log, run(1, 9))
        write(log, run(6, 7, term=4), HardState(4, 0, 5), SnapshotMeta(5, 3))
        self.assertEqual((log.first_index(), log.last_index(), log.term(5)), (6, 7, 3))
        commit(directory.state, 5, term=3)
        again = self.open(self.crash()).log
        self.assertEqual((again.first_index(), again.last_index(), again.term(5)), (6, 7, 3))
        self.assertEqual(again.entries(6, 8, BIG), run(6, 7, term=4))

    def test_snapshot_offered(self) -> None:
        """The snapshot offered stands for the applied index, and not before the log begins."""
        directory = self.open()
        self.assertTrue(directory.log.snapshot().is_empty)
        write(directory.log, run(1, 3))
        commit(directory.state, 2)
        self.assertEqual(directory.log.snapshot().meta.index, 2)
        directory.log.snapshot_source = None
        self.assertRaises(SnapshotTemporarilyUnavailable, directory.log.snapshot)


class WindowTests(SynchronousTestCase):
    def test_bounded(self) -> None:
        """The window drops its oldest entries when it is full, and keeps the newest."""
        size = size_of(entry(100))
        window = EntryWindow(limit=10 * size, end=100)
        for index in range(100, 200):
            window.extend([entry(index)])
            self.assertLessEqual(window.end - window.start, 12)
        self.assertEqual(window.get(199), entry(199))
        window.trim(198)
        self.assertEqual((window.start, window.end), (199, 200))


class LogMachine(RuleBasedStateMachine):
    """A LogStore and a list, treated alike."""

    base: Path
    count = 0

    def __init__(self) -> None:
        super().__init__()
        LogMachine.count += 1
        self.path = self.base / str(LogMachine.count)
        self.first, self.term = 1, 1
        self.boundary_term = 0
        self.model: list[Entry] = []
        self.hard = HardState()
        self.restart()

    @property
    def last(self) -> int:
        return self.first + len(self.model) - 1

    @rule(back=st.integers(0, 4), count=st.integers(1, 6), rise=st.integers(0, 1))
    def append(self, back: int, count: int, rise: int) -> None:
        start = max(self.first, self.last + 1 - back)
        self.term += rise
        new = run(start, start + count - 1, self.term)
        self.hard = HardState(self.term, 1, 0)
        write(self.directory.log, new, self.hard)
        self.model[start - self.first :] = new

    @rule()
    def rest(self) -> None:
        self.directory.log.forget_recent()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), limit=st.integers(1, 3))
    def compact(self, data: Any, limit: int) -> None:
        index = data.draw(st.integers(self.first, self.last))
        commit(self.directory.state, index, term=self.model[index - self.first].term)
        sync(self.directory.state)
        batch = self.directory.log.compact(index, self.model[index - self.first].term)
        batch.write()
        batch.done()
        piece = self.directory.log.collect_garbage(limit)
        if piece is not None:
            piece.write()
            piece.done()
        self.boundary_term = self.model[index - self.first].term
        del self.model[: index + 1 - self.first]
        self.first = index + 1

    @rule()
    def restart(self) -> None:
        if hasattr(self, "directory"):
            self.directory.close()
        self.directory: DataDirectory = open_directory(self.path, 1, window_bytes=700)

    @invariant()
    def alike(self) -> None:
        log = self.directory.log
        assert (log.first_index(), log.last_index()) == (self.first, self.last)
        assert log.entries(self.first, self.last + 1, BIG) == self.model
        assert log.term(self.first - 1) == self.boundary_term
        assert [log.term(e.index) for e in self.model] == [e.term for e in self.model]
        assert log.hard_state.term == self.hard.term

    def teardown(self) -> None:
        self.directory.close()
        shutil.rmtree(self.path)


class ModelTests(DirectoryTestCase):
    def test_like_a_list(self) -> None:
        """Whatever is appended, overwritten, compacted and restarted, the log is like a list."""
        LogMachine.base = self.base
        run_state_machine_as_test(
            LogMachine,
            settings=settings(max_examples=25, stateful_step_count=25, deadline=None),
        )
