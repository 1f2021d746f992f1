"""Each batch of a proposer applies at most once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.machines.base import MemoryState
from uring.machines.sessions import WINDOW, first_time

LARGEST = 2**63 - 1


class FirstTimeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = MemoryState()

    def first(self, sequence: int, floor: int = 1, incarnation: int = 1, proposer: int = 7) -> bool:
        return first_time(self.state, proposer, incarnation, sequence, floor)

    def record(self) -> bytes:
        ((_, record),) = self.state.iterate(b"s")
        return record

    def test_again(self) -> None:
        """A batch that comes again is known."""
        self.assertTrue(self.first(1))
        self.assertFalse(self.first(1))

    def test_out_of_order(self) -> None:
        """Batches that overtake each other apply once each."""
        self.assertTrue(self.first(3))
        self.assertTrue(self.first(1))
        self.assertFalse(self.first(3))
        self.assertTrue(self.first(2))
        self.assertFalse(self.first(2))

    def test_below_the_floor(self) -> None:
        """A batch that its proposer gave up does not apply once a later one has said so."""
        self.assertTrue(self.first(5, floor=4))
        self.assertFalse(self.first(3))
        self.assertTrue(self.first(4))

    def test_floor_never_falls(self) -> None:
        """An older batch with a lower floor does not bring back what is settled."""
        self.assertTrue(self.first(9, floor=6))
        self.assertTrue(self.first(7, floor=2))
        self.assertFalse(self.first(5, floor=1))

    def test_lost_disk(self) -> None:
        """What a proposer sent before it lost its disk, and what it sends now, are told apart."""
        before, now = (9 << 32) + 5, (4 << 32) + 1
        self.assertTrue(self.first(1, incarnation=before))
        self.assertTrue(self.first(1, incarnation=now))
        self.assertFalse(self.first(1, incarnation=before))
        self.assertTrue(self.first(2, incarnation=before))
        self.assertTrue(self.first(2, incarnation=now))
        self.assertFalse(self.first(1, incarnation=now))

    def test_floor_beyond_itself(self) -> None:
        """A batch cannot settle later ones."""
        self.assertTrue(self.first(1, floor=LARGEST))
        self.assertTrue(self.first(2, floor=1))

    def test_new_incarnation(self) -> None:
        """A new life of the proposer counts from the beginning, and ends the old one."""
        self.assertTrue(self.first(50, floor=40))
        self.assertTrue(self.first(1, incarnation=2))
        self.assertFalse(self.first(51, incarnation=1))
        self.assertFalse(self.first(1, incarnation=2))

    def test_proposers_apart(self) -> None:
        """Two proposers may use the same numbers."""
        self.assertTrue(self.first(1, proposer=1))
        self.assertTrue(self.first(1, proposer=2))

    def test_small_record(self) -> None:
        """While batches come in order the record has 16 bytes, floor or not."""
        for sequence in range(1, 3000):
            self.assertTrue(self.first(sequence, floor=1))
        self.assertEqual(len(self.record()), 16)
        self.assertFalse(self.first(1))

    def test_bounded_record(self) -> None:
        """A gap that is never closed is given up when the window has passed it."""
        for sequence in range(2, WINDOW + 1):
            self.assertTrue(self.first(sequence))
        self.assertEqual(len(self.record()), 16 + WINDOW // 8)
        copy = MemoryState()
        for key, value in self.state.iterate(b""):
            copy.put(key, value)
        self.assertTrue(first_time(copy, 7, 1, 1, 1), "the window still holds the gap")
        self.assertTrue(self.first(WINDOW + 1))
        self.assertFalse(self.first(1))
        self.assertEqual(len(self.record()), 16)

    def test_extreme_numbers(self) -> None:
        """The largest numbers neither raise nor grow the record."""
        self.assertTrue(self.first(LARGEST, floor=-1, incarnation=LARGEST, proposer=LARGEST))
        self.assertLessEqual(len(self.record()), 16 + WINDOW // 8)
        self.assertFalse(self.first(LARGEST, incarnation=LARGEST, proposer=LARGEST))
        self.assertTrue(self.first(LARGEST - 1, incarnation=LARGEST, proposer=LARGEST))
        self.assertFalse(self.first(1, incarnation=LARGEST, proposer=LARGEST))

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 45)), max_size=60))
    def test_against_a_set(self, batches: list[tuple[int, int]]) -> None:
        """Any order of batches and floors is judged as a plain set and a maximum would."""
        self.setUp()
        applied: set[int] = set()
        settled = 0
        for sequence, floor in batches:
            expected = sequence >= settled and sequence not in applied
            self.assertEqual(self.first(sequence, floor), expected)
            if expected:
                applied.add(sequence)
                settled = max(settled, min(floor, sequence))
