#!/usr/bin/env python3
"""uring beside etcd: the same work on the same machine, in turn, and how they compare.

    python bench/compare.py                       all scenarios, three rounds: about a quarter hour
    python bench/compare.py --rounds 1 --seconds 2 --kills 3 "64 x 16"
    python bench/compare.py --only uring          without etcd, and so without ratios

Each round starts three nodes of one system on empty directories, does all the work, ends them, and
then does the same with the other one: A B A B.  Only ratios of neighbours count, since a machine
does not stay the same for a quarter of an hour.  The load generator is one process on the same
processors; what it takes of them is shown.  etcd must be installed (Debian: etcd-server).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from attrs import frozen

from bench.failover import kill_leaders
from bench.systems import Etcd, System, SystemFailed, Uring, etcd_version, missing_etcd

LOAD = Path(__file__).resolve().parent / "load.py"
Figures = dict[str, float]


@frozen
class Scenario:
    """One kind of load; ``uring`` and ``etcd`` are (protocol, connections, window)."""

    name: str
    operation: str
    uring: tuple[str, int, int]
    etcd: tuple[str, int, int]
    target: float | None = None
    """The ratio of the rates that is wanted at the least."""
    follower: bool = False
    """Whether clients ask the followers only."""


SCENARIOS = (
    Scenario("puts, 64 x 16", "put", ("websocket", 64, 16), ("grpc", 64, 16), 2.5),
    Scenario("puts, 64 x 1", "put", ("websocket", 64, 1), ("grpc", 64, 1), 1.5),
    Scenario("puts, one client", "put", ("websocket", 1, 1), ("grpc", 1, 1), 1.2),
    Scenario("puts over HTTP/JSON, 64", "put", ("rest", 64, 1), ("gateway", 64, 1), 1.0),
    Scenario("reads, 64 x 16 beside 64", "get", ("websocket", 64, 16), ("grpc", 64, 1), 3.0),
    Scenario("reads, 64 x 1", "get", ("websocket", 64, 1), ("grpc", 64, 1)),
    Scenario(
        "puts to followers, 64 x 16", "put", ("websocket", 64, 16), ("grpc", 64, 16), None, True
    ),
)
MEMORY, FAILOVER = "memory after 200 000 puts", "failover"
MEMORY_PUTS = 200_000


def load(*words: object) -> Figures:
    """Run the load generator.  Raises :exc:`SystemFailed` with what it said if it fails."""
    command = [sys.executable, str(LOAD), *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemFailed(f"{' '.join(map(str, words))}: {ended.stderr.strip()[-500:]}")
    figures: Figures = json.loads(ended.stdout)
    return figures


def drive(system: System, scenario: Scenario, seconds: float) -> Figures:
    """Do one kind of work, and return its figures."""
    protocol, connections, window = scenario.uring if system.name == "uring" else scenario.etcd
    leader = system.leader()
    nodes = [node for node in range(3) if node != leader] if scenario.follower else [leader]
    before = system.cpu_seconds()
    figures = load(
        *(protocol, scenario.operation, *map(system.address, nodes)),
        *("--connections", connections, "--window", window, "--seconds", seconds, "--warm", 0.5),
    )
    # The half second of warming costs the same for each operation as what is counted.
    warmed = figures["rate"] * (figures["seconds"] + 0.5)
    figures["cpu"] = (system.cpu_seconds() - before) / max(1.0, warmed) * 10_000
    return figures


def fill(system: System) -> Figures:
    """Write 200 000 different keys, and return the peak memory of the largest node."""
    protocol, connections, window = (SCENARIOS[0].uring, SCENARIOS[0].etcd)[system.name == "etcd"]
    figures = load(
        *(protocol, "put", system.address(system.leader()), "--once", "--warm", 0),
        *("--connections", connections, "--window", window),
        *("--seconds", 120, "--keys", MEMORY_PUTS, "--count", MEMORY_PUTS),
    )
    return {"peak": system.peak_megabytes(), "operations": figures["operations"]}


def one_turn(
    system: System, wanted: Callable[[str], bool], seconds: float, kills: int
) -> dict[str, Any]:
    """Start a system, do all that is wanted, and end it."""
    found: dict[str, Any] = {}
    try:
        system.start()
        if wanted(MEMORY):
            found[MEMORY] = fill(system)
        else:
            drive(system, SCENARIOS[0], 1.0)  # so that there is something to read
        for scenario in SCENARIOS:
            if wanted(scenario.name):
                found[scenario.name] = drive(system, scenario, seconds)
                note(f"  {system.name}: {scenario.name}: {found[scenario.name]['rate']:,.0f}/s")
        if wanted(FAILOVER) and kills:
            found[FAILOVER] = kill_leaders(system, kills)
            shown = ", ".join(f"{each * 1000:.0f}" for each in found[FAILOVER])
            note(f"  {system.name}: failover: {shown} ms")
    finally:
        system.stop()
    return found


def note(text: str) -> None:
    """Say how far it is, beside the table."""
    print(text, file=sys.stderr, flush=True)


# -- the table -------------------------------------------------------------------------------------

Rounds = list[dict[str, dict[str, Any]]]
"""What each round found, by system and scenario."""


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the median, and the least and the greatest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def _of(rounds: Rounds, system: str, scenario: str, figure: str) -> list[float]:
    return [
        found[system][scenario][figure]
        for found in rounds
        if scenario in found.get(system, {}) and figure in found[system][scenario]
    ]


def rate_rows(rounds: Rounds) -> list[str]:
    """Return a line for each scenario and system."""
    rows = []
    for scenario in SCENARIOS:
        rates = {name: _of(rounds, name, scenario.name, "rate") for name in ("uring", "etcd")}
        for system in ("uring", "etcd"):
            if not rates[system]:
                continue
            ratio = target = ""
            if system == "uring" and rates["etcd"]:
                pairs = zip(rates["uring"], rates["etcd"], strict=False)
                ratio = spread([own / other for own, other in pairs])
                target = "" if scenario.target is None else f"at least {scenario.target:g}"
            latencies = [
                f"{statistics.median(_of(rounds, system, scenario.name, figure)):.2f}"
                for figure in ("p50_ms", "p99_ms", "p99_9_ms")
            ]
            cpu, generator = (
                statistics.median(_of(rounds, system, scenario.name, figure))
                for figure in ("cpu", "generator_cpu")
            )
            rows.append(
                f"| {scenario.name} | {system} | {spread(rates[system], 0)} | {ratio} | {target} "
                f"| {' / '.join(latencies)} | {cpu:.2f} | {generator:.0%} |"
            )
    return rows


def other_rows(rounds: Rounds) -> list[str]:
    """Return the lines about memory and failover."""
    rows = []
    peaks = {name: _of(rounds, name, MEMORY, "peak") for name in ("uring", "etcd")}
    kills = {
        name: [each * 1000 for found in rounds for each in found.get(name, {}).get(FAILOVER, [])]
        for name in ("uring", "etcd")
    }
    what = ("peak memory per node after 200 000 puts, MB", "leader killed to next write, ms")
    for name, values, target in zip(what, (peaks, kills), (0.35, 0.5), strict=True):
        shown = [spread(values[system], 0) if values[system] else "" for system in values]
        ratio = ""
        if all(values.values()):
            medians = [statistics.median(values[system]) for system in ("uring", "etcd")]
            ratio = f"{medians[0] / medians[1]:.2f}"
        if any(shown):
            rows.append(f"| {name} | {' | '.join(shown)} | {ratio} | at most {target:g} |")
    return rows


def table(rounds: Rounds, chosen: argparse.Namespace) -> str:
    """Return everything as Markdown."""
    other = "" if chosen.only == "uring" else f", etcd {etcd_version()}"
    lines = [
        f"{os.cpu_count()} processors, {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}{other}; {len(rounds)} rounds of {chosen.seconds:g} s; "
        "16-byte keys, 256-byte values, fsync on. Median (least to greatest).",
        "",
        "| what | system | per second | ratio | target | p50 / p99 / p99.9 ms "
        "| CPU s per 10 000 | generator |",
        "|---|---|---|---|---|---|---|---|",
        *rate_rows(rounds),
        "",
    ]
    others = other_rows(rounds)
    if others:
        lines += ["| what | uring | etcd | ratio | target |", "|---|---|---|---|---|", *others, ""]
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scenario", nargs="*", help="only those whose name holds this text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load [4]")
    parser.add_argument("--kills", type=int, default=20, help="of leaders, in all rounds together")
    parser.add_argument("--only", choices=("uring", "etcd"))
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk to use [.]")
    parser.add_argument("--json", type=Path, help="write every figure of every round here, too")
    chosen = parser.parse_args()
    problem = None if chosen.only == "uring" else missing_etcd()
    if problem:
        sys.exit(f"compare.py: {problem}; or measure alone with --only uring")

    def wanted(name: str) -> bool:
        return not chosen.scenario or any(part in name for part in chosen.scenario)

    rounds: Rounds = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.directory) as place:
        for number in range(chosen.rounds):
            found: dict[str, dict[str, Any]] = {}
            kills = -(-chosen.kills // chosen.rounds)
            for kind in (Uring, Etcd):
                if chosen.only in (None, kind.name):
                    note(f"round {number + 1}: {kind.name}")
                    system = kind(Path(place).absolute() / kind.name)
                    found[kind.name] = one_turn(system, wanted, chosen.seconds, kills)
            rounds.append(found)
            if chosen.json:
                chosen.json.write_text(json.dumps(rounds, indent=1))
    print(table(rounds, chosen))


if __name__ == "__main__":
    try:
        main()
    except SystemFailed as failed:
        sys.exit(f"compare.py: {failed}")
