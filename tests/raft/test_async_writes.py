"""Writes that complete later: thesis 10.2.1, and what must wait for them (3.8)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench
from tests.support.cluster import Cluster
from uring.raft import InvariantViolation, Ready, StorageAppendResponse, StorageApplyResponse
from uring.raft.messages import Append, AppendResponse, InstallSnapshot, Vote, VoteResponse
from uring.raft.types import ConfState, Entry, HardState, Snapshot, SnapshotMeta


def append(term: int, prev: tuple[int, int], *entries: Entry, commit: int = 0) -> Append:
    return Append(
        to=1,
        from_=2,
        term=term,
        prev_term=prev[0],
        prev_index=prev[1],
        entries=entries,
        commit=commit,
    )


def written(bench: Bench, ready: Ready) -> None:
    """Write what a Ready asks for and step back what the core told itself."""
    work = ready.append
    assert work is not None
    bench.storage.append(work.entries)
    if work.hard_state is not None:
        bench.storage.set_hard_state(work.hard_state)
    for response in work.responses:
        if response.to == bench.raw.id:
            bench.step(response)


class Waiting(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench(async_storage_writes=True)

    def test_vote_waits_for_disk(self) -> None:
        """A vote leaves only when it is durable."""
        self.bench.step(Vote(to=1, from_=2, term=1, last_index=0, last_term=0))
        ready = self.bench.raw.ready()
        assert ready.append is not None
        self.assertEqual((), ready.messages)
        self.assertEqual(HardState(1, 2, 0), ready.append.hard_state)
        self.assertEqual([VoteResponse], [type(m) for m in ready.append.responses])
        self.assertTrue(ready.must_sync)

    def test_leader_before_its_own_vote_was_durable(self) -> None:
        """The votes of all others are not enough while the own one could still be lost."""
        self.bench.raw.campaign()
        ready = self.bench.raw.ready()
        for voter in (2, 3):
            self.bench.step(VoteResponse(to=1, from_=voter, term=1))
        self.assertFalse(self.bench.raw.is_leader)
        self.assertEqual([], [m for m in self.bench.raw.ready().messages if type(m) is Append])
        written(self.bench, ready)
        self.assertTrue(self.bench.raw.is_leader)

    def test_requests_do_not_wait(self) -> None:
        """A candidate's requests leave at once, its own vote counts when it is durable."""
        self.bench.raw.campaign()
        ready = self.bench.raw.ready()
        self.assertEqual([Vote, Vote], [type(m) for m in ready.messages])
        self.bench.step(VoteResponse(to=1, from_=2, term=1))
        self.assertFalse(self.bench.raw.is_leader)
        written(self.bench, ready)
        self.assertTrue(self.bench.raw.is_leader)

    def test_leader_replicates_while_it_writes(self) -> None:
        """The leader sends entries in parallel with its own write, and counts itself after it."""
        self.bench.raw.campaign()
        written(self.bench, self.bench.raw.ready())
        self.bench.step(VoteResponse(to=1, from_=2, term=1))
        ready = self.bench.raw.ready()
        self.assertEqual([Append, Append], [type(m) for m in ready.messages])
        self.bench.step(AppendResponse(to=1, from_=2, term=1, index=1))
        self.assertEqual(0, self.bench.raw.commit)
        written(self.bench, ready)
        self.assertEqual(1, self.bench.raw.commit)

    def test_majority_elsewhere_commits(self) -> None:
        """An entry is committed before the leader's own write if a majority elsewhere has it."""
        self.bench.raw.campaign()
        written(self.bench, self.bench.raw.ready())
        self.bench.step(VoteResponse(to=1, from_=2, term=1))
        ready = self.bench.raw.ready()
        for voter in (2, 3):
            self.bench.step(AppendResponse(to=1, from_=voter, term=1, index=1))
        self.assertEqual(1, self.bench.raw.commit)
        self.assertIsNone(self.bench.raw.ready().apply)
        written(self.bench, ready)
        apply = self.bench.raw.ready().apply
        assert apply is not None
        self.assertEqual((Entry(1, 1),), apply.entries)

    def test_several_writes_in_line(self) -> None:
        """Writes follow each other without waiting; each attests the log up to its own end."""
        self.bench.step(append(1, (0, 0), Entry(1, 1)))
        first = self.bench.raw.ready()
        self.bench.step(append(1, (1, 1), Entry(1, 2)))
        second = self.bench.raw.ready()
        self.assertEqual([(Entry(1, 1),), (Entry(1, 2),)], [first.entries, second.entries])
        written(self.bench, first)
        self.assertTrue(self.bench.raw._state.log.has_tail)
        written(self.bench, second)
        self.assertFalse(self.bench.raw._state.log.has_tail)

    def test_commit_alone_waits_for_nothing(self) -> None:
        """A commit index alone is written without a sync and without an answer."""
        self.bench.step(append(1, (0, 0), Entry(1, 1)))
        written(self.bench, self.bench.raw.ready())
        self.bench.step(append(1, (1, 1), commit=1))
        ready = self.bench.raw.ready()
        assert ready.append is not None and ready.apply is not None
        self.assertFalse(ready.must_sync)
        self.assertEqual([AppendResponse], [type(m) for m in ready.append.responses])

    def test_applied_when_reported(self) -> None:
        """An entry counts as applied when its StorageApply is answered, and not before."""
        self.bench.step(append(1, (0, 0), Entry(1, 1), commit=1))
        written(self.bench, self.bench.raw.ready())
        ready = self.bench.raw.ready()
        self.assertEqual(0, self.bench.raw.applied)
        assert ready.apply is not None
        (response,) = ready.apply.responses
        self.bench.step(response)
        self.assertEqual(1, self.bench.raw.applied)
        self.assertFalse(self.bench.raw.has_ready())

    def test_advance_is_for_the_other_mode(self) -> None:
        """Advance has no place here, and without it a second Ready has none in the other mode."""
        self.bench.raw.campaign()
        self.bench.raw.ready()
        self.assertRaises(RuntimeError, self.bench.raw.advance)
        other = Bench()
        other.raw.campaign()
        other.raw.ready()
        self.assertRaises(RuntimeError, other.raw.ready)


