"""The kept changes: what is read back, what is dropped, what crashes leave."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.store.failures import Health, StoreDamaged, StoreFailed
from uring.store.history import HistoryStore, Record
from uring.store.segments import SegmentFiles


class HistoryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.store = self.opened(0, 0)

    def opened(self, revision: int, index: int, **bounds: int) -> HistoryStore:
        store = HistoryStore(SegmentFiles(self.path), Health(), **bounds)
        store.open(revision, index)
        self.addCleanup(store.close)
        return store

    def read(self, store: HistoryStore, revision: int, bytes_max: int = 100) -> list[Record]:
        """Read everything from ``revision`` on, piece by piece."""
        position = store.position(revision)
        found: list[Record] = []
        while not found or found[-1].end <= store.last:
            if revision > store.last:
                break
            self.assertTrue(store.seal(position))
            found.extend(position.read(bytes_max))
        return found

    def paths(self) -> list[Path]:
        return sorted(self.path.glob("*.history"))


class StoreTests(HistoryTestCase):
    def test_read_back(self) -> None:
        """What was appended is read back from any revision on, in order."""
        for index, count in enumerate((1, 3, 2), 1):
            self.store.append(index, count, b"%d" % index * 50)
        self.assertEqual((self.store.oldest, self.store.last), (1, 6))
        for revision, firsts in ((1, [1, 2, 5]), (2, [2, 5]), (4, [2, 5]), (6, [5])):
            found = self.read(self.store, revision)
            self.assertEqual([record.first for record in found], firsts)
        self.assertEqual(self.read(self.store, 5)[0].payload, b"3" * 50)

    def test_record_longer_than_a_piece(self) -> None:
        """A record is read whole, however small the pieces are."""
        self.store.append(1, 1, b"x" * 10_000)
        self.store.append(2, 1, b"y")
        self.assertEqual([len(each.payload) for each in self.read(self.store, 1)], [10_000, 1])

    def test_trimmed_by_count(self) -> None:
        """About as many changes are kept as was asked for, never fewer; files go with them."""
        self.store = self.opened(0, 0, entries_max=80)
        for index in range(1, 301):
            self.store.append(index, 1, b"x")
            for number in self.store.trim():
                self.store.files.remove(number)
            self.assertGreaterEqual(index - self.store.oldest + 1, min(index, 80))
            self.assertLessEqual(index - self.store.oldest + 1, 80 + 10)
        self.assertLessEqual(len(self.paths()), 10)
        self.assertEqual(self.read(self.store, self.store.oldest)[0].first, self.store.oldest)

    def test_trimmed_by_bytes(self) -> None:
        """No more bytes are kept than was asked for, but for the newest segment."""
        self.store = self.opened(0, 0, bytes_max=8000)
        for index in range(1, 101):
            self.store.append(index, 1, b"x" * 500)
            self.store.trim()
            self.assertLessEqual(self.store.size, 8000)
        self.assertEqual(self.store.size % 528, 0)
        self.assertGreater(self.store.size, 6000)

    def test_dropped_while_it_is_read(self) -> None:
        """Who reads a segment that is dropped is told so."""
        self.store = self.opened(0, 0, entries_max=8)
        self.store.append(1, 1, b"x")
        position = self.store.position(1)
        for index in range(2, 40):
            self.store.append(index, 1, b"x")
        self.assertTrue(self.store.seal(position))
        self.store.trim()
        self.assertFalse(self.store.seal(position))

    def test_damage_is_noticed(self) -> None:
        """A flipped bit in an old segment is an error to who reads it; the rest can be read."""
        self.store = self.opened(0, 0, entries_max=80)
        for index in range(1, 31):
            self.store.append(index, 1, b"x" * 100)
        self.store.flush()
        damaged = bytearray(self.paths()[0].read_bytes())
        damaged[300] ^= 1
        self.paths()[0].write_bytes(damaged)
        with self.assertRaises(StoreDamaged):
            self.read(self.store, 1)
        self.store.drop_through(3)
        self.assertEqual(self.read(self.store, self.store.oldest)[-1].end, 31)

    def test_everything_damaged(self) -> None:
        """When nothing is left the history goes on with the next change."""
        self.store.append(1, 5, b"x")
        self.store.drop_through(5)
        self.assertEqual((self.store.oldest, self.store.last), (6, 5))
        self.store.append(2, 1, b"y")
        self.assertEqual([each.first for each in self.read(self.store, 6)], [6])

    def test_full_disk(self) -> None:
        """A failed write ends the store, as it does everywhere else."""
        self.store.files.close()
        self.store.append(1, 1, b"x")
        with self.assertRaises(StoreFailed):
            self.store.flush()
        self.assertIsNotNone(self.store.health.failure)


class OpeningTests(HistoryTestCase):
    def test_again(self) -> None:
        """After a restart everything is there, and what is appended follows it."""
        for index in range(1, 20):
            self.store.append(index, 2, b"x" * index)
        self.store.close()
        self.store.flush()
        store = self.opened(38, 19)
        self.assertEqual((store.oldest, store.last, store.size), (1, 38, self.store.size))
        store.append(20, 1, b"y")
        self.assertEqual(self.read(store, 1)[-1].payload, b"y")

    def test_further_than_the_state(self) -> None:
        """What the state has not got is cut off: it will be applied again."""
        for index in range(1, 6):
            self.store.append(index, 1, b"x")
        self.store.flush()
        store = self.opened(3, 3)
        self.assertEqual(store.last, 3)
        store.append(4, 1, b"again")
        self.assertEqual([each.payload for each in self.read(store, 3)], [b"x", b"again"])

    def test_behind_the_state(self) -> None:
        """Where the state has more, the history begins anew rather than with a hole."""
        self.store.append(1, 1, b"x")
        self.store.flush()
        store = self.opened(7, 3)
        self.assertEqual((store.oldest, store.last), (8, 7))
        self.assertEqual(len(self.paths()), 1)

    def test_cut_short(self) -> None:
        """A last record that is not whole is cut off, wherever it ends."""
        self.store.append(1, 1, b"first")
        self.store.append(2, 1, b"second")
        self.store.flush()
        whole = self.paths()[0].read_bytes()
        for length in range(len(whole) - 33, len(whole)):
            self.paths()[0].write_bytes(whole[:length])
            self.assertEqual(self.opened(1, 1).last, 1)
            self.assertEqual([each.payload for each in self.read(self.opened(1, 1), 1)], [b"first"])

    def test_foreign_files(self) -> None:
        """Other names in the directory are left alone."""
        (self.path / "note.txt").write_text("hello")
        (self.path / "x.history").write_text("hello")
        self.assertEqual(self.opened(0, 0).last, 0)
        self.assertTrue((self.path / "note.txt").exists())

    def test_an_empty_newest_segment(self) -> None:
        """A crash right after a segment was begun costs nothing."""
        self.store.append(1, 3, b"x")
        self.store.flush()
        self.store.files.create(4)
        store = self.opened(3, 1)
        self.assertEqual((store.oldest, store.last), (1, 3))

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60)), min_size=1), st.data())
    def test_any_crash(self, batches: list[tuple[int, int]], data: st.DataObject) -> None:
        """Wherever the files end and the state stands: no hole, no change twice."""
        self.setUp()
        store = self.opened(0, 0, entries_max=16)
        revisions = [0]
        for index, (count, size) in enumerate(batches, 1):
            store.append(index, count, b"%d" % index + b"x" * size)
            revisions.append(revisions[-1] + count)
            for number in store.trim():
                store.files.remove(number)
        store.flush()
        newest = self.paths()[-1]
        newest.write_bytes(newest.read_bytes()[: data.draw(st.integers(0, newest.stat().st_size))])
        index = data.draw(st.integers(0, len(batches)))
        store = self.opened(revisions[index], index)
        self.assertEqual(store.last, revisions[index])
        expected = store.oldest
        if expected <= store.last:
            for record in self.read(store, expected):
                self.assertEqual(record.first, revisions[record.index - 1] + 1)
                self.assertTrue(record.payload.startswith(b"%d" % record.index))
                self.assertEqual(record.first, expected)
                expected = record.end
        self.assertEqual(expected, store.last + 1)
