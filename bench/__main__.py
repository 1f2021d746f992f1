"""uring beside etcd and pysyncobj: the same work on the same machine, in turn.

    bench/run                            everything, about an hour and a half
    bench/run --quick                    to see that everything works, some three minutes
    bench/run rates clients --rounds 5   only these stages
    bench/run --only uring keys          only this system, and so without ratios
    bench/run --report                   tables and plots of what was measured before

Each round of a stage starts the nodes of one system on empty directories, does the work, ends
them, and then does the same with the next: A B A B.  What was measured is written after every
turn, one JSON file a stage, and a stage that is run again replaces its own (--add: its rounds are
added); table.md and the plots show all stages that are in the directory of results.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from bench.plots import draw, missing_matplotlib
from bench.report import page
from bench.results import StageResult, machine, read, read_all, save
from bench.stages import QUICK, STAGES, Plan, Stage, Turn
from bench.systems import SYSTEMS, System, SystemFailed
from bench.systems.null import Null

KINDS: dict[str, type[System]] = {**SYSTEMS, Null.name: Null}
_NUMBERS = ("kills", "puts", "state_mb", "entries", "idle", "loaded_seconds")


def note(text: str) -> None:
    """Say how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stages = "; ".join(f"{name}: {stage.about}" for name, stage in STAGES.items())
    parser.add_argument("stage", nargs="*", help=f"all without any. {stages}")
    parser.add_argument("--quick", action="store_true", help="small, and no measurement")
    parser.add_argument("--rounds", type=int, help="of each stage")
    parser.add_argument("--seconds", type=float, help="of each load")
    parser.add_argument("--only", action="append", choices=tuple(SYSTEMS), help="more than once")
    parser.add_argument("--results", type=Path, default=Path("build/bench"), help="[build/bench]")
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk to use [.]")
    parser.add_argument("--add", action="store_true", help="to the rounds measured before")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    full = Plan()
    for name in _NUMBERS:
        default = getattr(full, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), help=f"[{default}]")
    for name in ("keys", "clients"):
        parser.add_argument(f"--{name}", type=int, nargs="+", help="numbers of them")
    return parser


def plan_of(chosen: argparse.Namespace) -> Plan:
    """Return how much is to be done."""
    given: dict[str, Any] = {name: getattr(chosen, name) for name in _NUMBERS}
    given.update(rounds=chosen.rounds, seconds=chosen.seconds)
    for name in ("keys", "clients"):
        numbers = getattr(chosen, name)
        given[name] = tuple(numbers) if numbers else None
    given = {name: value for name, value in given.items() if value is not None}
    return attrs.evolve(QUICK if chosen.quick else Plan(), **given)


def systems_of(stage: Stage, only: list[str] | None) -> list[type[System]]:
    """Return those that take turns in a stage."""
    return [
        KINDS[name] for name in stage.systems if only is None or name in only or name not in SYSTEMS
    ]


def check(stages: list[Stage], only: list[str] | None) -> None:
    """Exit with what to do where a system is not installed."""
    kinds = {kind for stage in stages for kind in systems_of(stage, only)}
    problems = [problem for kind in kinds if (problem := kind.missing())]
    if problems:
        ready = " ".join(f"--only {name}" for name in SYSTEMS if not SYSTEMS[name].missing())
        sys.exit("\n".join([f"bench: {each}" for each in problems] + [f"or measure with {ready}"]))


def run_stage(stage: Stage, plan: Plan, chosen: argparse.Namespace, place: Path) -> None:
    """Do all rounds of a stage, and store what each turn found as soon as it is there."""
    seconds, rounds = stage.seconds_of(plan), stage.rounds_of(plan)
    settings = {"seconds": seconds, "quick": plan.quick}
    before = read(chosen.results, stage.name) if chosen.add else None
    result = StageResult(stage.name, "", machine(), settings, {})
    if before is not None:
        result.rounds, result.versions = before.rounds, before.versions
    for number in range(rounds):
        found: dict[str, Any] = {}
        result.rounds.append(found)
        for kind in systems_of(stage, chosen.only):
            note(f"{stage.name}: round {number + 1} of {rounds}: {kind.name}")
            turn = Turn(kind, place, plan, seconds, rounds, number, note)
            cases = stage.turn(turn)
            if not cases:
                continue
            found[kind.name] = cases
            result.versions[kind.name] = turn.system().version()
            result.measured = datetime.now(UTC).isoformat(timespec="seconds")
            save(chosen.results, result)


def write_report(directory: Path) -> None:
    """Write table.md and the plots of all that is there."""
    results = read_all(directory, STAGES)
    if not results:
        sys.exit(f"bench: nothing was measured in {directory}")
    problem = missing_matplotlib()
    if problem:
        note(problem)
    plots = [] if problem else draw(results, directory)
    text = page(results, plots)
    (directory / "table.md").write_text(text)
    print(text)
    note(f"written to {directory}")


def raise_limits() -> None:
    """Let this process and those that it starts open as many files as the system allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Measure what the command line asks for."""
    # However it is ended, the nodes that it started are, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended"))
    parser = arguments()
    chosen = parser.parse_args()
    unknown = [name for name in chosen.stage if name not in STAGES]
    if unknown:
        parser.error(f"no stage is called {', '.join(unknown)}: there are {', '.join(STAGES)}")
    if not chosen.report:
        stages = [STAGES[name] for name in chosen.stage or STAGES]
        check(stages, chosen.only)
        raise_limits()
        failed = []
        with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.directory) as place:
            for stage in stages:
                try:
                    run_stage(stage, plan_of(chosen), chosen, Path(place).absolute())
                except SystemFailed as problem:
                    # What the other stages find is worth having.
                    note(f"{stage.name}: FAILED: {problem}")
                    failed.append(stage.name)
        if failed:
            write_report(chosen.results)
            sys.exit(f"bench: failed: {', '.join(failed)}")
    write_report(chosen.results)


if __name__ == "__main__":
    main()
