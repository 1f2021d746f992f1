"""The parts that are plain arithmetic or bookkeeping: quorums, windows, logs, storage, settings."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.raft import NO_LIMIT, InvariantViolation, MemoryStorage, Settings
from uring.raft.invariants import check_hard_state, check_logs_match
from uring.raft.log import RaftLog
from uring.raft.progress import Inflights, Progress, ProgressState
from uring.raft.quorum import (
    EVERYTHING,
    VoteResult,
    committed_index,
    joint_committed_index,
    joint_vote_result,
    vote_result,
)
from uring.raft.storage import Compacted, Unavailable, entry_size, limit_size
from uring.raft.types import ConfState, Entry, HardState, Snapshot, SnapshotMeta

VOTERS = st.sets(st.integers(1, 9), max_size=7)


def majorities(voters: set[int]) -> list[set[int]]:
    return [set(each) for each in combinations(sorted(voters), len(voters) // 2 + 1)]


class Quorums(SynchronousTestCase):
    @given(VOTERS, st.dictionaries(st.integers(1, 9), st.integers(0, 20)))
    def test_committed_index(self, voters: set[int], acked: dict[int, int]) -> None:
        """The committed index is the best that some majority has acknowledged in full."""
        naive = max(
            (min(acked.get(voter, 0) for voter in each) for each in majorities(voters) if each),
            default=EVERYTHING,
        )
        self.assertEqual(naive, committed_index(voters, acked))

    @given(VOTERS, VOTERS, st.dictionaries(st.integers(1, 9), st.integers(0, 20)))
    def test_joint_committed_index(
        self, one: set[int], other: set[int], acked: dict[int, int]
    ) -> None:
        """Two majorities commit what both commit, whichever comes first."""
        joint = joint_committed_index(one, other, acked)
        self.assertEqual(min(committed_index(one, acked), committed_index(other, acked)), joint)
        self.assertEqual(joint, joint_committed_index(other, one, acked))

    @given(VOTERS, VOTERS, st.dictionaries(st.integers(1, 9), st.booleans()))
    def test_votes(self, one: set[int], other: set[int], votes: dict[int, bool]) -> None:
        """A vote is won if a majority says yes, lost if none can any more."""

        def naive(voters: set[int]) -> VoteResult:
            if not voters or any(all(votes.get(v) for v in each) for each in majorities(voters)):
                return VoteResult.WON
            hopes = (all(votes.get(v, True) for v in each) for each in majorities(voters))
            return VoteResult.PENDING if any(hopes) else VoteResult.LOST

        self.assertEqual(naive(one), vote_result(one, votes))
        both = {naive(one), naive(other)}
        joint = joint_vote_result(one, other, votes)
        if VoteResult.LOST in both:
            self.assertEqual(VoteResult.LOST, joint)
        else:
            self.assertEqual(both == {VoteResult.WON}, joint is VoteResult.WON)


class Windows(SynchronousTestCase):
    def test_full_by_count_and_by_bytes(self) -> None:
        """A window is full at either limit and moves with the answers."""
        window = Inflights(max_messages=3, max_bytes=100)
        window.add(5, 60)
        self.assertFalse(window.is_full)
        window.add(7, 60)
        self.assertTrue(window.is_full)
        self.assertRaises(InvariantViolation, window.add, 9, 1)
        window.free_to(4)
        self.assertEqual((2, 120), (len(window), window.bytes))
        window.free_to(6)
        self.assertEqual((1, 60), (len(window), window.bytes))
        window.add(8, 0)
        window.add(9, 0)
        self.assertTrue(window.is_full)
        window.clear()
        self.assertEqual((0, 0), (len(window), window.bytes))

    def _progress(self, match: int = 0, next: int = 1) -> Progress:  # noqa: A002
        return Progress(id=2, next=next, inflights=Inflights(2, 100), match=match)

    def test_probe_pauses_after_entries(self) -> None:
        """A probe with entries pauses, an empty one does not."""
        progress = self._progress()
        progress.sent_entries(0, 0)
        self.assertFalse(progress.is_paused)
        progress.sent_entries(1, 10)
        self.assertEqual((True, 1), (progress.is_paused, progress.next))

    def test_replicate_moves_ahead(self) -> None:
        """A follower in step is sent entries ahead of its answers until the window is full."""
        progress = self._progress(match=4, next=5)
        progress.become_replicate()
        progress.sent_entries(2, 10)
        self.assertEqual((7, False), (progress.next, progress.is_paused))
        progress.sent_entries(1, 10)
        self.assertEqual((8, True), (progress.next, progress.is_paused))
        self.assertTrue(progress.maybe_update(6))
        self.assertEqual((6, 8, False), (progress.match, progress.next, progress.is_paused))

    def test_stale_updates(self) -> None:
        """An acknowledgement of what is known, and a rejection of it, change nothing."""
        progress = self._progress(match=4, next=9)
        self.assertFalse(progress.maybe_update(4))
        self.assertFalse(progress.maybe_decrease(3, 2))
        progress.become_replicate()
        self.assertFalse(progress.maybe_decrease(4, 2))
        self.assertTrue(progress.maybe_decrease(7, 2))
        self.assertEqual(5, progress.next)

    def test_rejected_probe(self) -> None:
        """A probe that was rejected goes back to the hint, never to what matches already."""
        for rejected, hint, expected in ((8, 5, 6), (8, 9, 8), (8, 1, 5)):
            progress = self._progress(match=4, next=9)
            self.assertTrue(progress.maybe_decrease(rejected, hint))
            self.assertEqual(expected, progress.next)

    def test_snapshot(self) -> None:
        """A follower that waits for a snapshot is paused, and probed after it."""
        progress = self._progress(match=1)
        progress.become_snapshot(9)
        self.assertEqual((True, 10), (progress.is_paused, progress.next))
        progress.become_probe()
        self.assertEqual(
            (ProgressState.PROBE, 10, 0), (progress.state, progress.next, progress.pending_snapshot)
        )


def entries(first: int, *terms: int) -> list[Entry]:
    return [Entry(term, index) for index, term in enumerate(terms, first)]


class Logs(SynchronousTestCase):
    def setUp(self) -> None:
        self.storage = MemoryStorage()
        self.storage.append(entries(1, 1, 1, 2, 2))
        self.log = RaftLog(self.storage, NO_LIMIT, None)

    def _terms(self) -> list[int]:
        last = self.log.last_index
        return [entry.term for entry in self.log.slice(1, last + 1, NO_LIMIT)]

    def test_append_to_both_parts(self) -> None:
        """New entries replace a tail whether it is durable, waiting, or under way."""
        self.log.append(entries(5, 2, 2))
        self.log.accept_unwritten()
        self.log.append(entries(7, 3))
        self.assertEqual([1, 1, 2, 2, 2, 2, 3], self._terms())
        self.log.append(entries(6, 4))
        self.assertEqual([1, 1, 2, 2, 2, 4], self._terms())
        self.assertEqual(tuple(entries(6, 4)), self.log.unwritten())
        self.log.append(entries(3, 5))
        self.assertEqual([1, 1, 5], self._terms())
        self.assertEqual(tuple(entries(3, 5)), self.log.unwritten())

    def test_gap_and_disorder(self) -> None:
        """Entries that leave a gap, or do not follow each other, are an alarm."""
        self.log.append(entries(5, 2))
        for wrong in (entries(7, 2), [Entry(2, 6), Entry(2, 8)], [Entry(3, 6), Entry(2, 7)]):
            self.assertRaises(InvariantViolation, self.log.append, wrong)

    def test_pages(self) -> None:
        """Reading stops at the limit, across the border of the two parts too."""
        size = entry_size(Entry(2, 4))
        self.log.append(entries(5, 2, 2))
        for limit, count in ((0, 1), (size, 1), (3 * size, 3), (4 * size - 1, 3), (NO_LIMIT, 4)):
            self.assertEqual(count, len(self.log.slice(3, 7, limit)), limit)

    def test_compacted(self) -> None:
        """What is gone cannot be read, except the term just before the first entry."""
        self.storage.compact(2)
        self.assertRaises(Compacted, self.log.slice, 2, 4, NO_LIMIT)
        self.assertRaises(Compacted, self.log.term, 1)
        self.assertRaises(Unavailable, self.log.term, 5)
        self.assertEqual((1, 2), (self.log.term(2), self.log.term(3)))

    def test_durable_entries_leave_memory(self) -> None:
        """Once durable, entries are read from storage."""
        self.log.append(entries(5, 2, 2))
        self.storage.append(self.log.unwritten())
        self.log.accept_unwritten()
        self.log.stable_to(5, 2)
        self.assertTrue(self.log.has_tail)
        self.log.stable_to(6, 2)
        self.assertFalse(self.log.has_tail)
        self.assertEqual([1, 1, 2, 2, 2, 2], self._terms())

    def test_commit_never_falls(self) -> None:
        """A commit index of old does not take anything back."""
        self.log.commit_to(3)
        self.log.commit_to(1)
        self.assertEqual(3, self.log.committed)
        self.assertRaises(InvariantViolation, self.log.commit_to, 9)

    def test_snapshot_voids_storage(self) -> None:
        """While a snapshot waits to be installed, what storage holds is void."""
        self.log.restore(Snapshot(SnapshotMeta(9, 3)))
        self.assertEqual((10, 9, 3), (self.log.first_index, self.log.last_index, self.log.term(9)))
        self.assertRaises(Compacted, self.log.term, 4)
        self.log.append(entries(10, 3))
        self.assertEqual([3], [entry.term for entry in self.log.slice(10, 11, NO_LIMIT)])
        self.assertEqual((9, 3), self.log.find_conflict_by_term(9, 3))

    def test_nothing_is_applied_early(self) -> None:
        """What is not committed is neither handed out nor reported as applied."""
        self.log.commit_to(2)
        self.assertRaises(InvariantViolation, self.log.accept_applying, 3, 0, True)
        self.assertRaises(InvariantViolation, self.log.applied_to, 3, 0)


class Storing(SynchronousTestCase):
    def test_append_replaces_tail(self) -> None:
        """Entries replace whatever stands at their indexes or later."""
        storage = MemoryStorage()
        storage.append(entries(1, 1, 1, 1))
        storage.append(entries(2, 2))
        self.assertEqual(entries(1, 1, 2), storage.entries(1, 3, NO_LIMIT))
        self.assertRaises(Unavailable, storage.append, entries(9, 2))

    def test_append_below_compacted(self) -> None:
        """Entries that are gone already are skipped."""
        storage = MemoryStorage()
        storage.append(entries(1, 1, 1, 1))
        storage.compact(2)
        storage.append(entries(1, 1, 1))
        self.assertEqual(3, storage.last_index())
        storage.append(entries(2, 1, 5))
        self.assertEqual((3, 5), (storage.last_index(), storage.term(3)))

    def test_snapshots(self) -> None:
        """A snapshot replaces everything and is itself only replaced by a newer one."""
        storage = MemoryStorage()
        members = ConfState(voters=(1,))
        storage.apply_snapshot(Snapshot(SnapshotMeta(5, 2, members)))
        self.assertEqual((6, 5, 2), (storage.first_index(), storage.last_index(), storage.term(5)))
        self.assertEqual(members, storage.initial_state()[1])
        self.assertRaises(Compacted, storage.apply_snapshot, Snapshot(SnapshotMeta(5, 2)))
        self.assertRaises(Compacted, storage.create_snapshot, 5)
        storage.append(entries(6, 2))
        self.assertEqual(members, storage.create_snapshot(6).meta.conf_state)

    def test_compact_twice(self) -> None:
        """What was dropped cannot be dropped again."""
        storage = MemoryStorage()
        storage.append(entries(1, 1, 1))
        storage.compact(1)
        self.assertRaises(Compacted, storage.compact, 1)
        self.assertRaises(Compacted, storage.entries, 1, 2, NO_LIMIT)
        self.assertRaises(Unavailable, storage.entries, 2, 4, NO_LIMIT)
        self.assertRaises(Compacted, storage.term, 0)
        self.assertRaises(Unavailable, storage.term, 3)

    def test_sizes(self) -> None:
        """Limits count what the entry's protobuf encoding takes, and let one entry through."""
        self.assertEqual(6, entry_size(Entry(1, 1)))
        self.assertEqual(6 + 1 + 1 + 3, entry_size(Entry(1, 1, data=b"abc")))
        self.assertEqual(4 + 2 + 3 + 1 + 2 + 200, entry_size(Entry(200, 20_000, data=b"x" * 200)))
        self.assertEqual(1, len(limit_size(entries(1, 1, 1), 0)))
        self.assertEqual(2, len(limit_size(entries(1, 1, 1, 1), 12)))


