"""The most memory that a node had by the end of many puts of different keys."""

from __future__ import annotations

from bench.driver import fill
from bench.stages.base import Found, Stage, Turn


def turn(given: Turn) -> Found:
    """Fill, and look."""
    system = given.system()
    try:
        system.start()
        figures = fill(system, given.plan.puts)
        peak = system.peak_megabytes()
    finally:
        system.stop()
    given.note(f"  {system.name}: {peak:.0f} MB")
    return {f"{given.plan.puts} puts": {"peak_mb": peak, "rate": figures["rate"]}}


STAGE = Stage("memory", "peak memory of a node after many puts", turn)
