"""Every script at hand must agree with the core, line by line."""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.__main__ import main
from tests.conformance.datadriven import Argument, ScriptError, parse_script
from tests.conformance.scripts import first_disagreement, scripts_below, testdata_directory


class Conformance(SynchronousTestCase):
    """One test for each kind of script."""

    def _check(self, kind: str, at_least: int) -> None:
        directory = testdata_directory() / kind
        scripts = scripts_below(directory)
        if not scripts:
            raise SkipTest(f"no scripts in {directory}: set URING_ETCD_TESTDATA")
        found = {path.name: first_disagreement(path) for path in scripts}
        self.assertEqual({}, {name: str(what) for name, what in found.items() if what})
        self.assertGreaterEqual(len(scripts), at_least)

    def test_quorum(self) -> None:
        """Committed indexes and vote results are those of the quorum scripts."""
        self._check("quorum", 4)

    def test_confchange(self) -> None:
        """Configurations change, or refuse to, as in the configuration-change scripts."""
        self._check("confchange", 9)

    def test_interaction(self) -> None:
        """Cores that talk to each other print what the interaction scripts say."""
        self._check("interaction", 14)


class Runner(SynchronousTestCase):
    """The runner itself must not agree with everything."""

    def _main(self, text: str, *options: str) -> tuple[int, str]:
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "script.txt").write_text(text, encoding="utf-8")
            out = io.StringIO()
            with redirect_stdout(out):
                code = main([directory, *options])
        return code, out.getvalue()

    def test_names_first_line_that_differs(self) -> None:
        """A script that disagrees fails the run, with the line, what it wants and what it got."""
        code, printed = self._main("simple\nv1\n----\nvoters=(1)\n1: StateProbe match=0 next=7\n")
        self.assertEqual(1, code)
        self.assertIn(
            "line 5: expected '1: StateProbe match=0 next=7', got '1: StateProbe match=0 next=1'",
            printed,
        )

    def test_missing_output_is_a_difference(self) -> None:
        """Output that a script does not have fails it as well."""
        code, printed = self._main("simple\nv1\n----\nvoters=(1)\n")
        self.assertEqual(1, code)
        self.assertIn("expected 'nothing'", printed)

    def test_log_lines_count_only_if_asked_for(self) -> None:
        """Log lines are free text unless the run is told to compare them."""
        script = "add-nodes 1 voters=(1) index=3\n----\nINFO something else\n"
        self.assertEqual(0, self._main(script)[0])
        self.assertEqual(1, self._main(script, "--logs")[0])

    def test_no_scripts_is_not_success(self) -> None:
        """A directory without scripts is an error, not agreement."""
        with tempfile.TemporaryDirectory() as directory, redirect_stdout(io.StringIO()):
            self.assertEqual(2, main([directory]))

    def test_exception_is_a_failure(self) -> None:
        """A script that makes the core raise fails and does not stop the others."""
        code, printed = self._main("campaign 9\n----\nok\n")
        self.assertEqual(1, code)
        self.assertIn("IndexError", printed)

    def test_several_commands_in_one_directive(self) -> None:
        """Lines under a directive are commands too, and print into the same output."""
        code, printed = self._main(
            "log-level none\n----\nok\n\nadd-nodes 1 voters=(1) index=3\ncampaign 1\nstabilize\n"
            "log-level info\nraft-state\n----\n1: StateLeader (Voter) Term:1 Lead:1\n"
        )
        self.assertEqual(0, code, printed)

    def test_unknown_command(self) -> None:
        """A command that nobody knows is answered, not skipped."""
        code, printed = self._main("add-nodes 1 voters=(1) index=3\nfly 1\n----\nunknown command\n")
        self.assertEqual(0, code, printed)


class Format(SynchronousTestCase):
    """How scripts are read."""

    def test_arguments(self) -> None:
        """Arguments have no value, one, or a list with or without blanks."""
        (directive,) = parse_script("go 1 a=(1, 2) b=c\nbody\n----\nout\n")
        self.assertEqual(
            (Argument("1"), Argument("a", ("1", "2")), Argument("b", ("c",))),
            directive.command.arguments,
        )
        self.assertEqual((("body",), "out"), (directive.body, directive.expected))

    def test_output_with_empty_lines(self) -> None:
        """Output between doubled separators may hold empty lines."""
        first, second = parse_script("a\n----\n----\nx\n\ny\n----\n----\n\nb\n----\nz\n")
        self.assertEqual(("x\n\ny", "z"), (first.expected, second.expected))
        self.assertEqual(4, first.output_line)

    def test_continued_line(self) -> None:
        """A backslash joins a directive's line with the next one."""
        (directive,) = parse_script("a b=1 \\\n  c=2\n----\n")
        self.assertEqual("2", directive.command.value("c"))

    def test_no_separator(self) -> None:
        """A directive that never says what it prints is refused."""
        self.assertRaises(ScriptError, list, parse_script("a\nb\n"))
