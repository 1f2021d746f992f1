"""That nothing is acknowledged before a majority has it on the disk: synced writes are counted.

One client puts one key after the other.  Each put is acknowledged before the next is sent, so each
needs a synced write of its own on two of three nodes at the least: where all nodes together did
fewer than twice as many as there were puts, some were acknowledged too early.  Under many clients
one synced write covers many puts, which is what makes it fast; there each node's own count of
batches written to its log is compared with its synced writes: none may be without one.
"""

from __future__ import annotations

import time
from typing import Any

from bench.driver import load
from bench.stages.base import Figures, Found, Stage, Turn
from bench.strace import SyncCounter, missing_strace
from bench.systems import PySyncObj, System


def _count(system: System, *words: object) -> Figures:
    counters = [
        SyncCounter(system.pid(node), system.directory / f"{node}.strace")
        for node in range(system.nodes)
    ]
    leader = system.leader()
    try:
        before = _log(system, leader)
        figures = load(system.protocol, system.address(leader), *words)
        time.sleep(0.5)  # until the followers have written it, too
        after = _log(system, leader)
    finally:
        counted = [sum(counter.stop().values()) for counter in counters]
    found: Figures = {
        "puts": figures["sent"],
        "syncs": sum(counted),
        "syncs_of_leader": counted[leader],
        "syncs_per_put": sum(counted) / max(1, figures["sent"]),
        "entries": after["entries"] - before["entries"],
    }
    if "batches" in after:
        batches = [new - old for old, new in zip(before["batches"], after["batches"], strict=True)]
        found["batches"] = sum(batches)
        found["syncs_per_batch"] = min(
            syncs / max(1, each) for syncs, each in zip(counted, batches, strict=True)
        )
    return found


def _log(system: System, leader: int) -> dict[str, Any]:
    """Return what the nodes tell of their logs."""
    if isinstance(system, PySyncObj):
        return {"entries": 0}
    log: dict[str, Any] = {"entries": system.log_index(leader)}
    batches = [system.log_batches(node) for node in range(system.nodes)]
    return log if None in batches else {**log, "batches": batches}


def turn(given: Turn) -> Found:
    """Count, with one client and with many."""
    problem = missing_strace()
    if problem:
        given.note(f"  SKIPPED: {problem}")
        return {}
    system = given.system()
    puts = 200 if given.plan.quick else 2000
    try:
        system.start()
        system.leader()
        one = ("--connections", 1, "--warm", 0, "--seconds", 60, "--count", puts)
        many = ("--connections", 64, "--window", 16, "--warm", 0, "--seconds", given.seconds)
        found = {
            "one client": _count(system, *one),
            "64 x 16": _count(system, *many),
        }
    finally:
        system.stop()
    figures = found["one client"]
    given.note(f"  {system.name}: {figures['puts']} puts one by one, {figures['syncs']} syncs")
    return found


STAGE = Stage("syncs", "synced writes against acknowledged puts", turn, rounds=(1, 1))
