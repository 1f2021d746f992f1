"""Snapshots on their way, between two nodes that share nothing but messages."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import Bench, make_bench
from uring import transfers
from uring.machines.commands import AddToken, Get, Put
from uring.machines.levels import LEVEL
from uring.raft.messages import InstallSnapshot
from uring.wire.envelopes import SnapshotAck, SnapshotChunk
from uring.wire.hello import Hello


class TransferTestCase(SynchronousTestCase):
    """A leader with a compacted log, and a newcomer that needs its state."""

    def setUp(self) -> None:
        self.patch(transfers, "CHUNK_BYTES", 500)
        self.leader = self.bench(1, log_entries_max=10, trailing_entries=2)
        for number in range(60):
            self.leader.submit(Put(f"k{number:02}", "v" * 100))
            self.leader.settle()
        self.assertGreater(self.leader.node.status()["first_index"], 10)
        self.newcomer = self.bench(2, bootstrap=False)
        instance = self.newcomer.directory.identity.instance_id
        hello = Hello(1, b"", 2, instance, "127.0.0.1:8082", level=LEVEL)
        self.leader.node.administration.greeted(hello)
        self.newcomer.node.administration.clusters[1] = b"c" * 16
        self.leader.node.add_member(2, None).addErrback(lambda failure: None)
        self.leader.settle()
        self.chunks = 0

    def bench(self, node_id: int, **options: Any) -> Bench:
        bench = make_bench(self.mktemp(), node_id=node_id, **options)
        self.addCleanup(bench.close)
        bench.settle()
        return bench

    def exchange(self, drop: Any = lambda message: False) -> None:
        """Deliver everything that the two have for each other, but what ``drop`` takes."""
        for here, there in ((self.leader, self.newcomer), (self.newcomer, self.leader)):
            sent, here.mesh.sent = here.mesh.sent, []
            for _, message in sent:
                self.chunks += isinstance(message, SnapshotChunk)
                if not drop(message):
                    there.node.receive(here.node.id, [message])
                    there.settle()
            here.settle()

    def pass_time(self, seconds: float, drop: Any = lambda message: False) -> None:
        for _ in range(int(seconds / 0.1)):
            for bench in (self.leader, self.newcomer):
                bench.pass_time(0.1)
                bench.settle()
            self.exchange(drop)

    def complete(self) -> None:
        """Check that the newcomer has everything, and votes."""
        for number in range(60):
            read = self.newcomer.query(Get(f"k{number:02}"), stale=True)
            self.assertEqual(read, ["v" * 100])
        self.assertEqual(self.leader.node.raft.conf_state.voters, (1, 2))


class TransferTests(TransferTestCase):
    """What can happen on the way."""

    def test_newcomer_gets_the_state_in_chunks(self) -> None:
        """A newcomer that needs what the log no longer has gets the state, then the log."""
        self.pass_time(5)
        self.complete()
        self.assertGreater(self.chunks, 10)
        self.assertGreater(self.newcomer.node.status()["first_index"], 10)

    def test_lost_chunks_and_acknowledgements(self) -> None:
        """What is lost on the way is sent again, and nothing is taken twice."""
        count = 0

        def every_third(message: Any) -> bool:
            nonlocal count
            count += isinstance(message, SnapshotChunk | SnapshotAck)
            return isinstance(message, SnapshotChunk | SnapshotAck) and count % 3 == 0

        self.pass_time(120, every_third)
        self.complete()

    def test_disk_that_fails_under_a_snapshot(self) -> None:
        """A receiver whose disk fails stops, instead of refusing one snapshot after the other."""
        while self.chunks < 2:
            self.pass_time(0.1)
        store = self.newcomer.directory.log.health
        store.fail(OSError("the disk fails"))
        self.pass_time(2)
        self.assertEqual(len(self.newcomer.stopped), 1)
        self.assertGreater(len(self.flushLoggedErrors()), 0)

    def test_log_moves_on_meanwhile(self) -> None:
        """Entries written while the state travels are still there when it has arrived."""
        for _ in range(10):
            self.exchange()
        for number in range(60):
            self.leader.submit(Put(f"k{number:02}", "v" * 100))
            self.leader.settle()
            if number % 10 == 0:
                self.exchange()
        self.pass_time(20)
        self.complete()

    def test_state_that_was_changed_on_the_way(self) -> None:
        """An altered chunk is noticed at the end; the old state stands, and all is sent anew."""
        altered = 0

        def alter(message: Any) -> bool:
            nonlocal altered
            if isinstance(message, SnapshotChunk) and b"v" * 100 in message.data and not altered:
                altered += 1
                object.__setattr__(message, "data", message.data.replace(b"v" * 100, b"w" * 100))
            return False

        self.pass_time(60, alter)
        self.assertEqual(altered, 1)
        self.complete()
        self.flushLoggedErrors()

    def test_receiver_is_restarted_halfway(self) -> None:
        """A receiver that has forgotten what it got begins at the beginning."""
        while self.chunks < 5:
            self.pass_time(0.1)
        self.newcomer.node.transfers._abandon()
        self.pass_time(30)
        self.complete()

    def test_follower_that_is_still_behind_gets_another(self) -> None:
        """If the log was compacted past the snapshot meanwhile, another snapshot is sent."""
        self.patch(transfers.Transfers, "held_from", lambda self, now: 1 << 63)
        for _ in range(10):
            self.exchange()
        for number in range(60):
            self.leader.submit(Put(f"k{number:02}", "v" * 100))
            self.leader.settle()
        self.pass_time(30)
        self.complete()

    def test_old_snapshot_is_no_news(self) -> None:
        """A snapshot of what a node has already is answered and not taken."""
        self.pass_time(5)
        self.complete()
        message = InstallSnapshot(
            to=2,
            from_=1,
            term=self.leader.node.raft.term,
            snapshot=self.leader.directory.log.snapshot(),
        )
        before = self.newcomer.node.status()["applied_index"]
        self.leader.node.transfers.send(message)
        self.pass_time(5)
        self.assertGreaterEqual(self.newcomer.node.status()["applied_index"], before)
        self.complete()


class TokenTests(TransferTestCase):
    """Tokens that a node never saw being made."""

    def bench(self, node_id: int, **options: Any) -> Bench:
        bench = super().bench(node_id, **options)
        if node_id == 1:
            bench.submit(AddToken("a" * 16, bytes(32), "admin", (), "first of all"))
            bench.settle()
        return bench

    def test_with_a_snapshot(self) -> None:
        """A node that got its state from another asks for tokens from then on."""
        self.assertTrue(self.leader.node.access.required)
        self.assertFalse(self.newcomer.node.access.required)
        self.pass_time(20)
        self.complete()
        self.assertTrue(self.newcomer.node.access.required)

    def test_after_a_restart(self) -> None:
        """A node that starts again asks for tokens before it serves anybody."""
        path = self.leader.directory.path
        self.leader.close()
        again = make_bench(str(path))
        self.addCleanup(again.close)
        self.assertTrue(again.node.access.required)
