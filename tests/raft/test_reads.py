"""Linearizable reads: thesis 6.4 and paper, section 8."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench
from tests.support.cluster import Cluster
from uring.raft import ReadState
from uring.raft.messages import (
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    ReadIndex,
    ReadIndexResponse,
)
from uring.raft.types import ConfState


class ByQuorum(SynchronousTestCase):
    """ReadIndex with a round of heartbeats."""

    def _leading(self, size: int = 3) -> Bench:
        voters = tuple(range(1, size + 1))
        bench = Bench(voters=voters).lead(voters[1:])
        for voter in voters[1:]:
            bench.step(AppendResponse(to=1, from_=voter, term=1, index=1))
        bench.take()
        return bench

    def test_confirmed_by_majority(self) -> None:
        """The leader answers when a majority has acknowledged a round of heartbeats."""
        bench = self._leading(5)
        self.assertTrue(bench.raw.read_index(b"read"))
        context = {beat.context for beat in bench.taken(Heartbeat)}.pop()
        bench.step(HeartbeatResponse(to=1, from_=2, term=1, context=context))
        bench.step(HeartbeatResponse(to=1, from_=2, term=1, context=context))
        bench.take()
        self.assertEqual([], bench.read_states)
        bench.step(HeartbeatResponse(to=1, from_=3, term=1, context=context))
        bench.take()
        self.assertEqual([ReadState(1, b"read")], bench.read_states)

    def test_answers_to_earlier_rounds_do_not_count(self) -> None:
        """A heartbeat that was sent before the read says nothing about it."""
        bench = self._leading()
        bench.raw.read_index(b"first")
        early = bench.taken(Heartbeat)[0].context
        bench.raw.read_index(b"second")
        bench.step(HeartbeatResponse(to=1, from_=2, term=1, context=early))
        bench.step(HeartbeatResponse(to=1, from_=3, term=1))
        bench.take()
        self.assertEqual([b"first"], [state.context for state in bench.read_states])

    def test_one_round_confirms_all_before(self) -> None:
        """One round confirms every read that waited when it began, in order."""
        bench = self._leading()
        for number in range(3):
            bench.raw.read_index(b"%d" % number)
        context = bench.taken(Heartbeat)[-1].context
        bench.step(HeartbeatResponse(to=1, from_=2, term=1, context=context))
        bench.take()
        self.assertEqual([b"0", b"1", b"2"], [state.context for state in bench.read_states])

    def test_same_context_twice(self) -> None:
        """Two reads of the same name get two answers."""
        bench = self._leading()
        bench.raw.read_index(b"same")
        bench.raw.read_index(b"same")
        context = bench.taken(Heartbeat)[-1].context
        bench.step(HeartbeatResponse(to=1, from_=2, term=1, context=context))
        bench.take()
        self.assertEqual([b"same", b"same"], [state.context for state in bench.read_states])

    def test_lost_round_is_repeated(self) -> None:
        """The periodic heartbeats confirm reads too, if the first round was lost."""
        bench = self._leading()
        bench.raw.read_index(b"read")
        bench.take()
        bench.tick()
        context = bench.taken(Heartbeat)[0].context
        bench.step(HeartbeatResponse(to=1, from_=2, term=1, context=context))
        bench.take()
        self.assertEqual(1, len(bench.read_states))

    def test_nonsense_contexts_confirm_nothing(self) -> None:
        """An answer with a context that was never sent is not counted."""
        bench = self._leading()
        bench.raw.read_index(b"read")
        bench.take()
        for context in (b"x", b"\xff" * 8, b"read"):
            bench.step(HeartbeatResponse(to=1, from_=2, term=1, context=context))
        bench.take()
        self.assertEqual([], bench.read_states)

    def test_learner_does_not_confirm(self) -> None:
        """A learner's answer is none of a majority."""
        bench = Bench(voters=(1, 2, 3), learners=(4,)).lead()
        bench.step(AppendResponse(to=1, from_=2, term=1, index=1))
        bench.take()
        bench.raw.read_index(b"read")
        context = bench.taken(Heartbeat)[0].context
        bench.step(HeartbeatResponse(to=1, from_=4, term=1, context=context))
        bench.take()
        self.assertEqual([], bench.read_states)

    def test_new_leader_waits_for_first_commit(self) -> None:
        """A leader does not know how far the log is committed before its first own commit."""
        bench = Bench(terms=(1,), term=1).lead()
        bench.raw.read_index(b"read")
        self.assertEqual([], bench.taken(Heartbeat))
        bench.step(AppendResponse(to=1, from_=2, term=2, index=2))
        context = bench.taken(Heartbeat)[0].context
        bench.step(HeartbeatResponse(to=1, from_=2, term=2, context=context))
        bench.take()
        self.assertEqual([ReadState(2, b"read")], bench.read_states)

    def test_single_voter_waits_for_first_commit(self) -> None:
        """Even a lone voter may be behind what it answered before a crash, until it commits."""
        bench = Bench(voters=(1,), terms=(1, 1), term=1, commit=1)
        bench.raw.campaign()
        while not bench.raw.is_leader:
            bench.raw.ready()
            bench.raw.advance()
        bench.raw.read_index(b"read")
        bench.take()
        self.assertEqual([ReadState(3, b"read")], bench.read_states)

    def test_single_voter_answers_at_once(self) -> None:
        """A lone voter needs nobody's confirmation, learners or not."""
        bench = Bench(voters=(1,), learners=(2,)).lead(())
        bench.raw.read_index(b"read")
        bench.take()
        self.assertEqual([ReadState(1, b"read")], bench.read_states)

    def test_joint_configuration_needs_both_majorities(self) -> None:
        """While joint, a majority of each half must confirm."""
        joint = ConfState(voters=(1, 2, 3), voters_outgoing=(1, 4, 5))
        bench = Bench(conf_state=joint).lead((2, 4))
        for voter in (2, 4):
            bench.step(AppendResponse(to=1, from_=voter, term=1, index=1))
        bench.take()
        bench.raw.read_index(b"read")
        context = bench.taken(Heartbeat)[0].context
        for voter in (2, 3):
            bench.step(HeartbeatResponse(to=1, from_=voter, term=1, context=context))
        bench.take()
        self.assertEqual([], bench.read_states)
        bench.step(HeartbeatResponse(to=1, from_=5, term=1, context=context))
        bench.take()
        self.assertEqual(1, len(bench.read_states))

    def test_deposed_leader_forgets_reads(self) -> None:
        """A leader that loses its office answers no read, not even as a leader again."""
        bench = self._leading()
        bench.raw.read_index(b"read")
        context = bench.taken(Heartbeat)[0].context
        bench.step(Heartbeat(to=1, from_=2, term=2))
        bench.step(HeartbeatResponse(to=1, from_=3, term=1, context=context))
        bench.lead()
        for voter in (2, 3):
            bench.step(HeartbeatResponse(to=1, from_=voter, term=3, context=context))
        bench.take()
        self.assertEqual([], bench.read_states)

    def test_partitioned_leader_answers_nothing(self) -> None:
        """A leader that was cut off cannot serve a read that a newer one has overtaken."""
        cluster = Cluster(3)
        old = cluster.elect(1)
        cluster.isolate(1)
        cluster.elect(2)
        cluster.propose(2, b"newer")
        old.raw.read_index(b"read")
        cluster.settle()
        self.assertEqual([], old.read_states)


