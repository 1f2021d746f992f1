"""Finding scripts, running them and saying where one disagrees first."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol

from attrs import frozen

from tests.conformance.confchanges import ConfChanges
from tests.conformance.datadriven import Directive, parse_script
from tests.conformance.interaction import Interaction
from tests.conformance.quorums import Quorums

_LOG_LINE = re.compile(r"\s*(DEBUG|INFO|WARN|ERROR|FATAL) ")


class Runner(Protocol):
    """Runs one script, directive by directive."""

    def run(self, directive: Directive) -> str:
        """Return what ``directive`` prints."""


@frozen
class Disagreement:
    """The first line of a script that came out differently; ``line`` counts from 1."""

    line: int
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"line {self.line}: expected {self.expected!r}, got {self.actual!r}"


def testdata_directory() -> Path:
    """Return where the scripts should be; whether they are is another matter.

    The environment variable URING_ETCD_TESTDATA says so, or they are beside the project.
    """
    named = os.environ.get("URING_ETCD_TESTDATA")
    if named:
        return Path(named)
    return Path(__file__).resolve().parents[2].parent / "shared" / "etcd-raft-testdata"


def scripts_below(directory: Path) -> list[Path]:
    """Return all scripts below ``directory`` (or the one that it is), in order."""
    if directory.is_file():
        return [directory]
    return sorted(directory.rglob("*.txt"))


def _runner_for(directives: list[Directive]) -> Runner:
    """Return what can run a script; its commands say of which kind it is."""
    names = {directive.command.name for directive in directives}
    if names <= {"committed", "vote"}:
        return Quorums()
    if names <= {"simple", "enter-joint", "leave-joint"}:
        return ConfChanges()
    return Interaction()


def _compared(text: str, first_line: int, with_logs: bool) -> list[tuple[int, str]]:
    """Return the numbered lines that count: not those of the logger, and not a mere "ok"."""
    numbered = [
        (number, line)
        for number, line in enumerate(text.split("\n"), first_line)
        if with_logs or not _LOG_LINE.match(line)
    ]
    while numbered and not numbered[-1][1]:
        numbered.pop()
    if not with_logs and [line for _, line in numbered] == ["ok"]:
        return []
    return numbered


def first_disagreement(path: Path, with_logs: bool = False) -> Disagreement | None:
    """Run the script at ``path``; None means that it agrees.

    Log lines are free text and only compared if asked for.
    """
    directives = list(parse_script(path.read_text(encoding="utf-8")))
    runner = _runner_for(directives)
    for directive in directives:
        actual = _compared(runner.run(directive), 0, with_logs)
        expected = _compared(directive.expected, directive.output_line, with_logs)
        for position in range(max(len(actual), len(expected))):
            wanted = expected[position] if position < len(expected) else None
            got = actual[position][1] if position < len(actual) else "nothing"
            if wanted is None:
                return Disagreement(directive.line, "nothing", got)
            if wanted[1] != got:
                return Disagreement(wanted[0], wanted[1], got)
    return None
