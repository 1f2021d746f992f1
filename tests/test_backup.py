"""Backups: whole or refused, of one moment, and what becomes of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import Bench, make_bench
from uring import backup, restore
from uring.backup import BackupDamaged, BackupReader
from uring.errors import Unavailable, UringError
from uring.machines.commands import Get, Put, SetSize
from uring.machines.table import Machines
from uring.store.directory import open_directory


class BackupTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench: Bench = make_bench(self.mktemp())
        self.addCleanup(self.bench.close)
        self.bench.settle()

    def put(self, count: int, value: str = "x" * 1000) -> None:
        for number in range(count):
            self.bench.submit(Put(f"k{number}", value))
        self.bench.settle()

    def piece(self, source: backup.Backup) -> bytes | UringError:
        pieces: list[Any] = []
        source.next(pieces.append)
        self.bench.background.run_all()
        (found,) = pieces
        assert isinstance(found, bytes | UringError)
        return found

    def whole(self, source: backup.Backup) -> bytes:
        found = b""
        while piece := self.piece(source):
            assert isinstance(piece, bytes)
            found += piece
        return found

    def file(self, data: bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(data)
        return path


class TakingTests(BackupTestCase):
    def test_of_one_moment(self) -> None:
        """What is written while the backup is read is not in it."""
        self.put(600)
        source = self.bench.node.begin_backup()
        self.piece(source)
        self.put(600, "later")
        data = self.whole(self.bench.node.begin_backup())
        self.assertGreater(len(data), 0)
        reader = BackupReader(io.BytesIO(backup.MAGIC + b"" + data[len(backup.MAGIC) :]))
        self.assertEqual(reader.manifest.revision, 1200)
        rest = self.whole(source)
        self.assertNotIn(b"later", rest)
        self.assertGreater(rest.count(b"x" * 1000), 500)
        self.assertEqual(self.bench.node.backups, [])

    def test_bounded(self) -> None:
        """So many at a time, and a receiver that takes nothing is given up."""
        gone: list[int] = []
        for number in range(backup.BACKUPS_MAX):
            source = self.bench.node.begin_backup()
            source.on_abort = lambda number=number: gone.append(number)  # type: ignore[misc]
        self.assertRaises(Unavailable, self.bench.node.begin_backup)
        self.bench.pass_time(backup.PATIENCE_SECONDS + 1)
        self.assertEqual((gone, self.bench.node.backups), ([0, 1], []))
        self.bench.node.begin_backup()

    def test_closed_while_reading(self) -> None:
        """A client may hang up while a chunk is being read."""
        self.put(3)
        source = self.bench.node.begin_backup()
        self.piece(source)
        pieces: list[Any] = []
        source.next(pieces.append)
        source.close()
        self.bench.background.run_all()
        self.assertEqual(self.bench.node.backups, [])
        self.assertEqual(self.bench.stopped, [])


class RestoringTests(BackupTestCase):
    def restored(self, data: bytes) -> Path:
        path = Path(self.mktemp())
        restore.restore_file(self.file(data), path, 7, "127.0.0.1:9999")
        return path

    def test_new_cluster(self) -> None:
        """What was restored has the keys, another cluster's id, one member, higher revisions."""
        self.put(600)
        self.bench.submit(SetSize(64))
        self.bench.settle()
        path = self.restored(self.whole(self.bench.node.begin_backup()))
        directory = open_directory(path, 7)
        self.addCleanup(directory.close)
        machines = Machines()
        self.assertEqual(machines.query(directory.state, Get("k599")), "x" * 1000)
        self.assertEqual(directory.state.conf_state.voters, (7,))
        self.assertTrue(directory.state.member_addresses[7].startswith("127.0.0.1:9999 "))
        self.assertNotEqual(directory.identity.cluster_id, self.bench.directory.identity.cluster_id)
        self.assertEqual(machines.revision(directory.state), 601 + restore.REVISION_GAP)

    def test_runs(self) -> None:
        """A node runs on it, and takes writes."""
        self.put(3)
        path = self.restored(self.whole(self.bench.node.begin_backup()))
        bench = make_bench(str(path), bootstrap=False, node_id=7)
        self.addCleanup(bench.close)
        bench.settle()
        answers = bench.submit(Put("new", "1"))
        bench.settle()
        self.assertEqual(len(answers), 1)
        self.assertEqual(bench.query(Get("k1"), stale=True), ["x" * 1000])
        self.assertEqual(bench.stopped, [])

    def test_not_over_another(self) -> None:
        """An existing directory is left alone."""
        data = self.whole(self.bench.node.begin_backup())
        path = self.restored(data)
        with self.assertRaisesRegex(ValueError, "new directory"):
            restore.restore_file(self.file(data), path, 7, "127.0.0.1:9999")

    def test_damaged(self) -> None:
        """A backup that is cut off or altered anywhere is refused, and nothing is left behind."""
        self.put(20)
        data = self.whole(self.bench.node.begin_backup())

        @settings(max_examples=60)
        @given(st.integers(0, len(data) - 1), st.integers(1, 255), st.booleans())
        def refused(place: int, change: int, cut: bool) -> None:
            altered = bytearray(data[:place] if cut else data)
            if not cut:
                altered[place] ^= change
            file, path = self.file(bytes(altered)), Path(self.mktemp())
            self.assertRaises(BackupDamaged, restore.check, file)
            self.assertRaises(ValueError, restore.restore_file, file, path, 7, "h:1")
            self.assertFalse(path.exists())

        refused()
        self.assertRaises(BackupDamaged, restore.check, self.file(data + b"x"))

    def test_command(self) -> None:
        """The command checks, restores, and says what is wrong in one line."""
        file = str(self.file(self.whole(self.bench.node.begin_backup())))
        self.assertEqual(restore.main(["--check", file]), 0)
        self.assertEqual(restore.main([file]), 2)
        self.assertEqual(restore.main(["--id", "1", file]), 2)
        self.assertEqual(restore.main(["--id", "1", "--advertise", "x", file]), 2)
        self.assertEqual(restore.main([]), 2)
        self.assertEqual(restore.main(["--check", file + ".none"]), 1)
        path = self.mktemp()
        words = ["--id", "1", "--advertise", "127.0.0.1:1", "--data-dir", path]
        self.assertEqual(restore.main([*words, file]), 0)
        self.assertEqual(restore.main([*words, file]), 1)
