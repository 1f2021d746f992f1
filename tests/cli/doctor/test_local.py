"""What the doctor sees of this machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.doctor.sights import dead, gone, line, sight
from uring.cli.doctor import findings as kind
from uring.cli.doctor import local as module
from uring.cli.doctor.findings import Finding
from uring.cli.doctor.local import LOCK, LOG, Local, endpoints, listening, settings_of
from uring.cli.doctor.picture import Picture
from uring.cli.doctor.procfs import Machine, Process, is_here


class ProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = Machine()

    def test_listener(self) -> None:
        """Who listens at a port is found, also at every address; nobody else is."""
        for host in ("127.0.0.1", "0.0.0.0"):
            with socket.socket() as listening_one:
                listening_one.bind((host, 0))
                port = listening_one.getsockname()[1]
                self.assertIsNone(self.machine.listener("127.0.0.1", port))
                listening_one.listen()
                found = self.machine.listener("127.0.0.1", port)
                assert found is not None
                self.assertEqual(found.pid, os.getpid())
                self.assertIn("process", found.name)
            self.assertIsNone(self.machine.listener("127.0.0.1", port))

    def test_lock(self) -> None:
        """Who holds a lock is found."""
        path = Path(self.mktemp())
        self.assertIsNone(self.machine.lock_holder(path))
        with path.open("ab") as file:
            self.assertIsNone(self.machine.lock_holder(path))
            fcntl.flock(file, fcntl.LOCK_EX)
            found = self.machine.lock_holder(path)
            assert found is not None
            self.assertEqual(found.pid, os.getpid())

    def test_others(self) -> None:
        """A process that is gone, or that cannot be seen, is no error."""
        self.assertIsNone(self.machine.process(2**30))
        empty = Machine(Path(self.mktemp()))
        self.assertIsNone(empty.listener("127.0.0.1", 80))
        self.assertIn("user 7", Process(0, uid=7).name)
        self.assertTrue(Process(1, "x", "T").is_stopped)

    def test_here(self) -> None:
        """Which addresses are this machine's."""
        for host, expected in (("localhost", True), ("127.0.0.1", True), ("192.0.2.1", False)):
            self.assertEqual(is_here(host), expected, host)


class SettingsTests(SynchronousTestCase):
    def test_command_lines(self) -> None:
        """A whole command line will do; what cannot be is said."""
        words = ("twistd", "-n", "uring", "-e", "127.0.0.1:8083", "-i", "3", "-p", "127.0.0.1:8081")
        self.assertEqual(settings_of(words), settings_of(words[3:]))
        self.assertEqual(endpoints(settings_of(words)), ["127.0.0.1:8083", "127.0.0.1:8081"])
        self.assertRaises(ValueError, settings_of, ("--id", "none"))

    def test_listening(self) -> None:
        """Where a node listens, whatever its endpoint looks like."""
        for endpoint, expected in (
            ("127.0.0.1:80", ("127.0.0.1", 80)),
            ("0.0.0.0:80", ("127.0.0.1", 80)),
            ("tcp:80", ("127.0.0.1", 80)),
            ("tcp:80:interface=10.0.0.1", ("10.0.0.1", 80)),
            ("ssl:80:interface=10.0.0.1:privateKey=k:certKey=c", ("10.0.0.1", 80)),
            ("unix:/tmp/x", None),
        ):
            self.assertEqual(listening(endpoint), expected, endpoint)


class LocalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir()
        (self.path / LOG).mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"

    def found(self, *sights: Any, before: tuple[Finding, ...] = (), words: str = "") -> list[str]:
        settings = settings_of(
            ["-e", self.address, "-i", "3", "-d", str(self.path), *words.split()]
        )
        local = Local(settings, Machine(), Clock())
        return [each.kind for each in local.examine(Picture(list(sights)), before)]

    def test_not_running(self) -> None:
        """Nothing is in the way, and the node does not run; with its cluster that is said there."""
        self.assertEqual(self.found(), [kind.NOT_RUNNING])
        unreachable = Finding(kind.UNREACHABLE, self.address, "nothing answers")
        self.assertEqual(self.found(before=(unreachable,)), [kind.NOT_RUNNING])
        down = Finding(kind.MEMBER_DOWN, "node 3", "down")
        self.assertEqual(self.found(before=(down,)), [kind.MEMBER_DOWN])

    def test_running(self) -> None:
        """The node has its directory and its port: all is well."""
        host, _, port = self.address.partition(":")
        with (self.path / LOCK).open("ab") as file, socket.socket() as listener:
            listener.bind((host, int(port)))
            listener.listen()
            self.assertEqual(self.found(), [kind.PORT_TAKEN, kind.NOT_RUNNING])
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertEqual(self.found(), [])

    def test_wiped(self) -> None:
        """An empty directory, of a member that the cluster knows with data."""
        members = sight(1, line(1, age=0.0), line(2), gone(3))
        self.assertNotIn(kind.WIPED, self.found(members, dead(3)))
        shutil.rmtree(self.path)
        self.assertIn(kind.WIPED, self.found(members, dead(3)))
        self.assertNotIn(kind.WIPED, self.found(sight(1)))

    def test_directory(self) -> None:
        """What is no directory; a disk that is slow, nearly full, or takes nothing."""
        shutil.rmtree(self.path)
        self.path.write_text("")
        self.assertIn(kind.DIRECTORY, self.found())
        self.path.unlink()
        self.patch(module, "measure", lambda place, clock: [0.2, 0.2])
        self.assertIn(kind.SLOW_DISK, self.found())
        self.assertIn(kind.DISK_FULL, self.found(words="--disk-reserve-mb=1000000000"))
        for code, expected in ((28, kind.DISK_FULL), (30, kind.DIRECTORY)):

            def refuse(place: Any, clock: Any, code: int = code) -> list[float]:
                raise OSError(code, os.strerror(code))

            self.patch(module, "measure", refuse)
            self.assertIn(expected, self.found())

    def test_configuration(self) -> None:
        """Files that cannot be used, and addresses at which nobody can listen."""
        self.assertIn(kind.CONFIGURATION, self.found(words="--peer-secret-file=nowhere"))
        self.address = "192.0.2.1:8080"
        self.assertIn(kind.CONFIGURATION, self.found())

    def test_another_node(self) -> None:
        """Another node answers at the port; which, is said."""
        host, _, port = self.address.partition(":")
        there = evolve(sight(1), address=self.address)
        with socket.socket() as listener:
            listener.bind((host, int(port)))
            listener.listen()
            self.assertIn(kind.PORT_TAKEN, self.found(there))
