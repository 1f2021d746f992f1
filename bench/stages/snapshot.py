"""What clients notice while the whole state is sent to a new learner."""

from __future__ import annotations

import time

from bench.driver import Generator, fill, measure
from bench.stages.base import Figures, Found, Stage, Turn
from bench.systems import System, Uring

VALUE_BYTES = 4096
TRANSFER_SECONDS = 600.0


def late_turns(system: System) -> int:
    """Return how often the reactor of any node was late by more than 50 ms; 0 of other systems."""
    if not isinstance(system, Uring):
        return 0
    return sum(map(system.late_turns, system.alive()))


def turn(given: Turn) -> Found:
    """Fill, write with 64 clients for a while, then add a node while they go on."""
    system = given.system()
    kept = ("rate", "p50_ms", "p99_ms", "p99_9_ms", "ladder_ms")
    # Few keys, small values: what the 64 write is not what the snapshot carries.
    load: list[object] = [system.protocol, "--connections", 64, "--keys", 1000]
    try:
        system.start()
        fill(system, given.plan.state_mb * 1_000_000 // VALUE_BYTES, VALUE_BYTES)
        before = measure(system, [*load, "--seconds", given.seconds])
        protocol, *options = load
        leader = system.leader()
        clients = Generator(
            protocol, system.address(leader), *options, "--seconds", TRANSFER_SECONDS
        )
        index = system.log_index(leader)
        system.wait_for("puts", lambda: system.log_index(leader) > index + 100)
        late = late_turns(system)
        began = time.monotonic()
        node = system.add_learner()
        system.wait_for(
            "a new node with the whole state", lambda: system.caught_up(node), TRANSFER_SECONDS
        )
        took = time.monotonic() - began
        during = clients.stop()
        figures: Figures = {
            "seconds": round(took, 2),
            "ratio": during["p99_ms"] / max(1e-9, before["p99_ms"]),
            "longest_ms": during["ladder_ms"][-1],
        }
        if isinstance(system, Uring):
            figures["late_turns"] = late_turns(system) - late
            figures["reactor_delay_ms"] = max(map(system.longest_delay_ms, system.alive()))
    finally:
        system.stop()
    given.note(
        f"  {system.name}: {took:.1f} s, p99 {before['p99_ms']:.1f} then {during['p99_ms']:.1f} ms"
    )
    return {
        "without": {name: before[name] for name in kept},
        "during": {name: during[name] for name in kept},
        f"{given.plan.state_mb} MB": figures,
    }


STAGE = Stage(
    "snapshot",
    "puts while the state is sent to a new learner",
    turn,
    ("uring", "etcd"),
    rounds=(3, 1),
    seconds=(8.0, 1.0),
)
