"""Elections that must not disturb: thesis 4.2.3, 6.2 and 9.6; joint ones: paper, section 6."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench, vote_request
from tests.support.cluster import Cluster
from uring.raft.messages import (
    AppendResponse,
    Heartbeat,
    PreVote,
    PreVoteResponse,
    TimeoutNow,
    Vote,
    VoteResponse,
)
from uring.raft.types import (
    ConfState,
    Role,
)


def heartbeat(term: int, from_: int = 2) -> Heartbeat:
    return Heartbeat(to=1, from_=from_, term=term)


class PreVoting(SynchronousTestCase):
    """Thesis 9.6."""

    def test_pre_vote_changes_nothing(self) -> None:
        """A pre-candidate increases its term only if it could win; nobody's state changes."""
        cluster = Cluster(3, pre_vote=True)
        cluster.isolate(1)
        for _ in range(5):
            cluster[1].raw.campaign()
            cluster.settle()
        self.assertEqual((Role.PRE_CANDIDATE, 1), (cluster[1].role, cluster[1].raw.term))
        voter = Bench(pre_vote=True, term=1)
        voter.step(PreVote(to=1, from_=2, term=2, last_index=0, last_term=0))
        self.assertEqual([(2, False)], [(m.term, m.reject) for m in voter.taken(PreVoteResponse)])
        self.assertEqual((1, 0), (voter.raw.term, voter.raw.status().hard_state.vote))

    def test_majority_of_pre_votes_starts_election(self) -> None:
        """With a majority of pre-votes, a server starts a normal election."""
        cluster = Cluster(3, pre_vote=True)
        cluster[1].raw.campaign()
        cluster.settle()
        self.assertTrue(cluster[1].raw.is_leader)
        self.assertEqual({2}, {vote.term for vote in cluster.messages_of(Vote)})

    def test_pre_vote_lost(self) -> None:
        """A pre-candidate that a majority refuses becomes a follower of its old term."""
        bench = Bench(pre_vote=True, term=1)
        bench.raw.campaign()
        bench.take()
        for voter in (2, 3):
            bench.step(PreVoteResponse(to=1, from_=voter, term=1, reject=True))
        self.assertEqual((Role.FOLLOWER, 1), (bench.role, bench.raw.term))

    def test_stale_pre_vote_does_not_elect(self) -> None:
        """Answers to the poll do not count in the election that follows it."""
        bench = Bench(pre_vote=True, voters=(1, 2, 3, 4, 5))
        bench.raw.campaign()
        bench.take()
        for voter in (2, 3, 4):
            bench.step(PreVoteResponse(to=1, from_=voter, term=1))
        bench.take()
        self.assertEqual(Role.CANDIDATE, bench.role)

    def test_pre_candidate_is_told_newer_term(self) -> None:
        """A pre-candidate behind in terms learns the newer one from the refusal."""
        bench = Bench(term=7)
        bench.step(PreVote(to=1, from_=2, term=3, last_index=0, last_term=0))
        self.assertEqual([(7, True)], [(m.term, m.reject) for m in bench.taken(PreVoteResponse)])
        asker = Bench(pre_vote=True, term=2)
        asker.raw.campaign()
        asker.step(PreVoteResponse(to=1, from_=2, term=7, reject=True))
        self.assertEqual((Role.FOLLOWER, 7), (asker.role, asker.raw.term))

    def test_returning_node_does_not_disrupt(self) -> None:
        """A server that was cut off and returns does not depose the leader."""
        cluster = Cluster(3, pre_vote=True, check_quorum=True)
        leader = cluster.elect(1)
        term = leader.raw.term
        cluster.isolate(3)
        cluster.tick(3, 100)
        cluster.settle()
        cluster.heal()
        cluster.tick(3, 100)
        cluster.settle()
        cluster.tick(1)
        cluster.settle()
        self.assertTrue(leader.raw.is_leader)
        self.assertEqual([term] * 3, [host.raw.term for host in cluster.hosts.values()])

    def test_two_pre_candidates(self) -> None:
        """Two pre-candidates at once cannot both move to the new term and stay stuck."""
        cluster = Cluster(3, pre_vote=True)
        cluster[1].raw.campaign()
        cluster[2].raw.campaign()
        cluster.settle()
        self.assertEqual(1, len([h for h in cluster.hosts.values() if h.raw.is_leader]))


