"""Snapshots: paper, section 7."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench
from tests.support.cluster import Cluster
from uring.raft import InvariantViolation
from uring.raft.messages import AppendResponse, HeartbeatResponse, InstallSnapshot
from uring.raft.progress import ProgressState
from uring.raft.storage import SnapshotTemporarilyUnavailable
from uring.raft.types import ConfState, Role, Snapshot, SnapshotMeta

MEMBERS = ConfState(voters=(1, 2, 3))


def install(index: int, term: int, conf_state: ConfState = MEMBERS) -> InstallSnapshot:
    """Return a snapshot from node 2, in term 2."""
    meta = SnapshotMeta(index, term, conf_state)
    return InstallSnapshot(to=1, from_=2, term=2, snapshot=Snapshot(meta, b"state"))


class Installing(SynchronousTestCase):
    """The follower's side (figure 13)."""

    def test_newer_snapshot_replaces_log(self) -> None:
        """A snapshot with new information replaces the follower's entire log."""
        bench = Bench(terms=(1, 1), term=2)
        bench.step(install(10, 2))
        self.assertTrue(bench.raw.installing_snapshot)
        (answer,) = bench.taken(AppendResponse)
        self.assertEqual((False, 10), (answer.reject, answer.index))
        status = bench.raw.status()
        self.assertEqual(
            (11, 10, 10, 10),
            (status.first_index, status.last_index, status.applied, status.hard_state.commit),
        )
        self.assertFalse(bench.raw.installing_snapshot)

    def test_prefix_keeps_rest_of_log(self) -> None:
        """If the snapshot is a prefix of the log, the entries that follow it stay."""
        bench = Bench(terms=(1, 1, 1), term=2)
        bench.step(install(2, 1))
        self.assertFalse(bench.raw.installing_snapshot)
        bench.take()
        self.assertEqual(([(1, 1), (1, 2), (1, 3)], 2), (bench.log(), bench.raw.commit))

    def test_old_snapshot_is_ignored(self) -> None:
        """A snapshot of what is committed already is answered with the commit index."""
        bench = Bench(terms=(1, 1, 1), term=2, commit=3)
        bench.step(install(2, 1))
        (answer,) = bench.taken(AppendResponse)
        self.assertEqual(3, answer.index)
        self.assertEqual(1, bench.raw.status().first_index)

    def test_snapshot_from_before_the_log_is_ignored(self) -> None:
        """A snapshot of what this node has dropped from its log long ago takes nothing back."""
        bench = Bench(terms=(1, 1, 1, 1), term=2, commit=4)
        bench.take()
        bench.storage.create_snapshot(3, MEMBERS)
        bench.storage.compact(3)
        bench.step(install(1, 1))
        self.assertFalse(bench.raw.installing_snapshot)
        self.assertEqual((4, 4), (bench.raw.last_index, bench.raw.commit))

    def test_snapshot_for_others_is_ignored(self) -> None:
        """A snapshot whose members do not include this node is not installed."""
        bench = Bench(terms=(1,), term=2)
        bench.step(install(10, 2, ConfState(voters=(2, 3))))
        self.assertFalse(bench.raw.installing_snapshot)
        self.assertEqual(1, bench.raw.last_index)
        self.assertTrue(bench.was_told("warn", "not in the ConfState"))

    def test_brings_membership(self) -> None:
        """The latest configuration is part of a snapshot, joint ones with learners as well."""
        joint = ConfState(
            voters=(1, 2, 4),
            learners=(6,),
            voters_outgoing=(1, 2, 3),
            learners_next=(3,),
            auto_leave=True,
        )
        bench = Bench()
        bench.step(install(10, 2, joint))
        bench.take()
        self.assertEqual(joint, bench.raw.conf_state)

    def test_learner_stays_learner(self) -> None:
        """A learner that installs a snapshot in which it is a learner does not become a voter."""
        bench = Bench(voters=(2, 3), learners=(1,), election_ticks=5)
        bench.step(install(10, 2, ConfState(voters=(2, 3), learners=(1,))))
        bench.take()
        bench.tick(50)
        self.assertEqual(Role.FOLLOWER, bench.role)

    def test_no_campaign_while_installing(self) -> None:
        """A node with a snapshot to install does not campaign."""
        bench = Bench(election_ticks=5, async_storage_writes=True)
        bench.step(install(10, 2))
        bench.tick(50)
        self.assertEqual(Role.FOLLOWER, bench.role)

    def test_entries_wait_for_snapshot(self) -> None:
        """No entry is handed out to be applied while a snapshot is to be installed."""
        bench = Bench(terms=(1,), term=2, async_storage_writes=True)
        bench.step(install(10, 2))
        ready = bench.raw.ready()
        self.assertEqual((), ready.committed_entries)
        assert ready.append is not None and ready.append.snapshot is not None
        self.assertEqual(10, ready.append.snapshot.meta.index)
        self.assertFalse(bench.raw.has_ready())
        for response in ready.append.responses:
            if response.to == 1:
                bench.step(response)
        self.assertEqual(10, bench.raw.applied)


