"""``bin/acceptance FILE...``: runs coyote files, prints, and writes an HTML report."""

from __future__ import annotations

import argparse
import html
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from attrs import frozen

from contrib.coyote import FileError, Group, Outcome, Suite, load, run_entry

FAILURES_MAX = 254
"""Coyote's exit code is the number of failures; beyond this it is 255."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
       color: #1d2733; }
h2 { margin-top: 2rem; } summary { cursor: pointer; padding: .2rem 0; }
pre { background: #f2f4f7; padding: .6rem; overflow-x: auto; font-size: 13px; }
.ok { color: #14713c; } .FAILED { color: #b3261e; font-weight: 600; } .skipped { color: #6b7480; }
.time { color: #6b7480; float: right; }
"""


@frozen
class GroupOutcome:
    """What became of one group."""

    group: Group
    outcomes: tuple[Outcome, ...]


def run_suite(suite: Suite, out: TextIO) -> list[GroupOutcome]:
    """Run every entry in order, printing a line for each."""
    results = []
    for group in suite.groups:
        print(group.name, file=out)
        outcomes = []
        for entry in group.entries:
            outcome = run_entry(entry)
            outcomes.append(outcome)
            print(f"  {outcome.verdict:8}{entry.name} ({outcome.seconds:.2f} s)", file=out)
            for problem in outcome.problems:
                print(f"          {problem}", file=out)
        results.append(GroupOutcome(group, tuple(outcomes)))
    return results


def failures(results: Sequence[GroupOutcome]) -> int:
    """Return how many entries failed."""
    return sum(bool(each.problems) for result in results for each in result.outcomes)


def report(title: str, results: Sequence[GroupOutcome]) -> str:
    """Return the results as one HTML page that needs nothing else."""
    total = sum(len(result.outcomes) for result in results)
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{total} commands, {failures(results)} failed.</p>",
    ]
    for result in results:
        parts.append(f"<h2>{html.escape(result.group.name)}</h2>")
        parts += [_details(outcome) for outcome in result.outcomes]
    return "\n".join(parts) + "\n</html>\n"


def _details(outcome: Outcome) -> str:
    entry = outcome.entry
    lines = [
        f"<details{' open' if outcome.problems else ''}><summary>",
        f"<span class='{outcome.verdict}'>{outcome.verdict}</span> {html.escape(entry.name)}",
        f"<span class='time'>{outcome.seconds:.2f} s</span></summary>",
        *(f"<p class='FAILED'>{html.escape(problem)}</p>" for problem in outcome.problems),
        f"<pre>$ {html.escape(entry.command)}</pre>",
    ]
    if entry.log:
        for name, text in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
            if text:
                lines.append(f"<p>{name}</p><pre>{html.escape(text)}</pre>")
    return "".join([*lines, "</details>"])


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Run the files named on the command line; return how many commands failed, at most 255."""
    out = sys.stdout if out is None else out
    parser = argparse.ArgumentParser(
        prog="bin/acceptance", description="Run acceptance files in coyote's format."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path)
    parser.add_argument("--out", default="coyote.html", type=Path, help="the report [%(default)s]")
    chosen = parser.parse_args(arguments)
    try:
        suites = [load(path) for path in chosen.files]
    except FileError as error:
        print(error, file=sys.stderr)
        return 255
    results = [result for suite in suites for result in run_suite(suite, out)]
    chosen.out.write_text(report(suites[0].title, results), "utf-8")
    failed = failures(results)
    total = sum(len(result.outcomes) for result in results)
    print(f"{total - failed} of {total} commands as expected; report: {chosen.out}", file=out)
    if total == 0:
        print("no command was run", file=sys.stderr)
        return 255
    return failed if failed <= FAILURES_MAX else 255
