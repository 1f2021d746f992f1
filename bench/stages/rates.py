"""How many operations a second, how long each takes, and what they cost."""

from __future__ import annotations

from attrs import frozen

from bench.driver import fill, measure
from bench.stages.base import Figures, Found, Stage, Turn
from bench.systems import System, Uring

KEYS = 10_000
WHOLE = "all of this"
"""The case of what is looked at once, at the end."""

Shape = tuple[str, int, int]
"""Protocol, connections, and requests under way on each."""


@frozen
class Case:
    """One kind of load.

    Where a system has several shapes each is measured, and the best rate counts: etcd does better
    when many callers share a connection, as callers of its own client do.
    """

    name: str
    shapes: dict[str, tuple[Shape, ...]]
    writes: float = 1.0
    """The share of puts."""
    follower: bool = False
    """Whether clients ask the followers only."""
    options: tuple[object, ...] = ()
    uring_options: tuple[object, ...] = ()
    """Those of the load of uring alone."""
    quick: bool = False
    """Whether it is part of the quick measurement."""


def _shapes(
    uring: Shape, *etcd: Shape, pysyncobj: Shape | None = None
) -> dict[str, tuple[Shape, ...]]:
    found = {"uring": (uring,), "etcd": etcd}
    return found if pysyncobj is None else {**found, "pysyncobj": (pysyncobj,)}


_MANY = (("grpc", 64, 16), ("grpc", 16, 64))
_FEW = (("grpc", 64, 1), ("grpc", 4, 16))
_DEEP = _shapes(("websocket", 64, 16), *_MANY)

CASES = (
    Case(
        "puts, 64 x 16",
        _shapes(("websocket", 64, 16), *_MANY, pysyncobj=("lines", 64, 16)),
        quick=True,
    ),
    Case(
        "puts in arrays of 16, 64 x 1 beside etcd's 64 x 16",
        _shapes(("websocket", 64, 1), *_MANY),
        uring_options=("--bundle", 16),
    ),
    Case(
        "puts, 64 x 1",
        _shapes(("websocket", 64, 1), *_FEW, pysyncobj=("lines", 64, 1)),
        quick=True,
    ),
    Case(
        "puts, 64 callers on 4 connections",
        _shapes(("websocket", 4, 16), *_FEW, pysyncobj=("lines", 4, 16)),
    ),
    Case(
        "puts, one client",
        _shapes(("websocket", 1, 1), ("grpc", 1, 1), pysyncobj=("lines", 1, 1)),
        quick=True,
    ),
    Case("puts over HTTP/JSON, 64", _shapes(("rest", 64, 1), ("gateway", 64, 1)), quick=True),
    Case(
        "reads, 64 x 16 beside etcd's 64",
        _shapes(("websocket", 64, 16), *_FEW),
        writes=0.0,
        quick=True,
    ),
    Case("reads, 64 x 16", _DEEP, writes=0.0),
    Case("reads, 64 x 1", _shapes(("websocket", 64, 1), *_FEW), writes=0.0),
    Case("half reads, 64 x 16", _DEEP, writes=0.5, quick=True),
    Case("nine reads a put, 64 x 16", _DEEP, writes=0.1),
    Case(
        "puts to followers, 64 x 16",
        _shapes(("websocket", 64, 16), *_MANY, pysyncobj=("lines", 64, 16)),
        follower=True,
    ),
    Case("reads of followers, 64 x 16", _DEEP, writes=0.0, follower=True),
    Case("values of 16 bytes, 64 x 16", _DEEP, options=("--value", 16)),
    Case(
        "values of 4096 bytes, 64 x 8",
        _shapes(("websocket", 64, 8), ("grpc", 64, 8)),
        options=("--value", 4096),
    ),
    Case("keys of 128 bytes, 64 x 16", _DEEP, options=("--key", 128)),
)


def _best(system: System, case: Case, seconds: float) -> Figures:
    leader = system.leader()
    nodes = [node for node in range(system.nodes) if (node == leader) != case.follower]
    tried = []
    for protocol, connections, window in case.shapes[system.name]:
        words: list[object] = [protocol, "--connections", connections, "--window", window]
        words += ["--seconds", seconds, "--writes", case.writes, "--keys", KEYS, *case.options]
        words += case.uring_options if isinstance(system, Uring) else ()
        figures = measure(system, words, nodes)
        tried.append({**figures, "shape": f"{connections} x {window}"})
    return max(tried, key=lambda figures: float(figures["rate"]))


def turn(given: Turn) -> Found:
    """Do all kinds of work on one cluster that is started for it."""
    system = given.system()
    found: Found = {}
    try:
        system.start()
        fill(system, KEYS)
        for case in CASES:
            if system.name in case.shapes and (case.quick or not given.plan.quick):
                found[case.name] = _best(system, case, given.seconds)
                given.note(f"  {system.name}: {case.name}: {found[case.name]['rate']:,.0f}/s")
        found[WHOLE] = {"peak_mb": system.peak_megabytes()}
        if isinstance(system, Uring):
            found[WHOLE]["reactor_delay_ms"] = system.longest_delay_ms(system.leader())
    finally:
        system.stop()
    return found


STAGE = Stage("rates", "operations a second, latencies, processor time", turn)
