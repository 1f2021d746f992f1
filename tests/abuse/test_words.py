"""Abuse of the command line and of the files that it names: one line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from contrib.certificates import Authority
from uring.options import Options
from uring.peers.address import advertised
from uring.security import secure
from uring.store.directory import open_directory
from uring.store.failures import DirectoryError

WORDS: list[tuple[Sequence[str], str]] = [
    (["--nope"], "nope"),
    (["stray"], "-p HOST:PORT"),
    (["-e", ""], "write 127.0.0.1:8080"),
    (["-e", "8080"], "write 127.0.0.1:8080"),
    (["-e", "127.0.0.1:99999"], "write 127.0.0.1:8080"),
    (["-e", "a b:1"], "write 127.0.0.1:8080"),
    (["-e", "127.0.0.1:8080\nx"], "write 127.0.0.1:8080"),
    (["-p", "127.0.0.1"], "write 127.0.0.1:8081"),
    (["-p", "ssl:1.2.3.4:5"], "--peer-ca"),
    (["-i", "0"], "--id=N"),
    (["-i", "-1"], "--id=N"),
    (["-i", "1e3"], "--id=N"),
    (["-i", "9" * 5000], "--id=N"),
    (["-i", "٣"], "--id=N"),
    (["-b", "-r", "16777217"], "--ring-size=N"),
    (["-r", "8"], "--bootstrap"),
    (["--election-ms", "100"], "--election-ms=300"),
    (["--heartbeat-ms", "0"], "--heartbeat-ms=N"),
    (["--request-timeout-ms", "forever"], "--request-timeout-ms=N"),
    (["-d", ""], "path of a directory"),
    (["--advertise", "0.0.0.0:1"], "write HOST:PORT"),
    (["--advertise", "host:0"], "write HOST:PORT"),
    (["--peer-ca", "x"], "--peer-cert and --peer-key"),
    (["--peer-secret-file", ""], "path of a file"),
    (["--allow-origin", "*"], "as browsers do"),
    (["--allow-host", "a:1"], "without a port"),
    (["--limit", "x"], "NAME=VALUE"),
    (["--limit", "x=1"], "known are"),
    (["--limit", "connections=-5"], "above 0"),
    (["--disk-reserve-mb", "-1"], "--disk-reserve-mb=N"),
    (["--max-connections", "0"], "--max-connections=N"),
]


class WordTests(SynchronousTestCase):
    """Words that make no sense."""

    def test_table(self) -> None:
        """Each is refused by a line that shows what to write instead."""
        for words, expected in WORDS:
            error = self.assertRaises(UsageError, Options().parseOptions, list(words))
            self.assertIn(expected, str(error), words)
            self.assertLess(len(str(error)), 6000)

    def test_addresses_that_nobody_can_dial(self) -> None:
        """A node that does not know how it is reached is told how to say it."""
        for text in ("0.0.0.0:1", "tcp:1", "unix:/x", "127.0.0.1:0"):
            error = self.assertRaises(ValueError, advertised, text)
            self.assertIn("--advertise HOST:PORT", str(error))


class FileTests(SynchronousTestCase):
    """Files that are not what they should be."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.authority = Authority.create(self.directory)
        self.path = self.authority.issue("node-1", "node-1.uring")

    def refused(self, *words: str) -> str:
        options = Options()
        options.parseOptions(list(words))
        problem = str(self.assertRaises(ValueError, secure, options.settings, MemoryReactorClock()))
        self.assertNotIn("\n", problem)
        self.assertNotIn("Traceback", problem)
        return problem

    def test_certificates(self) -> None:
        """Every kind of wrong file in the place of a certificate is refused by its name."""
        key = self.path.with_suffix(".key")
        for content in (
            b"",
            b"nonsense",
            bytes(10_000),
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\n",
            key.read_bytes(),
        ):
            for name in ("node-1.pem", "ca.pem"):
                path = self.directory / name
                before = path.read_bytes()
                path.write_bytes(content)
                files = ("--peer-ca", self.authority.path, "--peer-cert", self.path)
                self.assertIn(name, self.refused(*map(str, (*files, "--peer-key", key))))
                path.write_bytes(before)
            key_before = key.read_bytes()
            key.write_bytes(content.replace(b"PRIVATE", b"PUBLIC"))
            endpoint = f"ssl:1:interface=127.0.0.1:privateKey={key}:certKey={self.path}"
            self.assertIn("node-1.key", self.refused("-e", endpoint))
            key.write_bytes(key_before)

    def test_directories_in_their_place(self) -> None:
        """A directory, or nothing at all, is no file."""
        for option in ("--peer-secret-file",):
            for path in (self.directory, self.directory / "none", Path("/dev/null")):
                self.assertTrue(self.refused(option, str(path)))

    def test_data_directories(self) -> None:
        """A data directory that cannot be one is refused with its path."""
        file = self.directory / "file"
        file.write_text("hello")
        for path in (file, file / "below", Path("/dev/null"), Path("/proc/none"), Path("x" * 300)):
            error = self.assertRaises(DirectoryError, open_directory, path, 1)
            self.assertIn(str(path), str(error))
            self.assertNotIn("\n", str(error))


class IdentifierTests(SynchronousTestCase):
    """The list of what must be refused, and where each of it is tried."""

    def test_every_row_has_a_test(self) -> None:
        """Every row of the tables (R1-R45, W1-W20, P1-P20) is named by some test."""
        found: set[str] = set()
        for path in Path(__file__).parents[1].rglob("test_*.py"):
            text = path.read_text("utf-8")
            if path == Path(__file__):
                continue
            found |= set(re.findall(r"\b[RWP]\d{1,2}\b", text))
            for letter, low, high in re.findall(r"\b([RWP])(\d{1,2}) to [RWP](\d{1,2})\b", text):
                found |= {f"{letter}{number}" for number in range(int(low), int(high) + 1)}
        wanted = {
            f"{letter}{number}"
            for letter, count in (("R", 45), ("W", 20), ("P", 20))
            for number in range(1, count + 1)
        }
        self.assertEqual(sorted(wanted - found), [])
