"""What was aimed at, and whether it was reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from attrs import frozen

from bench.figures import Spread, ratios, spread
from bench.results import StageResult


@frozen
class Target:
    """A bound on one figure; ``find`` returns that figure of each round, or nothing."""

    what: str
    stage: str
    bound: float
    find: Callable[[StageResult], list[float]]
    at_least: bool = False
    unit: str = "x"
    goal: float | None = None
    """What would be better still."""

    def reached(self, found: Spread) -> bool:
        """Tell whether the median keeps the bound."""
        return found.middle >= self.bound if self.at_least else found.middle <= self.bound

    def wanted(self) -> str:
        """Return the bound in words."""
        word = "at least" if self.at_least else "at most"
        goal = "" if self.goal is None else f" (goal {self.goal:g})"
        return f"{word} {self.bound:g} {self.unit}{goal}".strip()


def _rate(case: str) -> Callable[[StageResult], list[float]]:
    def find(result: StageResult) -> list[float]:
        pairs = result.pairs(case, "rate", "uring", "etcd")
        return ratios([own for own, _ in pairs], [other for _, other in pairs])

    return find


def _peak(result: StageResult) -> list[float]:
    pairs = [
        pair for case in result.cases() for pair in result.pairs(case, "peak_mb", "uring", "etcd")
    ]
    return ratios([own for own, _ in pairs], [other for _, other in pairs])


def _failover(result: StageResult) -> list[float]:
    medians = [
        [statistics.median(waits) for waits in result.figures(system, "leader killed", "waits_ms")]
        for system in ("uring", "etcd")
    ]
    return ratios(*medians)


def _own(name: str, *cases: str) -> Callable[[StageResult], list[float]]:
    def find(result: StageResult) -> list[float]:
        chosen = cases or result.cases()
        return [float(each) for case in chosen for each in result.figures("uring", case, name)]

    return find


def _across(figure: str, most: bool = True) -> Callable[[StageResult], list[float]]:
    """Cost of the largest case against that of the smallest, round by round."""

    def find(result: StageResult) -> list[float]:
        sizes = sorted(int(case) for case in result.cases() if case.isdigit())
        if len(sizes) < 2:
            return []
        found = []
        for each in result.rounds:
            cases = each.get("uring", {})
            low, high = (cases.get(str(size), {}).get(figure) for size in (sizes[0], sizes[-1]))
            if low and high:
                found.append(high / low if most else low / high)
        return found

    return find


def _restart_ratio(result: StageResult) -> list[float]:
    many, few = (result.figures("uring", case, "node_s") for case in ("many", "few"))
    return ratios(many, few)


TARGETS = (
    Target("puts, 64 x 16", "rates", 2.5, _rate("puts, 64 x 16"), True, "x etcd", 4.0),
    Target("puts, 64 x 1", "rates", 1.5, _rate("puts, 64 x 1"), True, "x etcd", 2.0),
    Target("puts, one client", "rates", 1.2, _rate("puts, one client"), True, "x etcd"),
    Target(
        "puts over HTTP/JSON, 64", "rates", 1.0, _rate("puts over HTTP/JSON, 64"), True, "x etcd"
    ),
    Target(
        "linearizable reads, 64 x 16 beside etcd's 64",
        "rates",
        3.0,
        _rate("reads, 64 x 16 beside etcd's 64"),
        True,
        "x etcd",
    ),
    Target("leader killed to the next write, medians", "failover", 0.5, _failover, unit="x etcd"),
    Target("elections without a fault", "elections", 0, _own("elections"), unit=""),
    Target("peak memory of a node", "memory", 0.35, _peak, unit="x etcd"),
    Target("p99 of puts during a snapshot, against without", "snapshot", 3.0, _own("ratio")),
    Target("turns late by more than 50 ms during it", "snapshot", 0, _own("late_turns"), unit=""),
    Target("restart to a read, many entries", "restart", 3.0, _own("node_s", "many"), unit="s"),
    Target("the same against few entries", "restart", 2.0, _restart_ratio),
    Target("processor time of a put, most keys against fewest", "keys", 1.3, _across("cpu")),
    Target("rate of puts, fewest keys against most", "keys", 1.3, _across("rate", most=False)),
    Target("processor time of a put, most clients against one", "clients", 1.3, _across("cpu")),
    Target(
        "synced writes for each acknowledged put",
        "syncs",
        2.0,
        _own("syncs_per_put", "one client"),
        True,
        "",
    ),
    Target("synced writes for each log batch", "syncs", 1.0, _own("syncs_per_batch"), True, ""),
    Target("plan for a change of a large ring", "ring", 1.0, _own("seconds"), unit="s"),
    Target("vnodes that it moves beyond the fewest", "ring", 0, _own("surplus"), unit=""),
    Target("largest difference of loads after it", "ring", 1, _own("difference"), unit=""),
    Target("memory of a node with idle connections", "idle", 400, _own("resident_mb"), unit="MB"),
    Target("rate beside idle connections", "idle", 0.8, _own("ratio"), True, "x alone"),
)


def spread_of(target: Target, result: StageResult) -> Spread | None:
    """Return what was measured, or None if it was not."""
    found = target.find(result)
    return spread(found) if found else None
