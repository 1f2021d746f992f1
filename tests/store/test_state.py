"""Tests of uring.store.state: transactions, restarts, durability, snapshots."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from unittest import mock

from tests.store.base import DirectoryTestCase, commit, run, sync, write
from uring.raft.types import ConfState, HardState, SnapshotMeta
from uring.store import state as state_module
from uring.store.directory import DataDirectory, open_directory
from uring.store.failures import DirectoryError
from uring.store.snapshots import SnapshotReader, SnapshotRejected, SnapshotSummary, SnapshotWriter
from uring.store.state import StateStore

CONF = ConfState((1, 2, 3), (4,), (1, 2), (3,), True)


class TransactionTests(DirectoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.state = self.open().state

    def test_sees_its_own_writes(self) -> None:
        """A transaction reads what it wrote; others do not before its commit."""
        commit(self.state, 1, {b"a": b"1", b"b": b"2", b"d": b"4"})
        transaction = self.state.begin()
        transaction.put(b"c", b"3")
        transaction.put(b"a", b"9")
        transaction.delete(b"b")
        self.assertEqual(transaction.get(b"a"), b"9")
        self.assertIsNone(transaction.get(b"b"))
        self.assertEqual(transaction.get(b"d"), b"4")
        expected = [(b"a", b"9"), (b"c", b"3"), (b"d", b"4")]
        self.assertEqual(list(transaction.iterate(b"")), expected)
        self.assertEqual(self.state.get(b"a"), b"1")
        transaction.commit(2, 1)
        self.assertEqual(list(self.state.iterate(b"")), expected)

    def test_iterate_prefix(self) -> None:
        """Only keys with the prefix come, ascending, whatever their bytes and number."""
        values = {b"p" + i.to_bytes(2, "big"): b"%d" % i for i in range(600)}
        commit(self.state, 1, {**values, b"o": b"", b"q": b"", b"\xff\xff": b"", b"\xff": b""})
        self.assertEqual(list(self.state.iterate(b"p")), sorted(values.items()))
        self.assertEqual([k for k, _ in self.state.iterate(b"\xff")], [b"\xff", b"\xff\xff"])
        transaction = self.state.begin()
        for key, _ in transaction.iterate(b"p"):
            transaction.delete(key)
        self.assertEqual(list(transaction.iterate(b"p")), [])

    def test_index_never_falls(self) -> None:
        """A batch that was applied before is refused."""
        commit(self.state, 5)
        self.assertRaises(ValueError, commit, self.state, 4)
        self.assertEqual(self.state.applied_index, 5)


class RestartTests(DirectoryTestCase):
    def test_membership(self) -> None:
        """Membership, addresses and applied index are written with what they describe."""
        directory = self.open()
        write(directory.log, run(1, 3, term=2))
        transaction = directory.state.begin()
        transaction.set_conf_state(CONF)
        transaction.set_member_addresses({2: "höst:1", 1: "[::1]:2"})
        transaction.put(b"k", b"v")
        transaction.commit(3, 2)
        again = self.open(self.crash())
        self.assertEqual(again.state.snapshot_meta, SnapshotMeta(3, 2, CONF))
        self.assertEqual(again.state.member_addresses, {2: "höst:1", 1: "[::1]:2"})
        self.assertEqual(again.state.get(b"k"), b"v")
        self.assertEqual(again.log.initial_state()[1], CONF)

    def test_synced_index(self) -> None:
        """The synced index covers what was committed when the sync began, no more."""
        directory = self.open()
        state = directory.state
        write(directory.log, run(1, 9))
        commit(state, 4)
        job = state.sync()
        commit(state, 6)
        job.write()
        self.assertEqual(state.synced_index, 0)
        job.done()
        self.assertEqual(state.synced_index, 4)
        self.assertEqual(self.open(self.crash()).state.synced_index, 6)

    def test_sync_overtaken_by_snapshot(self) -> None:
        """A sync of the state before a snapshot says nothing of the one after it."""
        state = self.open().state
        job = state.sync()
        state._generation += 1
        job.applied = (99, 1)
        job.write()
        job.done()
        self.assertEqual(state.synced_index, 0)

    def test_much_unsynced(self) -> None:
        """Much unsynced state asks for a sync, which a sync satisfies."""
        state = self.open().state
        with mock.patch.object(state_module, "WANT_SYNC_BYTES", 10_000):
            commit(state, 1, {b"k": b"v" * 9_000})
            self.assertFalse(state.wants_sync)
            commit(state, 2, {b"k": b"v" * 9_000})
            self.assertTrue(state.wants_sync)
            sync(state)
            self.assertFalse(state.wants_sync)


def transfer(reader: SnapshotReader, writer: SnapshotWriter, size: int = 100) -> SnapshotSummary:
    """Stream a whole snapshot in small chunks."""
    following: bytes | None = b""
    while following is not None:
        chunk, following = reader.read(writer.position, size)
        writer.write(chunk)
    return reader.summary()


class SnapshotTests(DirectoryTestCase):
    """A snapshot of one directory, at index 20, goes to another with a log of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.source = self.open(self.base / "source")
        self.values = {b"key %03d" % i: b"value %d" % i for i in range(100)}
        transaction = self.source.state.begin()
        for key, value in self.values.items():
            transaction.put(key, value)
        transaction.set_conf_state(CONF)
        transaction.commit(20, 3)
        self.directory = self.open()
        write(self.directory.log, run(1, 8), HardState(2, 1, 5))
        commit(self.directory.state, 5, {b"old": b"value"})

    def receive(self) -> SnapshotWriter:
        """Return a finished writer."""
        reader = self.source.state.snapshot_reader()
        writer = self.directory.state.snapshot_writer()
        writer.finish(transfer(reader, writer), reader.meta)
        reader.close()
        return writer

    def assert_new(self, directory: DataDirectory) -> None:
        self.assertEqual(dict(directory.state.iterate(b"")), self.values)
        self.assertEqual(directory.state.snapshot_meta, SnapshotMeta(20, 3, CONF))
        self.assertEqual((directory.log.first_index(), directory.log.last_index()), (21, 20))
        self.assertEqual(directory.log.hard_state, HardState(3, 0, 20))

    def assert_old(self, directory: DataDirectory) -> None:
        self.assertEqual(dict(directory.state.iterate(b"")), {b"old": b"value"})
        self.assertEqual(directory.state.applied_index, 5)
        self.assertEqual(directory.log.last_index(), 8)

    def test_round_trip(self) -> None:
        """The state installed is the one read, in place and after a restart."""
        state = self.directory.state
        stale = state.begin()
        job = state.install(self.receive())
        job.write()
        job.done()
        self.assertRaises(RuntimeError, stale.commit, 21, 3)
        write(self.directory.log, (), HardState(3, 0, 20), state.snapshot_meta)
        self.assert_new(self.directory)
        self.assertEqual(state.synced_index, 20)
        self.assertEqual(sorted(p.name for p in self.path.iterdir()), ["LOCK", "log", "state"])
        self.assert_new(self.open(self.crash()))

    def test_same_whatever_comes_later(self) -> None:
        """A reader shows the state of its beginning, resumes where it is asked to, and sums up."""
        reader = self.source.state.snapshot_reader()
        self.addCleanup(reader.close)
        self.assertRaises(ValueError, reader.summary)
        first, position = reader.read(b"", 500)
        commit(self.source.state, 21, {b"key 050": b"changed"}, term=3)
        assert position is not None
        again, _ = reader.read(b"", 500)
        self.assertEqual(first, again)
        self.assertRaises(ValueError, reader.read, position + b"\x00\x00", 500)
        rest, end = reader.read(position, 1 << 20)
        self.assertIsNone(end)
        self.assertIn(b"value 50", rest)
        summary = reader.summary()
        self.assertEqual((summary.count, summary.length), (102, len(first) + len(rest)))
        self.assertEqual(reader.read(b"", 1 << 20)[0], first + rest)
        self.assertEqual(reader.summary(), summary)

    def test_wrong_chunks(self) -> None:
        """Chunks that are cut, repeated or changed never become the state."""
        reader = self.source.state.snapshot_reader()
        self.addCleanup(reader.close)
        chunk, _ = reader.read(b"", 1 << 20)
        state = self.directory.state
        writer = state.snapshot_writer()
        self.assertRaises(SnapshotRejected, writer.write, chunk[:-1])
        for wrong in (chunk.replace(b"value 7", b"value 8"), chunk[: -len(chunk) // 2]):
            writer = state.snapshot_writer()
            with contextlib.suppress(SnapshotRejected):
                writer.write(wrong)
            self.assertRaises(SnapshotRejected, writer.finish, reader.summary(), reader.meta)
            self.assertRaises(ValueError, state.install, writer)
        writer = state.snapshot_writer()
        writer.write(chunk)
        self.assertRaises(SnapshotRejected, writer.write, chunk)
        writer.abort()
        self.assert_old(self.directory)

    def test_of_another_index(self) -> None:
        """A snapshot that is not of the index the core was told of is refused."""
        reader = self.source.state.snapshot_reader()
        self.addCleanup(reader.close)
        writer = self.directory.state.snapshot_writer()
        summary = transfer(reader, writer)
        self.assertRaises(SnapshotRejected, writer.finish, summary, SnapshotMeta(19, 3, CONF))
        self.assert_old(self.directory)

    def test_older_than_the_state(self) -> None:
        """A snapshot that the state has passed meanwhile is not installed."""
        writer = self.receive()
        commit(self.directory.state, 21)
        self.assertRaises(ValueError, self.directory.state.install, writer)

    def test_reader_ends_with_its_state(self) -> None:
        """A reader of a state that was replaced raises instead of mixing the two."""
        reader = self.directory.state.snapshot_reader()
        self.directory.state.install(self.receive()).write()
        self.assertRaises(RuntimeError, reader.read, b"", 100)
        reader.close()

    def test_crash_while_receiving(self) -> None:
        """A snapshot that is not complete is dropped at the next opening."""
        reader = self.source.state.snapshot_reader()
        self.addCleanup(reader.close)
        writer = self.directory.state.snapshot_writer()
        writer.write(reader.read(b"", 300)[0])
        self.assertTrue((self.path / "state.new").exists())
        crashed = self.crash()
        self.assert_old(self.open(crashed))
        self.assertFalse((crashed / "state.new").exists())
        writer.abort()

    def test_crash_before_the_swap(self) -> None:
        """A complete snapshot that nobody installed is dropped: the log is not ready for it."""
        self.receive()
        self.assert_old(self.open(self.crash()))

    def test_crash_between_the_renames(self) -> None:
        """With the old state moved away and the new one complete, the new one counts."""
        self.receive()
        crashed = self.crash()
        (crashed / "state").rename(crashed / "state.old")
        self.assert_new(self.open(crashed))
        self.assertFalse((crashed / "state.old").exists())

    def test_crash_after_the_swap(self) -> None:
        """A state that the log was not told of resets the log at opening, once."""
        writer = self.receive()
        with mock.patch.object(SnapshotWriter, "remove_old"):
            self.directory.state.install(writer).write()
        crashed = self.crash()
        self.assertTrue((crashed / "state.old").exists())
        directory = open_directory(crashed, 1)
        self.assert_new(directory)
        directory.close()
        self.assert_new(self.open(crashed))

    def test_new_is_damaged(self) -> None:
        """Between the renames, a damaged new state leaves the old one."""
        self.receive()
        crashed = self.crash()
        (crashed / "state").rename(crashed / "state.old")
        (crashed / "state.new" / "CURRENT").unlink()
        self.assert_old(self.open(crashed))

    def test_foreign_state(self) -> None:
        """The state of another directory is refused."""
        crashed = self.crash()
        shutil.rmtree(crashed / "state")
        shutil.copytree(self.base / "source" / "state", crashed / "state")
        self.assert_refused(crashed)

    def test_no_state(self) -> None:
        """A directory without its state is refused, and none is made up."""
        crashed = self.crash()
        shutil.rmtree(crashed / "state")
        self.assert_refused(crashed)
        self.assertFalse((crashed / "state").exists())

    def assert_refused(self, path: Path) -> None:
        self.assertIn("is damaged", str(self.assertRaises(DirectoryError, open_directory, path, 1)))


class InstallFailureTests(DirectoryTestCase):
    def test_unfinished(self) -> None:
        """A snapshot that was not finished cannot be installed."""
        state: StateStore = self.open().state
        self.assertRaises(ValueError, state.install, state.snapshot_writer())
