"""What very many connections that do nothing cost a node, and those that work beside them."""

from __future__ import annotations

import re
from pathlib import Path

from bench.crowd import Crowd
from bench.driver import fill, measure
from bench.stages.base import Found, Stage, Turn


def _resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def turn(given: Turn) -> Found:
    """Load without the idle ones, with them, and without again."""
    system = given.system()
    words: list[object] = [system.protocol, "--connections", 64, "--window", 16]
    words += ["--seconds", given.seconds]
    try:
        system.start()
        fill(system, 10_000)
        leader = system.leader()
        before = measure(system, words)
        crowd = Crowd(system.ports[leader], given.plan.idle)
        try:
            resident = _resident_mb(system.pid(leader))
            beside = measure(system, words)
            resident = max(resident, _resident_mb(system.pid(leader)))
        finally:
            crowd.close()
        after = measure(system, words)
    finally:
        system.stop()
    alone = (before["rate"] + after["rate"]) / 2
    given.note(f"  {given.plan.idle} idle: {resident:.0f} MB, {beside['rate']:,.0f}/s")
    return {
        f"{given.plan.idle} idle": {
            "resident_mb": resident,
            "lost": crowd.lost,
            "rate": beside["rate"],
            "rate_alone": alone,
            "ratio": beside["rate"] / max(1.0, alone),
        }
    }


STAGE = Stage("idle", "idle connections and subscribers of one node", turn, ("uring",))
