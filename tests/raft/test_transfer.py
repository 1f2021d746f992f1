"""Handing leadership over: thesis 3.10."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench
from tests.support.cluster import Cluster
from uring.raft import ProposalDropped
from uring.raft.messages import Append, TimeoutNow, Vote
from uring.raft.types import ConfChange, ConfChangeKind, ConfChangeSingle, ConfState


class Transfer(SynchronousTestCase):
    def test_to_up_to_date_node(self) -> None:
        """A target whose log matches is told to campaign at once, and wins."""
        cluster = Cluster(3, check_quorum=True, pre_vote=True)
        cluster.elect(1)
        cluster[1].raw.transfer_leader(2)
        cluster.settle()
        self.assertEqual((True, 2), (cluster[2].raw.is_leader, cluster[1].raw.leader_id))
        self.assertTrue(all(vote.transfer for vote in cluster.messages_of(Vote)[-2:]))

    def test_and_back(self) -> None:
        """Leadership can go back to where it came from."""
        cluster = Cluster(3)
        cluster.elect(1)
        for target in (2, 1):
            assert cluster.leader is not None
            cluster.leader.raw.transfer_leader(target)
            cluster.settle()
            self.assertTrue(cluster[target].raw.is_leader)

    def test_from_follower(self) -> None:
        """A follower hands the request on to its leader."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster[3].raw.transfer_leader(2)
        cluster.settle()
        self.assertTrue(cluster[2].raw.is_leader)

    def test_slow_follower_is_brought_up_to_date(self) -> None:
        """The prior leader first makes the target's log match its own."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(1, b"x")
        cluster.heal()
        cluster[1].raw.transfer_leader(3)
        self.assertEqual([], [m for m in cluster.collect(1) if isinstance(m, TimeoutNow)])
        cluster.tick(1)
        cluster.settle()
        self.assertTrue(cluster[3].raw.is_leader)
        self.assertEqual([b"x"], cluster[3].state)

    def test_after_snapshot(self) -> None:
        """A target that needs a snapshot gets it first."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(1, b"x", b"y")
        cluster[1].compact()
        cluster.heal()
        cluster[1].raw.transfer_leader(3)
        cluster.tick(1)
        cluster.settle()
        self.assertTrue(cluster[3].raw.is_leader)

    def test_proposals_refused_meanwhile(self) -> None:
        """The prior leader stops accepting new client requests."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster[1].raw.transfer_leader(3)
        self.assertRaises(ProposalDropped, cluster[1].raw.propose, b"x")

    def test_gives_up_after_election_timeout(self) -> None:
        """After about an election timeout the prior leader resumes its work."""
        cluster = Cluster(3, election_ticks=5)
        cluster.elect(1)
        cluster.isolate(3)
        cluster[1].raw.transfer_leader(3)
        cluster.tick(1, 4)
        self.assertEqual(3, cluster[1].raw.status().lead_transferee)
        cluster.tick(1, 1)
        self.assertEqual(0, cluster[1].raw.status().lead_transferee)
        cluster[1].raw.propose(b"x")

    def test_ignored_targets(self) -> None:
        """Leadership is not handed to oneself, to a learner or to a stranger."""
        cluster = Cluster(3, ConfState(voters=(1, 2), learners=(3,)))
        cluster.elect(1)
        for target in (1, 3, 9):
            cluster[1].raw.transfer_leader(target)
            cluster.settle()
            self.assertEqual(0, cluster[1].raw.status().lead_transferee)
            self.assertTrue(cluster[1].raw.is_leader)

    def test_second_target_replaces_first(self) -> None:
        """A request for another node replaces the first one; for the same node it is ignored."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster[1].raw.transfer_leader(3)
        cluster.tick(1, 3)
        cluster[1].raw.transfer_leader(3)
        self.assertEqual(3, cluster[1].raw.status().election_elapsed)
        cluster[1].raw.transfer_leader(2)
        cluster.settle()
        self.assertTrue(cluster[2].raw.is_leader)

    def test_higher_term_ends_it(self) -> None:
        """A leader that is deposed forgets that it was handing over."""
        bench = Bench().lead()
        bench.raw.transfer_leader(2)
        bench.step(Append(to=1, from_=3, term=5, prev_index=0, prev_term=0))
        self.assertEqual(0, bench.raw.status().lead_transferee)

    def test_removed_target(self) -> None:
        """When the target is removed or demoted, the leader takes proposals again."""
        for kind in (ConfChangeKind.REMOVE_NODE, ConfChangeKind.ADD_LEARNER):
            cluster = Cluster(3)
            cluster.elect(1)
            cluster.isolate(3)
            cluster[1].raw.propose_conf_change(ConfChange((ConfChangeSingle(kind, 3),)))
            cluster[1].raw.transfer_leader(3)
            cluster.settle()
            self.assertEqual(0, cluster[1].raw.status().lead_transferee)
            cluster[1].raw.propose(b"x")

    def test_no_leader_to_ask(self) -> None:
        """A request that finds no leader is dropped."""
        bench = Bench()
        bench.raw.transfer_leader(2)
        self.assertEqual([], bench.take())

    def test_leaving_a_joint_configuration_waits(self) -> None:
        """While leadership goes over, the joint configuration stays; later entries end it."""
        cluster = Cluster(3, election_ticks=5)
        cluster.elect(1)
        steps = (ConfChangeKind.ADD_NODE, 2), (ConfChangeKind.ADD_NODE, 3)
        change = ConfChange(tuple(ConfChangeSingle(*step) for step in steps))
        cluster[1].raw.propose_conf_change(change)
        cluster.isolate(3)
        cluster[1].raw.transfer_leader(3)
        cluster.settle()
        self.assertEqual((1, 2, 3), cluster[1].raw.conf_state.voters_outgoing)
        cluster.tick(1, 5)
        cluster.propose(1, b"x")
        self.assertEqual((), cluster[1].raw.conf_state.voters_outgoing)

    def test_timeout_now_on_learner(self) -> None:
        """A learner that is told to campaign does not."""
        bench = Bench(voters=(2, 3), learners=(1,))
        bench.step(TimeoutNow(to=1, from_=2, term=1))
        self.assertEqual([], bench.take())