class FromFollowers(SynchronousTestCase):
    """Reads asked for elsewhere."""

    def test_forwarded(self) -> None:
        """A follower asks the leader and gets the index back, and so does a learner."""
        cluster = Cluster(4, ConfState(voters=(1, 2, 3), learners=(4,)))
        cluster.elect(1)
        cluster.propose(1, b"x")
        for node in (2, 4):
            self.assertTrue(cluster[node].raw.read_index(b"read"))
            cluster.settle()
            self.assertEqual([ReadState(3, b"read")], cluster[node].read_states)

    def test_no_leader(self) -> None:
        """Without a leader the caller is told so."""
        self.assertFalse(Bench().raw.read_index(b"read"))

    def test_forwarded_to_no_leader_is_lost(self) -> None:
        """A request that arrives where no leader is known is dropped; its owner asks again."""
        bench = Bench()
        bench.step(ReadIndex(to=1, from_=2, context=b"read"))
        self.assertEqual([], bench.take())
        self.assertTrue(bench.was_told("info", "dropping index reading msg"))

    def test_answer_only_as_follower(self) -> None:
        """An answer that comes after the term it was given in does not count."""
        bench = Bench(term=3)
        bench.step(ReadIndexResponse(to=1, from_=2, term=2, index=9, context=b"read"))
        bench.take()
        self.assertEqual([], bench.read_states)


class ByLease(SynchronousTestCase):
    """Thesis 6.4.1."""

    def test_answers_at_once(self) -> None:
        """With a lease the leader answers without a round of heartbeats."""
        cluster = Cluster(3, check_quorum=True, read_only_lease=True)
        leader = cluster.elect(1)
        cluster.sent.clear()
        leader.raw.read_index(b"read")
        cluster.settle()
        self.assertEqual([b"read"], [state.context for state in leader.read_states])
        self.assertEqual([], cluster.messages_of(Heartbeat))

    def test_waits_for_first_commit(self) -> None:
        """A lease does not tell how far the log is committed either."""
        bench = Bench(terms=(1,), term=1, check_quorum=True, read_only_lease=True).lead()
        bench.raw.read_index(b"read")
        bench.take()
        self.assertEqual([], bench.read_states)