class Sending(SynchronousTestCase):
    """The leader's side."""

    def _behind(self) -> Cluster:
        """Return a cluster whose leader 1 no longer has what 3 needs."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(1, *(b"%d" % number for number in range(10)))
        cluster[1].compact()
        cluster.heal()
        return cluster

    def test_lagging_follower_gets_snapshot(self) -> None:
        """When the leader has discarded the next entry for a follower, it sends a snapshot."""
        cluster = self._behind()
        cluster.tick(1)
        cluster.settle()
        self.assertEqual(1, len(cluster.messages_of(InstallSnapshot)))
        self.assertEqual(cluster[1].state, cluster[3].state)
        cluster.propose(1, b"more")
        self.assertEqual(b"more", cluster[3].state[-1])
        self.assertEqual(1, len(cluster.messages_of(InstallSnapshot)))

    def test_snapshot_pauses_appends(self) -> None:
        """While a snapshot is under way nothing else is sent to that follower."""
        cluster = self._behind()
        cluster.drop = lambda message: isinstance(message, InstallSnapshot)
        cluster.lose = lambda message: None  # type: ignore[method-assign]
        cluster.tick(1)
        cluster.settle()
        cluster.sent.clear()
        cluster.propose(1, b"more")
        self.assertEqual([], [m for m in cluster.sent if m.to == 3])
        progress = cluster[1].raw.status().progress[3]
        self.assertEqual(
            (ProgressState.SNAPSHOT, True), (progress.state, progress.pending_snapshot > 0)
        )

    def test_failed_snapshot_is_sent_again(self) -> None:
        """After a failure the leader probes once more at the next heartbeat's answer."""
        cluster = self._behind()
        lost: list[object] = []

        def lose_first(message: object) -> bool:
            if isinstance(message, InstallSnapshot) and not lost:
                lost.append(message)
                return True
            return False

        cluster.drop = lose_first
        cluster.tick(1)
        cluster.settle()
        self.assertEqual((1, 0), (len(lost), len(cluster[3].state)))
        cluster.tick(1)
        cluster.settle()
        self.assertEqual(cluster[1].state, cluster[3].state)

    def test_successful_report_probes_after_snapshot(self) -> None:
        """A snapshot that arrived is probed after, even if the follower's answer was lost."""
        bench = Bench(terms=(1,) * 5, term=1, commit=5).lead()
        bench.take()
        bench.storage.create_snapshot(5, MEMBERS)
        bench.storage.compact(5)
        for message in (
            AppendResponse(to=1, from_=2, term=2, index=5, reject=True),
            HeartbeatResponse(to=1, from_=2, term=2),
        ):
            bench.step(message)
        self.assertEqual([2], [m.to for m in bench.taken(InstallSnapshot)])
        bench.raw.report_snapshot(2, True)
        progress = bench.raw.status().progress[2]
        self.assertEqual(
            (ProgressState.PROBE, 6, True), (progress.state, progress.next, progress.is_paused)
        )

    def test_inactive_follower_gets_none(self) -> None:
        """A snapshot is not sent to a follower that was not heard of for an election timeout."""
        cluster = Cluster(3, check_quorum=True, election_ticks=5)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(1, b"x", b"y")
        cluster.tick(1, 5)
        cluster.settle()
        cluster[1].raw.report_unreachable(3)
        cluster[1].compact()
        cluster.propose(1, b"z")
        self.assertEqual([], cluster.messages_of(InstallSnapshot))
        self.assertIn(
            ("debug", "ignore sending snapshot to 3 since it is not recently active"),
            cluster[1].told,
        )

    def test_unavailable_snapshot_is_asked_for_again(self) -> None:
        """If the snapshot is still being made, the leader asks again later."""
        cluster = self._behind()
        storage = cluster[1].storage

        def unavailable() -> None:
            raise SnapshotTemporarilyUnavailable

        storage.make_snapshot = unavailable
        cluster.tick(1)
        cluster.settle()
        self.assertEqual([], cluster.messages_of(InstallSnapshot))
        storage.make_snapshot = lambda: None
        cluster.tick(1)
        cluster.settle()
        self.assertEqual(cluster[1].state, cluster[3].state)

    def test_compacted_without_snapshot(self) -> None:
        """A log that was compacted without a snapshot cannot help anybody: an alarm."""
        bench = Bench(terms=(1,) * 5, term=1, commit=5).lead()
        bench.take()
        bench.storage.compact(5)
        rejection = AppendResponse(to=1, from_=2, term=2, index=5, reject=True)
        self.assertRaises(InvariantViolation, bench.step, rejection)

    def test_recovers_by_any_snapshot(self) -> None:
        """Whatever snapshot the follower installed, its answer resumes replication."""
        cluster = self._behind()
        cluster.drop = lambda message: isinstance(message, InstallSnapshot)
        cluster.lose = lambda message: None  # type: ignore[method-assign]
        cluster.tick(1)
        cluster.settle()
        cluster.propose(1, b"more")
        snapshot = cluster[1].storage.snapshot()
        term = cluster[1].raw.term
        cluster[3].raw.step(InstallSnapshot(to=3, from_=1, term=term, snapshot=snapshot))
        cluster.settle()
        progress = cluster[1].raw.status().progress[3]
        self.assertEqual(ProgressState.REPLICATE, progress.state)
        self.assertEqual(cluster[1].state, cluster[3].state)
