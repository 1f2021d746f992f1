"""A new admin's token when all are lost, by who can write in a data directory."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import make_bench
from uring import rescue
from uring.access import digest
from uring.errors import OutcomeUnknown, Unavailable
from uring.machines.commands import AddToken, RecoverToken, Token
from uring.recover import main
from uring.rescue import FILE, Rescue, RescueError
from uring.store.directory import open_directory


class FileTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        open_directory(self.path, 1).close()

    def run_main(self, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--id", "1", *words])
        return code, out.getvalue(), err.getvalue()

    def test_command(self) -> None:
        """The command shows a token and leaves its digest, also while the node runs."""
        directory = open_directory(self.path, 1)
        self.addCleanup(directory.close)
        code, out, err = self.run_main("--data-dir", str(self.path), "--admin-token")
        self.assertEqual(code, 0, err)
        name, _, secret = out.strip().partition(".")
        self.assertEqual((self.path / FILE).stat().st_mode & 0o777, 0o600)
        self.assertNotIn(secret, (self.path / FILE).read_text())
        found = rescue.read(self.path)
        assert found is not None
        self.assertEqual((found.id, found.digest), (name, digest(secret)))

    def test_wrong_words(self) -> None:
        """No data directory, and what is for a lost quorum, are refused, and nothing is left."""
        code, _, _ = self.run_main("--data-dir", str(self.path / "none"), "--admin-token")
        self.assertEqual(code, 1)
        code, _, _ = self.run_main("--data-dir", str(self.path), "--admin-token", "--yes")
        self.assertEqual(code, 2)
        self.assertIsNone(rescue.read(self.path))

    def test_what_makes_no_sense(self) -> None:
        """A file that is damaged, or that others could have written, is refused with a line."""
        path = self.path / FILE
        good = {"id": "0" * 16, "sha256": "ab" * 32}
        for content in (
            b"",
            b"\xff",
            b"[]",
            json.dumps({**good, "id": "x"}).encode(),
            json.dumps({**good, "sha256": "ab"}).encode(),
            json.dumps({**good, "sha256": "zz" * 32}).encode(),
            json.dumps({**good, "role": "admin"}).encode(),
            b"[" * 10_000,
        ):
            path.write_bytes(content)
            path.chmod(0o600)
            error = self.assertRaises(RescueError, rescue.read, self.path)
            self.assertIn("uring.recover --admin-token", str(error))
        path.write_text(json.dumps(good))
        path.chmod(0o666)
        self.assertIn("write", str(self.assertRaises(RescueError, rescue.read, self.path)))
        path.rename(self.path / "elsewhere")
        path.symlink_to(self.path / "elsewhere")
        self.assertRaises(RescueError, rescue.read, self.path)
        path.unlink()
        os.mkfifo(path, 0o600)
        self.assertRaises(RescueError, rescue.read, self.path)


class RescueTests(SynchronousTestCase):
    """What the node does with it."""

    def test_until_it_is_there(self) -> None:
        """It is asked for until there is an answer; the file goes only then."""
        path = Path(self.mktemp())
        path.write_text("x")
        clock, asked = Clock(), []
        command = RecoverToken("0" * 16, bytes(32))

        def submit(what: Any, done: Any) -> None:
            asked.append(what)
            answers = [Unavailable("no leader"), OutcomeUnknown("who knows")]
            token = Token(command.id, command.digest, "admin", (), "recovered", 0)
            done([*answers, token][len(asked) - 1])

        Rescue(submit, clock, path, command).start()
        for _ in range(2):
            self.assertTrue(path.exists())
            clock.advance(rescue.RETRY_SECONDS)
        self.assertEqual(asked, [command] * 3)
        self.assertFalse(path.exists())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_node(self) -> None:
        """A node whose admin is lost takes the new one, and its doors know it."""
        bench = make_bench(self.mktemp())
        self.addCleanup(bench.close)
        bench.settle()
        bench.submit(AddToken("a" * 16, bytes(32), "admin", (), "lost"))
        bench.settle()
        path = Path(self.mktemp())
        (path / "log").mkdir(parents=True)
        token = rescue.leave(path)
        command = rescue.read(path)
        assert command is not None
        Rescue(bench.node.submit, bench.clock, path / FILE, command).start()
        bench.settle()
        found = bench.node.access.find(token)
        assert found is not None
        self.assertEqual(found.role, "admin")
        self.assertFalse((path / FILE).exists())
