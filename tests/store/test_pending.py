"""Tests of writing the state behind: uring.store.pending and its use by uring.store.state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis.strategies as st
from attrs import define, field
from hypothesis import given, settings

from tests.store.base import DirectoryTestCase, commit, gather, run, sync, write
from uring.raft.types import ConfState
from uring.store import state as state_module
from uring.store.directory import DataDirectory
from uring.store.pending import OVERWRITTEN_FACTOR, REPLACED_FACTOR
from uring.store.recent import RECORD_OVERHEAD, RecentRecords
from uring.store.state import StateStore


def stored(state: StateStore) -> dict[bytes, bytes]:
    """Return what LevelDB has of the machines' data."""
    return {key[1:]: value for key, value in state.db.iterator(prefix=b"\x02")}


@define(eq=False)
class Flushing:
    """A database that notes how much of each log a loss of power would leave while it flushes."""

    db: Any
    path: Path
    meanwhile: Callable[[], None]
    """Somebody else writes just before LevelDB leaves its log."""
    left: dict[str, tuple[int, int]] = field(factory=dict)
    """By log that a flush left: its size, and how much of it was synced."""
    is_synced: bool = False
    """Whether the last write was,"""
    durable: int = 0
    """and the size of the newest log then, or at the last one that was."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    @contextmanager
    def write_batch(self, transaction: bool, sync: bool) -> Iterator[Any]:
        with self.db.write_batch(transaction=transaction, sync=sync) as batch:
            yield batch
        self._wrote(sync)

    def put(self, key: bytes, value: bytes, sync: bool) -> None:
        self.db.put(key, value, sync=sync)
        self._wrote(sync)

    def _wrote(self, sync: bool) -> None:
        self.is_synced = sync
        if sync:
            self.durable = self._size()

    def _newest(self) -> Path:
        return max(self.path.glob("*.log"))

    def _size(self) -> int:
        return self._newest().stat().st_size

    def compact_range(self, **about: bytes) -> None:
        self.meanwhile()
        self.left[self._newest().name] = (self._size(), self.durable)
        self.db.compact_range(**about)


class PendingTests(DirectoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = self.open()
        self.state = self.directory.state
        write(self.directory.log, run(1, 20))

    def test_seen_at_once(self) -> None:
        """What was committed is read before LevelDB has it, also while a thread is to write it."""
        gather(self.state, 1, {b"a": b"1", b"b": b"1", b"c": b"1"})
        job = self.state.write()
        gather(self.state, 2, {b"a": b"2", b"b": None})
        self.assertEqual(stored(self.state), {})
        for write_first in (False, True):
            if write_first:
                job.write()
            found = {key: self.state.get(key) for key in (b"a", b"b", b"c", b"d")}
            self.assertEqual(found, {b"a": b"2", b"b": None, b"c": b"1", b"d": None})
        job.done()
        self.assertEqual(self.state.get(b"a"), b"2")
        self.assertEqual(stored(self.state), {b"a": b"1", b"b": b"1", b"c": b"1"})

    def test_whoever_reads_in_order_sees_it(self) -> None:
        """Iterators, views and snapshots are of all that was committed."""
        gather(self.state, 1, {b"a": b"1"})
        self.assertEqual(dict(self.state.iterate(b"")), {b"a": b"1"})
        gather(self.state, 2, {b"b": b"2"})
        view = self.state.view()
        gather(self.state, 3, {b"c": b"3"})
        self.assertEqual(dict(view.iterate(b"")), {b"a": b"1", b"b": b"2"})
        view.close()
        reader = self.state.snapshot_reader()
        self.assertEqual(reader.meta.index, 3)
        reader.close()
        self.assertEqual(stored(self.state), {b"a": b"1", b"b": b"2", b"c": b"3"})

    def test_written_once(self) -> None:
        """A job that the reactor overtook does nothing: it would bring back old values."""
        gather(self.state, 1, {b"a": b"1"})
        job = self.state.write()
        gather(self.state, 2, {b"a": b"2"})
        self.state.write_all()
        job.write()
        job.done()
        self.assertEqual((stored(self.state), self.state.get(b"a")), ({b"a": b"2"}, b"2"))

    def test_crash(self) -> None:
        """A crash takes what was not written; the log has it."""
        commit(self.state, 1, {b"a": b"1"})
        gather(self.state, 2, {b"a": b"2"})
        again = self.open(self.crash())
        self.assertEqual((again.state.applied_index, again.state.get(b"a")), (1, b"1"))
        self.assertEqual(again.log.last_index(), 20)

    def test_closed(self) -> None:
        """Nothing is to be applied again after an orderly end."""
        gather(self.state, 2, {b"a": b"2"})
        self.directory.close()
        again = self.open()
        self.assertEqual((again.state.applied_index, again.state.get(b"a")), (2, b"2"))

    def test_entry_without_effect(self) -> None:
        """That an entry was applied is written, even if it changed nothing."""
        gather(self.state, 7)
        sync(self.state)
        self.assertEqual(self.open(self.crash()).state.applied_index, 7)

    def test_membership_is_written_at_once(self) -> None:
        """A new membership does not wait, and takes along what came before it."""
        gather(self.state, 1, {b"a": b"1"})
        transaction = self.state.begin()
        transaction.set_conf_state(ConfState((1, 2)))
        transaction.set_member_addresses({1: "a:1"})
        transaction.commit(2, 1)
        again = self.open(self.crash())
        self.assertEqual(again.state.conf_state, ConfState((1, 2)))
        self.assertEqual(again.state.member_addresses, {1: "a:1"})
        self.assertEqual((again.state.applied_index, again.state.get(b"a")), (2, b"1"))

    def test_sync_covers_what_gathered(self) -> None:
        """What a sync covers is written before it, whether a thread was at it or not."""
        gather(self.state, 1, {b"a": b"1"})
        self.state.write()
        gather(self.state, 2, {b"b": b"2"})
        job = self.state.sync()
        gather(self.state, 3, {b"c": b"3"})
        job.write()
        job.done()
        self.assertEqual(self.state.synced_index, 2)
        again = self.open(self.crash()).state
        self.assertEqual((again.applied_index, dict(again.iterate(b""))[b"b"]), (2, b"2"))

    def test_full(self) -> None:
        """A full generation asks to be written; where that does not happen, the next one waits."""
        self.state.gather_bytes = 1000
        gather(self.state, 1, {b"a": b"x" * 800})
        gather(self.state, 2, {b"a": b"y" * 800})
        self.assertFalse(self.state.wants_write)
        gather(self.state, 3, dict.fromkeys((b"b", b"c", b"d", b"e"), b"x" * 800))
        self.assertTrue(self.state.wants_write)
        self.state.write()
        self.assertFalse(self.state.wants_write)
        gather(self.state, 4, {b"f": b"x" * 800})
        self.assertEqual(stored(self.state), {})
        gather(self.state, 5, {b"g": b"x" * 800})
        keys = [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]
        self.assertEqual(sorted(stored(self.state)), keys)

    def test_overwritten(self) -> None:
        """What is overwritten over and over may become larger before it is written, up to a point:
        what is not would only take memory."""
        self.state.gather_bytes = 1000
        size = 100 + 4 + RECORD_OVERHEAD
        few, many = 1000 // size, OVERWRITTEN_FACTOR * 1000 // size
        keys = [b"k%03d" % number for number in range(many + 1)]
        index = 0

        def put(key: bytes) -> bool:
            nonlocal index
            index += 1
            gather(self.state, index, {key: b"x" * 100})
            return self.state.wants_write

        for key in keys[:few]:
            self.assertFalse(put(key))
        for key in keys[:many]:
            self.assertFalse(put(key) or put(key))
        self.assertTrue(put(keys[many]))
        job = self.state.write()
        job.write()
        job.done()
        for key in keys[:few]:
            self.assertFalse(put(key))
        self.assertTrue(put(keys[few]))

    def test_replaced_again_and_again(self) -> None:
        """Few records that change often are written, too: the log must not grow for ever."""
        self.state.gather_bytes = 1300
        times = REPLACED_FACTOR * 1300 // (901 + RECORD_OVERHEAD) + 1
        for index in range(1, times + 1):
            self.assertFalse(self.state.wants_write)
            gather(self.state, index, {b"a": b"x" * 900})
        self.assertTrue(self.state.wants_write)

    def test_much_unsynced(self) -> None:
        """From half the memtable on writes are synced, by their exact size: no hole, ever.

        Many small records that were replaced make the mean of a few large ones small.
        """
        self.state.db = mock.Mock(wraps=self.state.db)
        with mock.patch.object(state_module, "FLUSH_BYTES", 20_000):
            commit(self.state, 1, {b"a": b"x" * 9_000})
            for _ in range(1000):
                gather(self.state, 2, {b"s": b"x"})
            gather(self.state, 3, {b"l": b"x" * 12_000})
            self.state.write_all()
        calls = self.state.db.write_batch.call_args_list
        self.assertEqual([call.kwargs["sync"] for call in calls], [False, True])

    def test_power_loss_during_a_flush(self) -> None:
        """No hole: LevelDB's log is whole when a flush leaves it, as others write to the next.

        The flush is over only when the table is durable, so until then both logs are needed.
        """
        logs = self.path / "state"
        flushing = Flushing(self.state.db, logs, lambda: commit(self.state, 3, {b"c": b"3"}))
        self.state.db = flushing
        commit(self.state, 1, {b"a": b"1"})
        commit(self.state, 2, {b"b": b"2"})
        sync(self.state)
        self.assertEqual(len(flushing.left), 1)
        for name, (whole, durable) in flushing.left.items():
            self.assertEqual(durable, whole, name)
        commit(self.state, 4, {b"d": b"4"})
        self.assertFalse(flushing.is_synced, "afterwards nothing is synced by itself")

    def test_snapshot_installed_while_a_write_ends(self) -> None:
        """What is let go of after a write is of the state that was written, not of a newer one."""
        source = self.open(self.base / "source").state
        commit(source, 9, {b"a": b"new"})
        reader, writer = source.snapshot_reader(), self.state.snapshot_writer()
        writer.write(reader.read(b"", 1 << 20)[0])
        writer.finish(reader.summary(), reader.meta)
        reader.close()
        gather(self.state, 1, {b"a": b"old"})
        job, install = self.state.write(), self.state.install(writer)
        job.write()
        thread = threading.Thread(target=install.write)
        update = self.state._recent.update

        def overtaken(*about: Any) -> None:
            thread.start()
            thread.join(0.2)
            update(*about)

        with mock.patch.object(RecentRecords, "update", side_effect=overtaken):
            job.done()
        thread.join()
        self.assertEqual((self.state.applied_index, self.state.get(b"a")), (9, b"new"))

    def test_history_is_never_behind(self) -> None:
        """The changes are in their file before LevelDB has what they changed."""
        history = self.directory.history
        history.open(0, 0)
        gather(self.state, 1, {b"a": b"1"})
        history.append(1, 1, b"a was put")
        self.assertEqual(self.open(self.crash("before")).state.applied_index, 0)
        self.state.write_all()
        again = self.open(self.crash("after"))
        again.history.open(1, again.state.applied_index)
        self.assertEqual((again.history.oldest, again.history.last), (1, 1))


CHANGES = st.dictionaries(
    st.sampled_from([b"a", b"b", b"c", b"d"]), st.one_of(st.none(), st.binary(max_size=3))
)
STEPS = st.lists(
    st.one_of(CHANGES, st.sampled_from(["write", "finish", "all", "sync", "crash", "iterate"]))
)


class ModelTests(DirectoryTestCase):
    @settings(deadline=None, max_examples=40)
    @given(STEPS)
    def test_like_a_dictionary(self, steps: list[Any]) -> None:
        """Whatever is written when, by whom, and whenever it crashes: one moment's whole state."""
        self.setUp()
        directory = self.open()
        write(directory.log, run(1, len(steps) + 1))
        moments: list[dict[bytes, bytes]] = [{}]
        jobs: list[Any] = []
        for number, step in enumerate(steps):
            state = directory.state
            if isinstance(step, dict):
                gather(state, len(moments), step)
                changed = {**moments[-1], **step}
                moments.append({k: v for k, v in changed.items() if v is not None})
            elif step == "write":
                jobs.append(state.write())
            elif step == "finish" and jobs:
                job = jobs.pop(0)
                job.write()
                job.done()
            elif step == "all":
                state.write_all()
            elif step == "sync":
                sync(state)
                self.assertEqual(state.synced_index, len(moments) - 1)
            elif step == "iterate":
                self.assertEqual(dict(state.iterate(b"")), moments[-1])
            elif step == "crash":
                at_least = state.synced_index
                directory, jobs = self._restart(directory, number), []
                applied = directory.state.applied_index
                self.assertGreaterEqual(applied, at_least)
                del moments[applied + 1 :]
                self.assertEqual(dict(directory.state.iterate(b"")), moments[-1])
            found = {key: directory.state.get(key) for key in (b"a", b"b", b"c", b"d")}
            self.assertEqual({k: v for k, v in found.items() if v is not None}, moments[-1])

    def _restart(self, directory: DataDirectory, number: int) -> DataDirectory:
        copy = self.crash(f"crashed {number}")
        directory.close()
        self.path = copy
        return self.open()
