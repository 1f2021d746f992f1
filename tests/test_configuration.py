"""Options from a file and from the environment, and which of them counts."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from uring.options import Options, Settings


class ConfigurationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        clean = {name: value for name, value in os.environ.items() if name[:6] != "URING_"}
        self.patch(os, "environ", clean)

    def settings(self, *words: str, file: str | None = None, **environment: str) -> Settings:
        os.environ.update(environment)
        if file is not None:
            self.file.write_text(file, encoding="utf-8")
            os.environ["URING_CONFIG"] = str(self.file)
        options = Options()
        options.parseOptions(list(words))
        return options.settings

    def refused(self, *words: str, file: str | None = None, **environment: str) -> str:
        problem = self.assertRaises(
            usage.UsageError, self.settings, *words, file=file, **environment
        )
        return str(problem)

    def test_file(self) -> None:
        """Every kind of option can stand in a file, in either spelling."""
        found = self.settings(
            file="""
            id = 3
            endpoint = "127.0.0.1:9001"
            peers = ["127.0.0.1:9002", "127.0.0.1:9003"]
            bootstrap = true
            no-json = false
            election_ms = 2000
            allow-origin = ["https://admin.example"]
            """
        )
        self.assertEqual((found.node_id, found.endpoint), (3, "127.0.0.1:9001"))
        self.assertEqual(found.peers, ("127.0.0.1:9002", "127.0.0.1:9003"))
        self.assertEqual((found.bootstrap, found.json_logs), (True, True))
        self.assertEqual((found.election_ms, found.data_dir), (2000, "./raft-leveldb-3"))
        self.assertEqual(found.allow_origins, ("https://admin.example",))

    def test_nearer_counts(self) -> None:
        """A flag counts more than the environment, that more than the file."""
        file = 'id = 3\nelection-ms = 2000\nrequest-timeout-ms = 700\npeers = ["a:1"]\n'
        found = self.settings(
            "-i7", file=file, URING_ID="5", URING_ELECTION_MS="3000", URING_PEER="b:1, c:1"
        )
        self.assertEqual((found.node_id, found.election_ms), (7, 3000))
        self.assertEqual((found.request_timeout_ms, found.peers), (700, ("b:1", "c:1")))
        self.assertEqual(self.settings("-p", "d:1").peers, ("d:1",))
        self.assertEqual(self.settings("--peer=e:1").peers, ("e:1",))

    def test_named_file(self) -> None:
        """The file may be named on the command line, and counts more than URING_CONFIG."""
        other = Path(self.mktemp())
        other.write_text("id = 9\n", encoding="utf-8")
        self.assertEqual(self.settings("-c", str(other), file="id = 3\n").node_id, 9)
        self.assertEqual(self.settings(f"--config={other}").node_id, 9)

    def test_foreign_variables(self) -> None:
        """What the command line client or something else reads is not looked at."""
        found = self.settings(URING_ENDPOINTS="a:1", URING_TIMEOUT="5", URING_SNOT="badger")
        self.assertEqual(found.endpoint, "127.0.0.1:8080")

    def test_mistakes(self) -> None:
        """Each mistake names where it is, and what to write instead."""
        self.assertIn("unknown key 'idd'; known are", self.refused(file="idd = 3\n"))
        self.assertIn("no valid TOML", self.refused(file="id = \n"))
        self.assertIn("id", self.refused(file="id = 1.5\n"))
        self.assertIn("write --id=N", self.refused(file="id = 0\n"))
        self.assertIn("true or false", self.refused(file='bootstrap = "perhaps"\n'))
        self.assertIn("list of texts", self.refused(file='peers = "a:1"\n'))
        self.assertIn("list of texts", self.refused(file="peers = [1]\n"))
        self.assertIn("is no address", self.refused(file='peers = ["nowhere"]\n'))
        self.assertIn("No such file", self.refused("-c", "/nonexistent/uring.toml"))
        del os.environ["URING_CONFIG"]
        self.assertIn("URING_BOOTSTRAP", self.refused(URING_BOOTSTRAP="perhaps"))

    def test_flags_may_be_off(self) -> None:
        """A flag is set by true, and left alone by false."""
        self.assertTrue(self.settings(URING_BOOTSTRAP="yes").bootstrap)
        self.assertFalse(self.settings(URING_BOOTSTRAP="0").bootstrap)

    def test_check_config(self) -> None:
        """--check-config shows what counts and ends with 0, or says what is wrong."""
        ended = self.assertRaises(SystemExit, self.settings, "--check-config", "-i", "4")
        self.assertEqual(ended.code, 0)
        self.assertIn("--id=N", self.refused("--check-config", "-i", "x"))
