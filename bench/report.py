"""One Markdown page of all that was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.figures import Spread, ratios, spread
from bench.results import StageResult
from bench.targets import TARGETS, spread_of

NOTES = """\
Read this beside every ratio:

- etcd does more for a put than uring: it keeps old revisions of each key (MVCC), for watches and
  transactions over many keys.
- The load generator speaks gRPC itself, from frames made beforehand, and takes the share of one
  processor that is shown. etcd's own client takes 37 to 45 % of one at such rates, on a machine
  where the servers have no others; so etcd is shown faster here than its users see it.
- Callers of etcd's client share connections. Where that is faster than a connection for each
  caller, the faster of the two is what uring is compared with (see "shape").
- pysyncobj writes its journal without ever syncing it, ticks once a millisecond instead of twenty
  times a second as by default, and has no linearizable reads.
- Servers and generator share the processors. Only systems measured in turn, in one run, on one
  machine may be compared; a machine does not stay the same for an hour.
"""

ETCD_KNOWN = {
    "puts, one client": (1259, 1482),
    "puts, 64 x 1": (7560, 10_689),
    "puts, 64 x 16": (12_680, 16_184),
    "puts over HTTP/JSON, 64": (4790, 4790),
    "reads, 64 x 1": (10_290, 10_290),
}
"""Operations a second of etcd 3.4 on a quiet machine of this size: it would be seen here if the
load generator were the slow part."""


def show(value: float) -> str:
    """Return a figure as short as it can be read."""
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def show_spread(found: Spread) -> str:
    """Return the median, and the least and the greatest where they differ."""
    if found.low == found.high:
        return show(found.middle)
    return f"{show(found.middle)} ({show(found.low)} to {show(found.high)})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; nothing without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines, ""])


def _middle(values: Sequence[Any]) -> str:
    return show(statistics.median(values)) if values else ""


def targets_table(results: Mapping[str, StageResult]) -> str:
    """Return the targets beside what was reached."""
    rows = []
    for target in TARGETS:
        result = results.get(target.stage)
        found = None if result is None else spread_of(target, result)
        reached = "not measured"
        if found is not None:
            reached = "yes" if target.reached(found) else "**no**"
        shown = "" if found is None else show_spread(found)
        rows.append((target.what, target.wanted(), shown, reached))
    return table(("what", "target", "median (least to greatest)", "reached"), rows)


def rates_table(result: StageResult) -> str:
    """Return rates, ratios, latencies and costs of every case and system."""
    rows = []
    for case in result.cases():
        for system in result.systems():
            rates = result.figures(system, case, "rate")
            if not rates:
                continue
            ratio = ""
            pairs = [] if system == "uring" else result.pairs(case, "rate", "uring", system)
            if pairs:
                found = ratios([own for own, _ in pairs], [other for _, other in pairs])
                ratio = show_spread(spread(found)) if found else ""
            waits = [
                _middle(result.figures(system, case, name))
                for name in ("p50_ms", "p99_ms", "p99_9_ms")
            ]
            shapes = sorted({str(each) for each in result.figures(system, case, "shape")})
            rows.append(
                (
                    case,
                    system,
                    show_spread(spread(rates)),
                    ratio,
                    " / ".join(waits),
                    _middle(result.figures(system, case, "cpu")),
                    f"{statistics.median(result.figures(system, case, 'generator_cpu')):.0%}",
                    ", ".join(shapes),
                )
            )
    head = ("what", "system", "per second", "uring is faster by", "p50 / p99 / p99.9 ms")
    whole = {"peak_mb": "peak MB of a node", "reactor_delay_ms": "longest reactor delay ms"}
    return "\n".join(
        (
            table((*head, "CPU s per 10 000", "generator", "shape"), rows),
            plain_table(result, whole),
            known_table(result),
        )
    )


def known_table(result: StageResult) -> str:
    """Return what the generator had from etcd beside what a client in Go had from it."""
    rows = []
    for case, (low, high) in ETCD_KNOWN.items():
        rates = result.figures("etcd", case, "rate")
        if rates:
            rows.append((case, show_spread(spread(rates)), f"{show(low)} to {show(high)}"))
    return table(("etcd", "here", "a client in Go, another day, two processors too"), rows)


def plain_table(result: StageResult, names: Mapping[str, str]) -> str:
    """Return the figures ``names`` (what they are called here) of every case and system."""
    rows = []
    for case in result.cases():
        for system in result.systems():
            figures = {name: result.figures(system, case, name) for name in names}
            if any(figures.values()):
                shown = [show_spread(spread(each)) if each else "" for each in figures.values()]
                rows.append((case, system, *shown))
    return table(("case", "system", *names.values()), rows)


def failover_table(result: StageResult) -> str:
    """Return how long the kills of each system took, all rounds together."""
    rows = []
    for system in result.systems():
        waits = [
            wait for each in result.figures(system, "leader killed", "waits_ms") for wait in each
        ]
        if waits:
            found = spread(waits)
            shown = (show(found.middle), show(found.low), show(found.high))
            rows.append((system, str(len(waits)), *shown))
    return table(("system", "kills", "median ms", "least", "greatest"), rows)


def timeline_table(result: StageResult) -> str:
    """Return how long each system answered next to nothing after the kill."""
    rows = []
    for system in result.systems():
        for found in result.rounds:
            for case, figures in found.get(system, {}).items():
                rows.append((case, system, show(gap_seconds(figures))))
    return table(("case", "system", "seconds without a put, to one bin"), rows)


def gap_seconds(figures: Mapping[str, Any]) -> float:
    """Return the longest run of empty bins from the kill on, in seconds."""
    width = float(figures["bin_seconds"])
    longest = current = 0
    for count in figures["counts"][int(figures["kill_at"] / width) :]:
        current = 0 if count else current + 1
        longest = max(longest, current)
    return longest * width


_RATE = {
    "rate": "per second",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu": "CPU s per 10 000",
    "generator_cpu": "generator's processor",
}
_PARTS: dict[str, tuple[str, Callable[[StageResult], str]]] = {
    "rates": ("Rates", rates_table),
    "clients": ("Clients, one put under way each", lambda found: plain_table(found, _RATE)),
    "keys": (
        "Keys that are there already, puts of 64 x 16",
        lambda found: plain_table(found, {**_RATE, "peak_mb": "peak MB"}),
    ),
    "memory": ("Memory", lambda found: plain_table(found, {"peak_mb": "peak MB of a node"})),
    "failover": ("Leader killed", failover_table),
    "timeline": ("Around a kill", timeline_table),
    "elections": (
        "Loaded without a fault",
        lambda found: plain_table(
            found, {"seconds": "seconds", "elections": "elections", "rate": "puts per second"}
        ),
    ),
    "snapshot": (
        "State sent to a new node while 64 clients put",
        lambda found: plain_table(
            found,
            {
                "rate": "per second",
                "p50_ms": "p50 ms",
                "p99_ms": "p99 ms",
                "p99_9_ms": "p99.9 ms",
                "seconds": "seconds",
                "ratio": "p99 against without",
                "longest_ms": "longest wait ms",
                "late_turns": "turns late by more than 50 ms",
                "reactor_delay_ms": "longest reactor delay since the start, ms",
            },
        ),
    ),
    "restart": (
        "Start to the first linearizable read",
        lambda found: plain_table(
            found,
            {
                "puts": "puts before",
                "index": "entries",
                "node_s": "one node, s",
                "cluster_s": "all nodes, s",
            },
        ),
    ),
    "syncs": (
        "Synced writes, counted by strace",
        lambda found: plain_table(
            found,
            {
                "puts": "acknowledged puts",
                "entries": "log entries",
                "syncs_of_leader": "syncs of the leader",
                "syncs": "syncs of all three",
                "syncs_per_put": "syncs per put",
                "batches": "log batches of all three",
                "syncs_per_batch": "syncs per batch, least node",
            },
        ),
    ),
    "idle": (
        "Idle connections",
        lambda found: plain_table(
            found,
            {
                "resident_mb": "MB of the node",
                "lost": "lost",
                "rate": "puts per second beside them",
                "rate_alone": "without them",
                "ratio": "ratio",
            },
        ),
    ),
    "ring": (
        "Plans for changes of a large ring",
        lambda found: plain_table(
            found,
            {
                "seconds": "seconds",
                "moved": "vnodes that move",
                "fewest": "fewest there can be",
                "difference": "difference of loads",
            },
        ),
    ),
    "generator": ("The load generator alone", lambda found: plain_table(found, _RATE)),
}


def page(results: Mapping[str, StageResult], plots: Sequence[str] = ()) -> str:
    """Return the whole page; ``plots`` are the files that lie beside it."""
    lines = ["# Measured", "", NOTES]
    quick = [name for name, result in results.items() if result.settings.get("quick")]
    if quick:
        lines += [f"**Run with --quick, and so no measurement: {', '.join(quick)}.**", ""]
    lines += ["## Targets", "", targets_table(results)]
    lines += [f"![{name.partition('.')[0]}]({name})" for name in plots]
    for stage, (title, make) in _PARTS.items():
        result = results.get(stage)
        if result is not None:
            lines += ["", f"## {title}", "", _said(result), "", make(result)]
    return "\n".join(lines).rstrip() + "\n"


def _said(result: StageResult) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    facts = result.machine
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
    return (
        f"`{result.stage}`, {result.measured}: {len(result.rounds)} rounds "
        f"({settings}). {versions}. "
        f"{facts.get('processors')} processors ({facts.get('model')}), {facts.get('system')}, "
        f"Python {facts.get('python')}."
    )