class Configured(SynchronousTestCase):
    def test_refused_settings(self) -> None:
        """Settings that cannot work are refused with a sentence."""
        for wrong, words in (
            ({"node_id": 0}, "node_id"),
            ({"heartbeat_ticks": 0}, "heartbeat_ticks"),
            ({"election_ticks": 1}, "election_ticks"),
            ({"max_inflight_messages": 0}, "max_inflight_messages"),
            ({"max_append_bytes": 10, "max_inflight_bytes": 9}, "max_inflight_bytes"),
            ({"max_append_bytes": -1}, "max_append_bytes"),
            ({"max_uncommitted_bytes": 0}, "max_uncommitted_bytes"),
            ({"max_committed_bytes_per_ready": 0}, "max_committed_bytes_per_ready"),
            ({"applied": -1}, "applied"),
            ({"read_only_lease": True, "check_quorum": False}, "check_quorum"),
        ):
            error = self.assertRaises(ValueError, Settings, **{"node_id": 1, **wrong})
            self.assertIn(words, str(error))


class Invariants(SynchronousTestCase):
    def test_hard_state(self) -> None:
        """Terms and commit indexes never fall, and a vote stays for its term."""
        before = HardState(2, 1, 5)
        for good in (before, HardState(3, 0, 5), HardState(2, 1, 6)):
            check_hard_state(before, good)
        for bad in (HardState(1, 1, 5), HardState(2, 3, 5), HardState(2, 0, 5), HardState(3, 0, 4)):
            self.assertRaises(InvariantViolation, check_hard_state, before, bad)

    def test_log_matching(self) -> None:
        """Logs that agree somewhere and differ before it break Log Matching."""
        check_logs_match(entries(1, 1, 1, 2), entries(1, 1, 1, 3))
        check_logs_match(entries(1, 1, 1, 2), entries(3, 2))
        self.assertRaises(InvariantViolation, check_logs_match, entries(1, 1, 2), entries(1, 2, 2))
