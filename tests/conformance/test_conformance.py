"""Every script at hand must agree with the core, line by line."""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.__main__ import main
from tests.conformance.datadriven import Argument, ScriptError, parse_script
from tests.conformance.interaction import Interaction
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


class Options(SynchronousTestCase):
    """Options and commands that few scripts use must work all the same."""

    def _run_lines(self, *lines: str) -> str:
        """Run commands silently and then the last one aloud; return what that one prints."""
        script = "log-level none\n" + "\n".join(lines[:-1]) + "\nlog-level error\n----\n\n"
        script += lines[-1] + "\n----\n"
        runner = Interaction()
        return [runner.run(directive) for directive in parse_script(script)][-1]

    def test_order_of_options_does_not_matter(self) -> None:
        """Lease reads and the check of the quorum, which they need, come in any order."""
        for options in (
            "read-only=lease-based checkquorum=true",
            "checkquorum=true read-only=safe",
        ):
            printed = self._run_lines(f"add-nodes 1 voters=(1) index=3 {options}", "raft-log 1")
            self.assertEqual("log is empty: first index=4, last index=3", printed)

    def test_wrong_options(self) -> None:
        """An option that is not known, or has no such value, is named."""
        for options, words in (("colour=red", "colour"), ("read-only=maybe", "maybe")):
            printed = self._run_lines("log-level none", f"add-nodes 1 {options}")
            self.assertIn(words, printed)

    def test_forget_and_transfer(self) -> None:
        """Leaders are forgotten and replaced."""
        setup = ["add-nodes 3 voters=(1,2,3) index=3 prevote=true", "campaign 1", "stabilize"]
        self.assertEqual(
            "1: StateLeader (Voter) Term:1 Lead:1\n2: StateFollower (Voter) Term:1 Lead:0\n"
            "3: StateFollower (Voter) Term:1 Lead:1\n",
            self._run_lines(*setup, "forget-leader 2", "raft-state"),
        )
        self.assertIn(
            "3: StateLeader (Voter) Term:2 Lead:3",
            self._run_lines(*setup, "transfer-leadership from=1 to=3", "stabilize", "raft-state"),
        )

    def test_snapshot_by_hand(self) -> None:
        """A snapshot can be sent by hand, with content, to a learner."""
        printed = self._run_lines(
            "add-nodes 2 voters=(1) learners=(2) index=3 content=foo",
            "campaign 1",
            "stabilize",
            "send-snapshot 1 2",
        )
        self.assertEqual(
            "1->2 MsgSnap Term:1 Log:0/0\n  Snapshot: Index:4 Term:1 ConfState:Voters:[1]"
            " VotersOutgoing:[] Learners:[2] LearnersNext:[] AutoLeave:false",
            printed,
        )

    def test_timeout_by_hand(self) -> None:
        """A node whose timeout is set campaigns after so many ticks."""
        printed = self._run_lines(
            "add-nodes 2 voters=(1,2) index=3",
            "set-randomized-election-timeout 1 timeout=3",
            "set-randomized-election-timeout 2 timeout=5",
            "tick-election 1",
            "tick-election 2",
            "raft-state",
        )
        self.assertIn("1: StateCandidate", printed)
        self.assertIn("2: StateFollower", printed)

    def test_messages_of_one_type(self) -> None:
        """Delivery can be limited to a type of message, and says if there was none."""
        setup = ["add-nodes 2 voters=(1,2) index=3", "campaign 1", "process-ready 1"]
        self.assertEqual("no messages\n", self._run_lines(*setup, "deliver-msgs 2 type=MsgApp"))
        self.assertIn("1->2 MsgVote", self._run_lines(*setup, "deliver-msgs 2 type=MsgVote"))
        self.assertIn("unknown", self._run_lines(*setup, "deliver-msgs 2 type=MsgWhat"))

    def test_pages_and_steps_down(self) -> None:
        """The limits and switches of a core can be set."""
        printed = self._run_lines(
            "add-nodes 2 voters=(1,2) index=3 max-committed-size-per-ready=1 inflight=1"
            " step-down-on-removal=true disable-conf-change-validation=true",
            "campaign 1",
            "stabilize",
            "status 1",
        )
        self.assertEqual(
            "1: StateReplicate match=4 next=5\n2: StateReplicate match=4 next=5\n", printed
        )

    def test_nothing_to_do(self) -> None:
        """Threads with nothing to do say so."""
        setup = "add-nodes 1 voters=(1) index=3 async-storage-writes=true"
        for thread in ("append", "apply"):
            printed = self._run_lines(setup, f"process-{thread}-thread 1")
            self.assertEqual(f"no {thread} work to perform", printed)
