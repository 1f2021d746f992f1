"""Records in memory: what they know, and what they forget."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.store.base import DirectoryTestCase
from uring.store.recent import RECORD_OVERHEAD, UNKNOWN, RecentRecords


class RecentRecordsTests(SynchronousTestCase):
    """Two generations, each bounded in bytes."""

    def test_absence_is_known(self) -> None:
        """That a key was deleted or not found is remembered as well as its value."""
        recent = RecentRecords()
        recent.update({b"a": b"1", b"b": None}, 2 * RECORD_OVERHEAD)
        recent.keep(b"c", None)
        self.assertEqual([recent.get(key) for key in (b"a", b"b", b"c")], [b"1", None, None])
        self.assertIs(recent.get(b"d"), UNKNOWN)
        recent.clear()
        self.assertIs(recent.get(b"a"), UNKNOWN)

    def test_what_nobody_asks_for_is_forgotten(self) -> None:
        """What is used stays through generations, the rest goes, and the bound holds."""
        recent = RecentRecords(10 * RECORD_OVERHEAD)
        recent.keep(b"used", b"1")
        recent.keep(b"unused", b"2")
        for number in range(100):
            recent.keep(b"%d" % number, b"")
            self.assertEqual(recent.get(b"used"), b"1")
            self.assertLessEqual(len(recent._young) + len(recent._old), 21)
        self.assertIs(recent.get(b"unused"), UNKNOWN)

    def test_newer_value_hides_the_older_generation(self) -> None:
        """A key in both generations has the value that was written last."""
        recent = RecentRecords(2 * RECORD_OVERHEAD)
        recent.update({b"a": b"1"}, 3 * RECORD_OVERHEAD)
        recent.update({b"a": b"2"}, RECORD_OVERHEAD)
        self.assertEqual(recent.get(b"a"), b"2")


class StateTests(DirectoryTestCase):
    """The state answers as LevelDB would."""

    def test_state_agrees_with_leveldb(self) -> None:
        """Whatever was written, deleted and read before, both say the same."""
        state, chance = self.open().state, random.Random(1)
        state._recent.limit = 20 * RECORD_OVERHEAD
        keys = [b"%d" % number for number in range(60)]
        for index in range(1, 300):
            transaction = state.begin()
            for key in chance.sample(keys, 3):
                if chance.random() < 0.3:
                    transaction.delete(key)
                else:
                    transaction.put(key, b"%d" % index)
            transaction.commit(index, 1)
            for key in chance.sample(keys, 5):
                self.assertEqual(state.get(key), dict(state.iterate(b"")).get(key))

    def test_snapshot_takes_the_place_of_all_of_it(self) -> None:
        """After an installation nothing of the state before is answered."""
        source = self.open(self.base / "source").state
        transaction = source.begin()
        transaction.put(b"new", b"1")
        transaction.commit(9, 1)
        state = self.open().state
        transaction = state.begin()
        transaction.put(b"old", b"1")
        transaction.commit(1, 1)
        self.assertEqual((state.get(b"old"), state.get(b"new")), (b"1", None))
        reader, writer = source.snapshot_reader(), state.snapshot_writer()
        following: bytes | None = b""
        while following is not None:
            chunk, following = reader.read(writer.position, 1000)
            writer.write(chunk)
        writer.finish(reader.summary(), reader.meta)
        reader.close()
        state.install(writer).write()
        self.assertEqual((state.get(b"old"), state.get(b"new")), (None, b"1"))
