"""Many short, seeded schedules in which messages and nodes fail at random."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench
from tests.support.chaos import Chaos, Watch
from tests.support.cluster import Cluster
from uring.raft import InvariantViolation

SEEDS = int(os.environ.get("URING_CHAOS_SEEDS", "300"))
STEPS = 1_200


class Schedules(SynchronousTestCase):
    def test_safety_and_recovery(self) -> None:
        """No schedule elects two leaders, loses what is committed or keeps a majority stuck.

        URING_CHAOS_SEEDS says how many schedules; a failure names the seed to run again.
        """
        committed = leaders = 0
        for seed in range(SEEDS):
            chaos = Chaos(seed)
            try:
                chaos.run(STEPS)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error
            committed += len(chaos.watch.committed)
            leaders += len(chaos.watch.leaders)
        self.assertGreater(committed, 5 * SEEDS)
        self.assertGreater(leaders, SEEDS)


class Watching(SynchronousTestCase):
    """The watch must see what it is there for."""

    def test_sees_two_leaders(self) -> None:
        """Two leaders of one term do not go unseen."""
        watch, cluster = Watch(), Cluster(2)
        for node in (1, 2):
            cluster.hosts[node].raw = Bench(node).lead([n for n in (1, 2, 3) if n != node]).raw
        self.assertRaises(InvariantViolation, watch.look, cluster)

    def test_sees_two_histories(self) -> None:
        """Two hosts that apply different entries at one index do not go unseen."""
        watch, clusters = Watch(), (Cluster(1), Cluster(1))
        for cluster, data in zip(clusters, (b"a", b"b"), strict=True):
            cluster.elect(1)
            cluster.propose(1, data)
        watch.look(clusters[0])
        clusters[1].hosts[2] = clusters[1].hosts.pop(1)
        clusters[1].hosts[2].settings = Bench(2).settings
        self.assertRaises(InvariantViolation, watch.look, clusters[1])

    def test_sees_incomplete_leader(self) -> None:
        """A leader that lacks a committed entry does not go unseen."""
        watch, cluster = Watch(), Cluster(3)
        cluster.elect(1)
        cluster.propose(1, b"x")
        watch.look(cluster)
        empty = Bench(2, term=5).lead((1, 3))
        cluster.hosts[2].raw = empty.raw
        self.assertRaises(InvariantViolation, watch.look, cluster)
