"""Elections that nobody needed: terms that pass while a cluster is loaded and nothing fails."""

from __future__ import annotations

from bench.driver import Generator
from bench.stages.base import Found, Stage, Turn


def turn(given: Turn) -> Found:
    """Load a cluster for long, and compare the terms."""
    system = given.system()
    seconds = given.plan.loaded_seconds
    try:
        system.start()
        leader = system.leader()
        before = system.term(leader)
        words = (system.protocol, system.address(leader), "--connections", 64, "--window", 16)
        figures = Generator(*words, "--seconds", seconds).wait(seconds + 120)
        passed = max(system.term(node) for node in system.alive()) - before
    finally:
        system.stop()
    given.note(f"  {system.name}: {passed} elections in {seconds:g} s of load")
    return {
        "loaded": {"elections": passed, "seconds": seconds, "rate": figures["rate"]},
    }


STAGE = Stage("elections", "elections without a fault", turn, ("uring", "etcd"), rounds=(1, 1))
