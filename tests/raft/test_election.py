"""Leader election: paper 5.1, 5.2 and 5.4.1."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench, vote_request
from tests.support.cluster import Cluster
from uring.raft import PeerNotFound
from uring.raft.messages import (
    Append,
    AppendResponse,
    Heartbeat,
    Vote,
    VoteResponse,
)
from uring.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    Entry,
    HardState,
    Role,
)


def heartbeat(term: int, from_: int = 2) -> Heartbeat:
    return Heartbeat(to=1, from_=from_, term=term)


class Terms(SynchronousTestCase):
    """Paper 5.1."""

    def test_term_updated_from_message(self) -> None:
        """If one server's term is smaller than the other's, it takes the larger value."""
        for message in (heartbeat(4), vote_request(4), VoteResponse(to=1, from_=2, term=4)):
            bench = Bench(term=2)
            bench.step(message)
            self.assertEqual(4, bench.raw.term)

    def test_candidate_or_leader_with_stale_term_steps_down(self) -> None:
        """If a candidate or leader discovers that its term is out of date, it becomes follower."""
        leader = Bench().lead()
        leader.step(AppendResponse(to=1, from_=2, term=5, index=0))
        self.assertEqual(
            (Role.FOLLOWER, 5, 0), (leader.role, leader.raw.term, leader.raw.leader_id)
        )
        candidate = Bench()
        candidate.raw.campaign()
        candidate.step(heartbeat(5))
        self.assertEqual((Role.FOLLOWER, 2), (candidate.role, candidate.raw.leader_id))

    def test_stale_message_rejected(self) -> None:
        """If a server receives a request with a stale term number, it rejects the request."""
        bench = Bench(terms=(1, 2), term=3)
        bench.step(Append(to=1, from_=2, term=2, prev_index=2, prev_term=2, entries=(Entry(2, 3),)))
        bench.step(vote_request(2, last=(9, 9)))
        self.assertEqual([], bench.take())
        self.assertEqual([(1, 1), (2, 2)], bench.log())

    def test_new_term_forgets_vote(self) -> None:
        """A vote belongs to one term; the next one begins without it."""
        bench = Bench(term=2, vote=3)
        bench.step(heartbeat(3))
        bench.take()
        self.assertEqual(HardState(3, 0, 0), bench.storage.initial_state()[0])


class StartingElections(SynchronousTestCase):
    """Paper 5.2, first half."""

    def test_starts_as_follower(self) -> None:
        """When servers start up, they begin as followers."""
        self.assertEqual(Role.FOLLOWER, Bench(terms=(1, 2), term=5, vote=1).role)

    def test_leader_sends_heartbeats(self) -> None:
        """Leaders send periodic heartbeats to all followers."""
        bench = Bench(heartbeat_ticks=2).lead()
        bench.tick(1)
        self.assertEqual([], bench.taken(Heartbeat))
        bench.tick(1)
        self.assertEqual([2, 3], [message.to for message in bench.taken(Heartbeat)])

    def test_election_timeout(self) -> None:
        """A follower that receives no communication over the election timeout campaigns.

        It increments its term, votes for itself and asks all others in parallel.
        """
        bench = Bench(term=4, election_ticks=10)
        bench.tick(2 * 10)
        votes = bench.taken(Vote)
        self.assertEqual(Role.CANDIDATE, bench.role)
        self.assertEqual([(2, 5), (3, 5)], [(vote.to, vote.term) for vote in votes])
        self.assertEqual(HardState(5, 1, 0), bench.storage.initial_state()[0])

    def test_heartbeat_resets_timeout(self) -> None:
        """A server remains follower as long as it receives valid messages from a leader."""
        bench = Bench(election_ticks=10)
        for _ in range(10):
            bench.tick(9)
            bench.step(heartbeat(1))
        self.assertEqual(Role.FOLLOWER, bench.role)

    def test_timeouts_are_randomized(self) -> None:
        """Election timeouts are chosen randomly from a fixed interval, anew for each election."""
        bench = Bench(election_ticks=10)
        seen = set()
        for _ in range(200):
            bench.raw.campaign()
            seen.add(bench.raw.status().randomized_election_timeout)
        self.assertEqual(set(range(10, 20)), seen)

    def test_candidate_starts_new_election(self) -> None:
        """When a candidate times out, it starts a new election by incrementing its term."""
        bench = Bench(election_ticks=10)
        bench.raw.campaign()
        bench.take()
        bench.tick(20)
        self.assertEqual((Role.CANDIDATE, 2), (bench.role, bench.raw.term))
        self.assertEqual([2, 2], [vote.term for vote in bench.taken(Vote)])

    def test_learner_does_not_campaign(self) -> None:
        """A learner never campaigns, however long it hears nothing."""
        bench = Bench(voters=(2, 3), learners=(1,), election_ticks=5)
        bench.tick(100)
        bench.raw.campaign()
        self.assertEqual((Role.FOLLOWER, []), (bench.role, bench.take()))

    def test_stranger_does_not_campaign(self) -> None:
        """A node that is in no configuration never campaigns."""
        bench = Bench(voters=(2, 3), election_ticks=5)
        bench.tick(100)
        self.assertEqual((Role.FOLLOWER, []), (bench.role, bench.take()))

    def test_unapplied_conf_change_prevents_campaign(self) -> None:
        """A node does not campaign while a committed membership change is not applied."""
        cluster = Cluster(3, max_committed_bytes_per_ready=1, async_storage_writes=True)
        cluster.elect(1)
        change = ConfChange((ConfChangeSingle(ConfChangeKind.ADD_NODE, 4),))
        cluster[1].raw.propose_conf_change(change)
        for _ in range(20):
            for host in cluster.hosts.values():
                cluster.send(host.process()[1] + host.write())
                if host.id != 2:
                    cluster.send(host.apply())
            batch, cluster.network = cluster.network, []
            for message in batch:
                cluster.deliver(message)
        self.assertLess(cluster[2].raw.applied, cluster[2].raw.commit)
        cluster[2].raw.campaign()
        self.assertEqual(Role.FOLLOWER, cluster[2].role)
        while cluster[2].apply_work:
            cluster[2].apply()
            cluster[2].process()
        cluster[2].raw.campaign()
        self.assertEqual(Role.CANDIDATE, cluster[2].role)


class Winning(SynchronousTestCase):
    """Paper 5.2, second half."""

    def test_majority_wins(self) -> None:
        """A candidate wins if it receives votes from a majority of the servers in the cluster."""
        cases = [
            (1, {}, Role.LEADER),
            (3, {2: True}, Role.LEADER),
            (3, {2: False}, Role.CANDIDATE),
            (3, {2: False, 3: False}, Role.FOLLOWER),
            (5, {2: True}, Role.CANDIDATE),
            (5, {2: True, 3: True}, Role.LEADER),
            (5, {2: True, 3: False, 4: False}, Role.CANDIDATE),
            (5, {2: True, 3: False, 4: False, 5: False}, Role.FOLLOWER),
        ]
        for size, votes, role in cases:
            bench = Bench(voters=tuple(range(1, size + 1)))
            bench.raw.campaign()
            bench.take()
            for voter, granted in votes.items():
                bench.step(VoteResponse(to=1, from_=voter, term=1, reject=not granted))
            bench.take()
            self.assertEqual((role, 1), (bench.role, bench.raw.term), (size, votes))

    def test_own_vote_counts_when_durable(self) -> None:
        """A candidate's own vote counts only when it is on its disk."""
        bench = Bench()
        bench.raw.campaign()
        bench.step(VoteResponse(to=1, from_=2, term=1))
        self.assertEqual(Role.CANDIDATE, bench.role)
        bench.take()
        self.assertEqual(Role.LEADER, bench.role)

    def test_repeated_vote_counts_once(self) -> None:
        """The same voter's answer, delivered twice, is one vote."""
        bench = Bench(voters=(1, 2, 3, 4, 5))
        bench.raw.campaign()
        bench.take()
        for _ in range(3):
            bench.step(VoteResponse(to=1, from_=2, term=1))
        self.assertEqual(Role.CANDIDATE, bench.role)

    def test_first_answer_of_a_voter_stands(self) -> None:
        """A voter that has said no in a term cannot say yes in it, nor the other way round."""
        bench = Bench(voters=(1, 2, 3, 4, 5))
        bench.raw.campaign()
        bench.take()
        bench.step(VoteResponse(to=1, from_=2, term=1, reject=True))
        for voter in (2, 3):
            bench.step(VoteResponse(to=1, from_=voter, term=1))
        self.assertEqual(Role.CANDIDATE, bench.role)
        bench.step(VoteResponse(to=1, from_=3, term=1, reject=True))
        bench.step(VoteResponse(to=1, from_=4, term=1))
        self.assertEqual(Role.LEADER, bench.role)

    def test_vote_of_stranger_is_refused(self) -> None:
        """A vote from a node that is not a member is not counted."""
        bench = Bench()
        bench.raw.campaign()
        bench.take()
        refused = bench.step(VoteResponse(to=1, from_=9, term=1))
        self.assertIsInstance(refused, PeerNotFound)
        self.assertEqual(Role.CANDIDATE, bench.role)

    def test_votes_of_another_term_do_not_count(self) -> None:
        """A vote given in an earlier term does not help in this one."""
        bench = Bench()
        bench.raw.campaign()
        bench.take()
        bench.raw.campaign()
        bench.take()
        bench.step(VoteResponse(to=1, from_=2, term=1))
        self.assertEqual(Role.CANDIDATE, bench.role)

    def test_first_come_first_served(self) -> None:
        """Each server votes for at most one candidate in a given term."""
        for vote, from_, granted in ((0, 2, True), (0, 3, True), (2, 2, True), (2, 3, False)):
            bench = Bench(term=1, vote=vote)
            bench.step(vote_request(1, from_=from_))
            (answer,) = bench.taken(VoteResponse)
            self.assertEqual((from_, 1, not granted), (answer.to, answer.term, answer.reject))

    def test_vote_survives_restart(self) -> None:
        """The vote is on disk, so that a restart does not let a server vote twice in a term."""
        cluster = Cluster(3)
        cluster[1].raw.step(vote_request(2, from_=2, last=(1, 1)))
        cluster.collect(1)
        cluster[1].start()
        cluster[1].raw.step(vote_request(2, from_=3, last=(1, 1)))
        (answer,) = cluster.collect(1)
        self.assertTrue(isinstance(answer, VoteResponse) and answer.reject)

    def test_candidate_concedes(self) -> None:
        """A candidate that hears from a leader of its term returns to follower state."""
        for message in (
            heartbeat(1),
            Append(to=1, from_=2, term=1, prev_index=0, prev_term=0),
            heartbeat(2),
        ):
            bench = Bench()
            bench.raw.campaign()
            bench.step(message)
            self.assertEqual((Role.FOLLOWER, 2), (bench.role, bench.raw.leader_id))

    def test_candidate_ignores_stale_leader(self) -> None:
        """If the leader's term is smaller, the candidate rejects it and continues."""
        bench = Bench(term=3)
        bench.raw.campaign()
        bench.step(heartbeat(3))
        self.assertEqual((Role.CANDIDATE, 4), (bench.role, bench.raw.term))

    def test_split_vote(self) -> None:
        """Two candidates of one term that split the votes both stay without a majority."""
        cluster = Cluster(4)
        cluster[1].raw.campaign()
        cluster[2].raw.campaign()
        cluster.drop = lambda message: (
            {message.to, getattr(message, "from_", 0)} in ({1, 4}, {2, 3})
        )
        cluster.settle()
        self.assertEqual([Role.CANDIDATE] * 2, [cluster[1].role, cluster[2].role])
        self.assertIsNone(cluster.leader)

    def test_new_leader_appends_empty_entry(self) -> None:
        """A new leader commits an entry of its own term at once (paper, section 8)."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        self.assertEqual(leader.raw.last_index, leader.raw.commit)
        self.assertEqual((leader.raw.term, b""), (leader.applied[-1].term, leader.applied[-1].data))


class UpToDate(SynchronousTestCase):
    """Paper 5.4.1."""

    def test_vote_needs_up_to_date_log(self) -> None:
        """A voter denies its vote if its own log is more up-to-date than the candidate's.

        The log with the later last term is more up-to-date; of two that end with the same term,
        the longer one.
        """
        cases = [
            ((1,), (1, 1), True),
            ((1,), (1, 2), True),
            ((1, 1), (1, 1), False),
            ((1,), (2, 1), True),
            ((1, 1), (2, 1), True),
            ((2,), (1, 1), False),
            ((2,), (1, 9), False),
            ((1, 2), (2, 2), True),
        ]
        for terms, last, granted in cases:
            bench = Bench(terms=terms, term=3)
            bench.step(vote_request(3, last=last))
            (answer,) = bench.taken(VoteResponse)
            self.assertEqual(granted, not answer.reject, (terms, last))

    def test_request_carries_last_entry(self) -> None:
        """A vote request includes information about the candidate's log."""
        bench = Bench(terms=(1, 1, 2))
        bench.raw.campaign()
        self.assertEqual(
            [(2, 3), (2, 3)],
            [(vote.last_term, vote.last_index) for vote in bench.taken(Vote)],
        )

    def test_learner_votes_when_asked(self) -> None:
        """A node that believes to be a learner votes: the candidate may know better."""
        bench = Bench(voters=(2, 3), learners=(1,))
        bench.step(vote_request(1))
        self.assertEqual([False], [answer.reject for answer in bench.taken(VoteResponse)])