class CheckingTheQuorum(SynchronousTestCase):
    """Thesis 4.2.3 and 6.2."""

    def test_leader_without_majority_steps_down(self) -> None:
        """A leader steps down if an election timeout elapses without a majority's answers."""
        bench = Bench(check_quorum=True, election_ticks=5).lead()
        for voter in (2, 3):
            bench.step(AppendResponse(to=1, from_=voter, term=1, index=1))
        bench.tick(5)
        self.assertEqual(Role.LEADER, bench.role)
        bench.tick(5)
        self.assertEqual((Role.FOLLOWER, 1, 0), (bench.role, bench.raw.term, bench.raw.leader_id))

    def test_leader_with_majority_stays(self) -> None:
        """Answers from a majority within each election timeout keep the leader."""
        bench = Bench(check_quorum=True, election_ticks=5).lead()
        for _ in range(10):
            bench.step(AppendResponse(to=1, from_=2, term=1, index=1))
            bench.tick(5)
        self.assertEqual(Role.LEADER, bench.role)

    def test_learners_do_not_keep_a_leader(self) -> None:
        """Answers of learners do not count as a majority."""
        bench = Bench(check_quorum=True, election_ticks=5, learners=(4, 5)).lead()
        bench.tick(5)
        for learner in (4, 5):
            bench.step(AppendResponse(to=1, from_=learner, term=1, index=1))
        bench.tick(5)
        self.assertEqual(Role.FOLLOWER, bench.role)

    def test_votes_ignored_while_leader_is_heard(self) -> None:
        """A server that heard from a leader recently neither updates its term nor votes."""
        bench = Bench(check_quorum=True, election_ticks=5)
        bench.step(heartbeat(1))
        bench.take()
        bench.step(vote_request(9))
        bench.step(PreVote(to=1, from_=3, term=9, last_index=9, last_term=9))
        self.assertEqual((1, []), (bench.raw.term, bench.take()))
        bench.tick(5)
        bench.step(vote_request(9))
        self.assertEqual([False], [answer.reject for answer in bench.taken(VoteResponse)])

    def test_transfer_overrides_lease(self) -> None:
        """A campaign that the leader asked for is answered in spite of the lease."""
        bench = Bench(check_quorum=True)
        bench.step(heartbeat(1))
        bench.take()
        bench.step(Vote(to=1, from_=2, term=2, last_index=0, last_term=0, transfer=True))
        self.assertEqual([False], [answer.reject for answer in bench.taken(VoteResponse)])

    def test_stuck_candidate_is_freed(self) -> None:
        """A candidate with a higher term makes an old leader step down by answering it."""
        bench = Bench(check_quorum=True, term=5)
        bench.step(heartbeat(3))
        (answer,) = bench.taken(AppendResponse)
        self.assertEqual((2, 5), (answer.to, answer.term))

    def test_forget_leader(self) -> None:
        """A follower that is told to forget its leader votes at once, lease or not."""
        bench = Bench(check_quorum=True)
        bench.step(heartbeat(1))
        bench.raw.forget_leader()
        self.assertEqual(0, bench.raw.leader_id)
        bench.take()
        bench.step(vote_request(2))
        self.assertEqual([False], [answer.reject for answer in bench.taken(VoteResponse)])

    def test_leader_and_lease_forget_nothing(self) -> None:
        """A leader does not forget itself, and with lease reads nobody forgets the leader."""
        leader = Bench().lead()
        leader.raw.forget_leader()
        self.assertEqual(1, leader.raw.leader_id)
        follower = Bench(check_quorum=True, read_only_lease=True)
        follower.step(heartbeat(1))
        follower.raw.forget_leader()
        self.assertEqual(2, follower.raw.leader_id)

    def test_step_down(self) -> None:
        """A leader that is told to step down follows nobody in the same term."""
        bench = Bench().lead()
        bench.raw.step_down()
        self.assertEqual((Role.FOLLOWER, 1, 0), (bench.role, bench.raw.term, bench.raw.leader_id))


class JointElections(SynchronousTestCase):
    """Paper, section 6."""

    def test_both_majorities_elect(self) -> None:
        """Agreement for elections requires separate majorities of the old and the new servers."""
        bench = Bench(conf_state=ConfState(voters=(1, 2, 3), voters_outgoing=(1, 4, 5)))
        bench.raw.campaign()
        bench.take()
        for voter in (2, 3):
            bench.step(VoteResponse(to=1, from_=voter, term=1))
        bench.take()
        self.assertEqual(Role.CANDIDATE, bench.role)
        bench.step(VoteResponse(to=1, from_=4, term=1))
        bench.take()
        self.assertEqual(Role.LEADER, bench.role)

    def test_timeout_now_on_candidate_is_ignored(self) -> None:
        """A candidate that is told to campaign goes on with its own campaign."""
        bench = Bench()
        bench.raw.campaign()
        bench.take()
        bench.step(TimeoutNow(to=1, from_=2, term=1))
        self.assertEqual((Role.CANDIDATE, 1), (bench.role, bench.raw.term))
