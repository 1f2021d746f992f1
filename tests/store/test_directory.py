"""Tests of uring.store.directory: creation, identity, and every reason to refuse."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import plyvel
from attrs import evolve

from tests.store.base import DirectoryTestCase, commit, run, write
from uring.store import directory as directory_module
from uring.store import snapshots as snapshots_module
from uring.store.directory import open_directory
from uring.store.failures import DirectoryError
from uring.store.records import LOG_FORMAT, STATE_FORMAT, encode_version

OPEN = (
    "import sys; from uring.store.directory import open_directory; open_directory(sys.argv[1], 1)"
)


class CrashNow(BaseException):
    """The process ends here."""


class IdentityTests(DirectoryTestCase):
    def test_first_use(self) -> None:
        """The first use makes a directory with an instance id and incarnation 1."""
        identity = self.open(self.base / "a" / "b" / "c").identity
        self.assertEqual((identity.node_id, identity.incarnation), (1, 1))
        self.assertEqual((identity.cluster_id, len(identity.instance_id)), (b"", 16))

    def test_lives(self) -> None:
        """No opening has the name of another one, also when the directory was lost in between."""
        lives = [self.open(self.base / str(lost)).identity.life for lost in range(3)]
        first = self.open().identity
        lives += [first.life, evolve(first, incarnation=first.incarnation + 1).life]
        self.assertEqual(len(set(lives)), 5)
        self.assertTrue(all(0 < life < 1 << 63 for life in lives))
        self.assertEqual(lives[-1], lives[-2] + 1)

    def test_incarnation(self) -> None:
        """Every opening counts the incarnation up; a crash does not take that back."""
        first = self.open().identity
        second = self.open(self.crash()).identity
        self.assertEqual(second.incarnation, 2)
        self.assertEqual(second.instance_id, first.instance_id)

    def test_cluster_id(self) -> None:
        """The cluster id is set once and survives."""
        directory = self.open()
        directory.set_cluster_id(b"c" * 16)
        directory.set_cluster_id(b"c" * 16)
        self.assertRaises(ValueError, directory.set_cluster_id, b"d" * 16)
        self.assertRaises(ValueError, directory.set_cluster_id, b"short")
        self.assertEqual(self.open(self.crash()).identity.cluster_id, b"c" * 16)

    def test_crash_while_creating(self) -> None:
        """A creation that ends after any of its steps is begun again, or finished."""
        for step in range(1, 4):
            path = self.base / f"step {step}"
            calls = iter(range(1, 10))

            def crash(where: Path, step: int = step, calls: object = calls) -> None:
                if next(calls) == step:  # type: ignore[call-overload]
                    raise CrashNow

            with mock.patch.object(directory_module, "sync_directory", crash):
                path.mkdir()
                self.assertRaises(CrashNow, open_directory, path, 1)
            self.assertEqual(self.open(path).identity.incarnation, 1)
            self.assertEqual(sorted(p.name for p in path.iterdir()), ["LOCK", "log", "state"])


class RenameTests(DirectoryTestCase):
    def test_names_are_durable_before_anything_relies_on_them(self) -> None:
        """Opening syncs the directory: a killed process may have left renames that were not."""
        self.open().close()
        synced: list[Path] = []
        with mock.patch.object(snapshots_module, "sync_directory", synced.append):
            self.open()
        self.assertIn(self.path, synced)


class RefusalTests(DirectoryTestCase):
    def refused(self, path: Path, node_id: int = 1) -> str:
        """Return the one line that opening ``path`` is refused with."""
        text = str(self.assertRaises(DirectoryError, open_directory, path, node_id))
        self.assertIn(str(path), text)
        self.assertNotIn("\n", text)
        return text

    def test_in_use_here(self) -> None:
        """A directory that this process has open is refused, and stays open."""
        directory = self.open()
        self.assertIn("in use by another process", self.refused(self.path))
        write(directory.log, run(1, 1))

    def test_in_use_elsewhere(self) -> None:
        """A directory that another process has open is refused there, with one clear line."""
        directory = self.open()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", OPEN, str(self.path)]
        found = subprocess.run(command, capture_output=True, text=True, env=environment)
        self.assertEqual(found.returncode, 1)
        self.assertIn(f"{self.path}: is in use by another process", found.stderr)
        directory.close()
        subprocess.run(command, check=True, env=environment)

    def test_other_node(self) -> None:
        """A directory of another node is refused, and its incarnation stays as it is."""
        self.open().close()
        self.assertIn("belongs to node 1, not 2", self.refused(self.path, 2))
        self.assertEqual(self.open().identity.incarnation, 2)

    def test_other_format(self) -> None:
        """A newer or older format of either database is refused."""
        self.open().close()
        for name, key in (("log", LOG_FORMAT), ("state", STATE_FORMAT)):
            for version, word in ((2, "newer"), (0, "reads 1 only")):
                copy = self.crash(f"{name}{version}")
                db = plyvel.DB(str(copy / name))
                db.put(key, encode_version(key, version))
                db.close()
                self.assertIn(word, self.refused(copy))

    def test_not_a_directory(self) -> None:
        """A file in place of the directory, or of one above it, is refused."""
        file = self.base / "file"
        file.write_text("x")
        self.assertIn("is not a directory", self.refused(file))
        self.assertIn("is not a directory", self.refused(file / "below"))
        self.assertEqual(file.read_text(), "x")

    def test_not_writable(self) -> None:
        """A directory that this user may not write to is refused."""
        self.path.mkdir(mode=0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
            self.addCleanup(os.seteuid, 0)
        self.assertIn("is not writable", self.refused(self.path))

    def test_read_only_file_system(self) -> None:
        """What is mounted read-only is refused as such, whether the directory is there or not."""

        def refusing(path: object, *rest: object, **more: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        mounted = types.SimpleNamespace(f_flag=os.ST_RDONLY)
        self.open().close()
        self.patch(os, "statvfs", lambda path: mounted)
        self.assertIn("mount it read-write", self.refused(self.path))
        self.patch(os, "mkdir", refusing)
        self.assertIn("mount it read-write", self.refused(self.path / "new"))

    def test_log_missing(self) -> None:
        """A state without its log is refused, and no new log is made."""
        self.open().close()
        shutil.rmtree(self.path / "log")
        self.assertIn("is damaged", self.refused(self.path))
        self.assertEqual(sorted(p.name for p in self.path.iterdir()), ["LOCK", "state"])

    def test_files_missing(self) -> None:
        """A database that lost a file it needs is refused, never made anew."""
        directory = self.open()
        write(directory.log, run(1, 5))
        commit(directory.state, 5, {b"k": b"v"})
        directory.close()
        self.open().close()
        for database in ("log", "state"):
            for pattern in ("CURRENT", "MANIFEST-*", "*.ldb"):
                copy = self.crash(f"{database} {pattern[0]}")
                for file in (copy / database).glob(pattern):
                    file.unlink()
                self.assertIn("is damaged", self.refused(copy))
                self.assertEqual(list((copy / database).glob(pattern)), [])


class DamageTests(DirectoryTestCase):
    """One flipped bit anywhere: refused, or noticed when read, or of no effect; never a loss."""

    def setUp(self) -> None:
        super().setUp()
        directory = self.open()
        write(directory.log, run(1, 30))
        commit(directory.state, 10, {b"k%d" % i: b"v%d" % i for i in range(30)})
        directory.close()
        directory = self.open()
        write(directory.log, run(31, 50))
        commit(directory.state, 40, {b"k%d" % i: b"v%d" % i for i in range(30, 50)})
        self.source = self.crash("source")

    def outcome(self, file: Path, change: Callable[[bytearray], None]) -> str:
        """Change a copy of ``file`` and open its directory."""
        copy = self.base / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.source, copy)
        target = copy / file.relative_to(self.source)
        content = bytearray(target.read_bytes())
        change(content)
        target.write_bytes(content)
        try:
            directory = open_directory(copy, 1)
        except DirectoryError:
            self.assertEqual(target.read_bytes(), bytes(content))
            return "refused"
        try:
            entries = directory.log.entries(1, directory.log.last_index() + 1, 1 << 20)
            values = dict(directory.state.iterate(b""))
        except Exception:
            return "noticed"
        finally:
            directory.close()
        self.assertEqual(entries, run(1, 50))
        self.assertEqual(values, {b"k%d" % i: b"v%d" % i for i in range(50)})
        return "whole"

    def flip(self, pattern: str, step: int) -> set[str]:
        found = set()
        for file in sorted(self.source.glob(pattern)):
            for position in range(0, file.stat().st_size, step):

                def change(content: bytearray, position: int = position) -> None:
                    content[position] ^= 1 << (position % 8)

                found.add(self.outcome(file, change))
        return found

    def test_flipped_in_write_ahead_log(self) -> None:
        """A flipped bit in a write-ahead log is refused, wherever it is."""
        self.assertEqual(self.flip("*/*.log", 19), {"refused"})

    def test_flipped_length(self) -> None:
        """A record length grown past the end of the file is not taken for a torn write."""
        for file in sorted(self.source.glob("*/*.log")):

            def change(content: bytearray) -> None:
                content[5] ^= 0x40

            self.assertEqual(self.outcome(file, change), "refused")

    def test_flipped_in_table(self) -> None:
        """A flipped bit in a table is refused, noticed, or lies where nothing is stored."""
        found = self.flip("*/*.ldb", 31)
        self.assertIn("refused", found)
        self.assertLessEqual(found, {"refused", "noticed", "whole"})

    def test_shortened_table_was_called_a_bad_disk(self) -> None:
        """A table that was cut, also to nothing, is damage; the line says what to do about that."""
        for file in sorted(self.source.glob("*/*.ldb")):
            for left in (0, file.stat().st_size // 2):
                copy = self.base / "shortened"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(self.source, copy)
                os.truncate(copy / file.relative_to(self.source), left)
                problem = self.assertRaises(DirectoryError, open_directory, copy, 1)
                self.assertIn("is damaged", str(problem))

    def test_flipped_in_manifest(self) -> None:
        """A flipped bit in a manifest or CURRENT is refused."""
        self.assertEqual(self.flip("*/MANIFEST-*", 7), {"refused"})

    def test_torn_tail(self) -> None:
        """A last record that a crash cut short was never acknowledged and goes; the rest stays."""
        directory = self.open(self.crash("torn"))
        write(directory.log, run(51, 52))
        (file,) = (self.base / "torn" / "log").glob("*.log")
        before = file.stat().st_size
        write(directory.log, run(53, 60))
        torn = self.base / "torn again"
        shutil.copytree(self.base / "torn", torn)
        for size in (file.stat().st_size - 1, before + 9, before + 3):
            os.truncate(torn / "log" / file.name, size)
            copy = self.base / f"torn {size}"
            shutil.copytree(torn, copy)
            log = self.open(copy).log
            self.assertEqual(log.entries(1, log.last_index() + 1, 1 << 20), run(1, 52))

    def tearDown(self) -> None:
        shutil.rmtree(self.base / "copy", ignore_errors=True)
