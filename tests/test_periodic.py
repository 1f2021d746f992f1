"""Backups from time to time, to a directory."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import ManualDisk
from tests.support.node import Bench, make_bench
from uring import archive as archive_module
from uring import backup
from uring.archive import Archive, ArchiveError
from uring.backup import BackupReader
from uring.machines.commands import Put
from uring.members import Member
from uring.periodic import RETRY_SECONDS, PeriodicBackups

NOW = 1_800_000_000.0
"""A whole hour, as it happens."""
HOUR = 3600.0


class PeriodicTestCase(SynchronousTestCase):
    """A node of one, its wall clock, and a directory."""

    def setUp(self) -> None:
        self.bench = make_bench(self.mktemp())
        self.addCleanup(self.bench.close)
        self.bench.settle()
        self.bench.submit(Put("a", "1"))
        self.bench.settle()
        self.wall = NOW - self.bench.clock.seconds()
        self.bench.node.facts = lambda: {"wall_time": self.wall + self.bench.clock.seconds()}
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.reserve = 0
        self.keep = 3
        self.thread = ManualDisk()
        self.periodic = self.make(self.bench)

    def make(self, bench: Bench) -> PeriodicBackups:
        found = PeriodicBackups(
            bench.node,
            lambda cluster: Archive(self.path, cluster, bench.node.id, self.keep, self.reserve),
            self.thread,
            HOUR,
            lambda: 0.5,
        )
        bench.node.periodic = found
        self.addCleanup(found.stop)
        found.start()
        return found

    def work(self) -> None:
        """Let both disks work until neither has anything to do."""
        for _ in range(200):
            if not (self.thread.pending or self.bench.background.pending):
                return
            while self.thread.pending:
                self.thread.run_one()
            self.bench.settle()
        self.fail("it does not come to an end")

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps, and all disks work."""
        for _ in range(round(seconds / 10)):
            self.bench.clock.advance(10)
            self.bench.settle()
            self.work()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def status(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.bench.node.status()["backup"]
        return shown


class TurnTests(PeriodicTestCase):
    """When it is a node's turn."""

    def test_first(self) -> None:
        """A node without any backup takes one soon after its start, and then one an interval."""
        self.pass_time(30)
        self.assertEqual(len(self.names()), 1)
        self.pass_time(HOUR - 60)
        self.assertEqual(len(self.names()), 1)
        self.pass_time(60)
        self.assertEqual(len(self.names()), 2)

    def test_shares(self) -> None:
        """Members take their turns one after the other, by their ids."""
        node, turns = self.bench.node, []
        node.administration.known = {each: Member("a:1") for each in (5, 1, 9)}
        for node_id in (1, 5, 9):
            node.settings = evolve(node.settings, node_id=node_id)
            turns.append(round(self.periodic.turn() - NOW))
        node.settings = evolve(node.settings, node_id=1)
        self.assertEqual(turns, [0, -2400, -1200])

    def test_restart(self) -> None:
        """A node that starts again goes on with what is there; one that is overdue catches up."""
        self.pass_time(30)
        again = self.make(self.bench)
        self.periodic.stop()
        self.pass_time(60)
        self.assertEqual(len(self.names()), 1)
        assert again.last is not None
        self.assertEqual(again.last.name, self.names()[0])
        again.stop()
        self.bench.clock.advance(2.5 * HOUR)
        self.bench.settle()
        self.make(self.bench)
        self.pass_time(40)
        self.assertEqual(len(self.names()), 2)

    def test_clock_that_was_set_back(self) -> None:
        """Backups from the future are no reason to take none, and the new one stays."""
        self.keep = 1
        self.pass_time(30)
        self.wall -= 30 * 24 * HOUR
        before = self.names()
        self.periodic.stop()
        self.make(self.bench)
        self.pass_time(60)
        (left,) = self.names()
        self.assertNotEqual([left], before)

    def test_stranger(self) -> None:
        """A node of no cluster has nothing to save."""
        bench = make_bench(self.mktemp(), bootstrap=False, node_id=2)
        self.addCleanup(bench.close)
        self.periodic.stop()
        self.make(bench)
        bench.clock.advance(100)
        self.assertEqual(self.thread.pending, 0)


class KeepingTests(PeriodicTestCase):
    """What is in the directory."""

    def test_restorable(self) -> None:
        """What is kept is a whole backup, which only its owner can read."""
        self.pass_time(30)
        (name,) = self.names()
        path = self.path / name
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        reader = BackupReader(io.BytesIO(path.read_bytes()))
        list(reader.chunks())
        self.assertEqual(reader.manifest.cluster, "63" * 16)
        self.assertEqual(self.status()["last"], name)
        self.assertEqual(self.status()["last_bytes"], path.stat().st_size)
        self.assertEqual(self.bench.node.measures.backups, 1)

    def test_oldest_go(self) -> None:
        """The newest are kept, as many as was said; what others put there is not touched."""
        others = ["mine.backup", "uring-63636363-node2-20200101T000000Z-1.backup"]
        for name in others:
            (self.path / name).write_bytes(b"x")
        self.pass_time(6 * HOUR)
        own = [name for name in self.names() if name not in others]
        self.assertEqual(len(own), 3)
        self.assertIn(self.status()["last"], own)
        self.assertEqual(set(self.names()) - set(own), set(others))

    def test_nothing_goes_for_a_damaged_one(self) -> None:
        """One that cannot be read again after it was written is removed, and all others stay."""
        self.keep = 1
        self.pass_time(30)
        before = self.names()
        draft = archive_module.Draft
        write = draft.write

        def damaged(self: Any, piece: bytes) -> None:
            write(self, piece[:-1] + b"?")

        patch = self.patch(draft, "write", damaged)
        self.pass_time(HOUR)
        self.assertEqual(self.names(), before)
        self.assertIn("cannot be", self.status()["problem"])
        self.assertEqual(self.bench.node.measures.backup_failures, 1)
        patch.restore()
        self.pass_time(RETRY_SECONDS)
        self.assertIsNone(self.status()["problem"])
        self.assertNotEqual(self.names(), before)

    def test_partial_one_of_a_process_that_ended(self) -> None:
        """What a process left half written is removed by the next one."""
        (self.path / ".uring-63636363-node1-partial").write_bytes(b"half")
        self.pass_time(30)
        (name,) = self.names()
        self.assertTrue(name.endswith(".backup"))


class FailureTests(PeriodicTestCase):
    """What fails is shown, tried again, and never stops the node."""

    def failed(self) -> str:
        self.pass_time(30)
        self.assertEqual(self.bench.stopped, [])
        self.assertEqual(self.bench.node.faults(), [])
        self.assertEqual(self.bench.node.backups, [])
        return str(self.status()["problem"])

    def test_no_directory(self) -> None:
        """A directory that is not there is not made: a disk may not be mounted."""
        self.path.rmdir()
        self.assertIn("no such directory", self.failed())
        self.assertFalse(self.path.exists())
        self.path.mkdir()
        self.pass_time(RETRY_SECONDS + 20)
        self.assertEqual(len(self.names()), 1)
        self.assertIsNone(self.status()["problem"])

    def test_reserve(self) -> None:
        """A backup that would touch the reserve of its disk is not begun."""
        self.reserve = 1 << 60
        self.assertIn("make room", self.failed())
        self.assertEqual(self.names(), [])

    def test_reserve_is_reached_on_the_way(self) -> None:
        """One that gets there while it is written is given up, and removed."""
        self.patch(archive_module.Draft, "CHECK_BYTES", 1)
        check, looked = Archive.check_room, []

        def check_room(self: Archive, wanted: int) -> None:
            looked.append(wanted)
            if len(looked) > 1:
                raise ArchiveError("full")
            check(self, wanted)

        self.patch(Archive, "check_room", check_room)
        self.assertEqual(self.failed(), "full")
        self.assertEqual(self.names(), [])

    def test_disk_that_hangs(self) -> None:
        """A directory that does not answer costs the attempt, and no other begins meanwhile."""
        self.bench.clock.advance(20)
        self.thread.run_one()  # what there is
        self.bench.clock.advance(1)
        self.thread.run_one()  # begun
        self.assertEqual(self.thread.pending, 1)
        self.assertEqual(len(self.bench.node.backups), 1)
        self.bench.pass_time(backup.PATIENCE_SECONDS + 2)
        self.assertIn("does not answer", self.status()["problem"])
        self.assertEqual(self.bench.node.backups, [])
        self.pass_time(RETRY_SECONDS + 10)
        self.assertEqual(len(self.names()), 1)

    def test_state_replaced(self) -> None:
        """While a snapshot takes the state's place there is no backup, and afterwards there is."""
        self.bench.node.installing = True
        self.assertIn("snapshot", self.failed())
        self.bench.node.installing = False
        self.pass_time(RETRY_SECONDS + 10)
        self.assertEqual(len(self.names()), 1)

    def test_stopped(self) -> None:
        """A node that stops takes no notice of what its disk still says."""
        self.bench.clock.advance(20)
        self.thread.run_one()
        self.bench.clock.advance(1)
        self.periodic.stop()
        self.work()
        self.assertEqual(self.bench.node.backups, [])
        self.assertIsNone(self.status()["problem"])


class ArchiveTests(SynchronousTestCase):
    """The directory alone."""

    def test_renamed_only_when_whole(self) -> None:
        """A backup that is cut off never gets its name."""
        path = Path(self.mktemp())
        path.mkdir()
        archive = Archive(path, "ab" * 16, 1, 2, 0)
        draft = archive.begin()
        draft.write(backup.MAGIC)
        self.assertRaises(backup.BackupDamaged, draft.finish)
        self.assertEqual(archive.kept(), [])
        draft.discard()
        self.assertEqual(os.listdir(path), [])