class Races(SynchronousTestCase):
    """Answers that come when the world has changed."""

    def test_answer_of_an_earlier_term(self) -> None:
        """A write of an earlier term may be overwritten by one under way: its answer is void.

        The entries of terms 1, 2 and again 1 go to the same place; the answer to the first write
        must not pass for the third one's.
        """
        bench = Bench(async_storage_writes=True)
        bench.step(append(1, (0, 0), Entry(1, 1)))
        first = bench.raw.ready()
        bench.step(append(2, (0, 0), Entry(2, 1)))
        second = bench.raw.ready()
        bench.step(append(3, (0, 0), Entry(1, 1), Entry(3, 2)))
        third = bench.raw.ready()
        written(bench, first)
        self.assertEqual((1, 2), (third.entries[0].term, bench.raw.last_index))
        self.assertTrue(bench.raw._state.log.has_tail)
        written(bench, second)
        self.assertTrue(bench.raw._state.log.has_tail)
        written(bench, third)
        self.assertFalse(bench.raw._state.log.has_tail)
        self.assertEqual([(1, 1), (3, 2)], bench.log())

    def test_tail_is_attested_again_after_a_change_of_term(self) -> None:
        """A later write speaks for entries whose own answer was void."""
        bench = Bench(async_storage_writes=True)
        bench.step(append(1, (0, 0), Entry(1, 1)))
        first = bench.raw.ready()
        bench.step(Vote(to=1, from_=3, term=2, last_index=9, last_term=9))
        second = bench.raw.ready()
        written(bench, first)
        self.assertTrue(bench.raw._state.log.has_tail)
        written(bench, second)
        self.assertFalse(bench.raw._state.log.has_tail)

    def test_overwritten_entry(self) -> None:
        """An answer for an entry that the log no longer holds changes nothing."""
        bench = Bench(async_storage_writes=True, terms=(1, 1), term=2)
        bench.step(append(2, (1, 1), Entry(2, 2)))
        bench.raw.ready()
        for index, log_term in ((2, 1), (9, 2), (1, 1)):
            bench.step(StorageAppendResponse(to=1, term=2, index=index, log_term=log_term))
            self.assertTrue(bench.raw._state.log.has_tail)

    def test_entry_that_is_now_in_a_snapshot(self) -> None:
        """An answer for an entry does not pass for the snapshot that stands in its place."""
        bench = Bench(async_storage_writes=True)
        meta = SnapshotMeta(3, 1, ConfState(voters=(1, 2, 3)))
        bench.step(InstallSnapshot(to=1, from_=2, term=1, snapshot=Snapshot(meta)))
        bench.step(StorageAppendResponse(to=1, term=1, index=3, log_term=1))
        self.assertTrue(bench.raw.installing_snapshot)

    def test_nothing_applied(self) -> None:
        """A report that nothing was applied changes nothing."""
        bench = Bench(async_storage_writes=True, terms=(1,), commit=1)
        bench.step(StorageApplyResponse(to=1, entries=()))
        self.assertEqual(0, bench.raw.applied)

    def test_answer_from_the_future(self) -> None:
        """A write of a term that this node has not reached cannot have been."""
        bench = Bench(async_storage_writes=True)
        answer = StorageAppendResponse(to=1, term=9, index=1, log_term=9)
        self.assertRaises(InvariantViolation, bench.step, answer)

    def test_applied_behind_a_snapshot(self) -> None:
        """Entries reported as applied after a snapshot overtook them do not move anything back."""
        bench = Bench(async_storage_writes=True, terms=(1, 1), commit=2, applied=2)
        bench.step(StorageApplyResponse(to=1, entries=(Entry(1, 1),)))
        self.assertEqual(2, bench.raw.applied)

    def test_crash_before_the_write(self) -> None:
        """What was never written is gone after a crash, and nobody was told otherwise."""
        cluster = Cluster(3, async_storage_writes=True)
        cluster.elect(1)
        cluster[1].raw.propose(b"x")
        messages = cluster[1].process()[1]
        cluster.send(messages)
        cluster[2].process()
        for message in cluster.network:
            cluster.deliver(message)
        cluster.network.clear()
        self.assertEqual([], cluster[2].process()[1])
        last = cluster[2].storage.last_index()
        cluster[2].start()
        self.assertEqual(last, cluster[2].raw.last_index)
