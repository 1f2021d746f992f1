"""The command line: what it refuses, how it prints, and what its exit codes say."""

from __future__ import annotations

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from uring.cli import exits, run
from uring.cli.main import main
from uring.cli.ring import ranges
from uring.client.answers import ProtocolError
from uring.errors import (
    BadRequest,
    Conflict,
    DiskFull,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    Unavailable,
    UringError,
)


class UseTests(SynchronousTestCase):
    def refused(self, *words: str, env: dict[str, str] | None = None) -> str:
        result = CliRunner().invoke(main, words, env=env)
        self.assertEqual(result.exit_code, exits.BAD_USE, result.output)
        return str(result.output)

    def test_endpoints(self) -> None:
        """An endpoint that is no address is refused, from the environment as well."""
        for wrong in ("", ",", "localhost", "a:b", "a:1,b", "http://a:1", "a:1/x", "a b:1"):
            self.assertIn("endpoints", self.refused("-e", wrong, "get", "a"), wrong)
        self.assertIn("host:port", self.refused("get", "a", env={"URING_ENDPOINTS": "nowhere"}))

    def test_bad_use(self) -> None:
        """Unknown commands, missing words, and numbers out of range say how it is meant."""
        for words in (
            ("fetch",),
            ("get",),
            ("put", "a"),
            ("-o", "xml", "get", "a"),
            ("--timeout", "0", "get", "a"),
            ("members", "add", "0"),
            ("members", "add", "x"),
            ("ring", "size", "16777217"),
        ):
            self.assertIn("Usage", self.refused(*words), words)

    def test_help(self) -> None:
        """Every command explains itself, and the exit codes are listed."""
        self.assertIn("unknown outcome", CliRunner().invoke(main, ["-h"]).output)
        for name, command in main.commands.items():
            self.assertTrue(command.help, name)

    def test_completion(self) -> None:
        """Shells are told how to complete."""
        for shell in ("bash", "zsh", "fish"):
            output = CliRunner().invoke(main, ["completion", shell]).output
            self.assertIn("_URING_COMPLETE", output)


class ExitTests(SynchronousTestCase):
    def test_codes(self) -> None:
        """Each kind of refusal has the code that the help lists."""
        expected: dict[type[UringError], int] = {
            NotFound: 1,
            BadRequest: 2,
            Conflict: 3,
            PreconditionFailed: 3,
            Unavailable: 4,
            Overloaded: 4,
            OutcomeUnknown: 5,
            ProtocolError: 5,
            DiskFull: 6,
        }
        for kind, code in expected.items():
            self.assertEqual(exits.code_of(kind("x")), code, kind)


class ShownTests(SynchronousTestCase):
    def shown(self, *rows: tuple[object, ...]) -> list[str]:
        lines: list[str] = []
        self.patch(click, "echo", lines.append)
        run.show_table(rows, "name", "n")
        return lines

    def test_table(self) -> None:
        """Columns are aligned, numbers to the right, and nothing is None."""
        self.assertEqual(
            self.shown(("a", 1), ("bcdef", 100)), ["name     n", "a        1", "bcdef  100"]
        )
        self.assertEqual(self.shown(("a", None), ("b", True)), ["name  n", "a     -", "b     yes"])
        self.assertEqual(self.shown(), ["name  n"])

    def test_control_characters(self) -> None:
        """What a terminal would act upon is escaped."""
        self.assertEqual(self.shown(("\x1b[2J\n", 1))[1], "\\x1b[2J\\n  1")

    def test_ranges(self) -> None:
        """Neighbouring vnodes are shown as ranges."""
        self.assertEqual(ranges([]), "")
        self.assertEqual(ranges([0, 1, 2, 5, 7, 8]), "0-2,5,7-8")
