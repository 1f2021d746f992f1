"""What a put costs where there are few keys already, and where there are very many."""

from __future__ import annotations

from bench.driver import fill, measure
from bench.stages.base import Found, Stage, Turn

DRAWN = 200_000
"""Requests made beforehand: so many that the keys they name are no small working set."""


def turn(given: Turn) -> Found:
    """Fill a new cluster for each number of keys, and overwrite them at random."""
    found: Found = {}
    for keys in given.plan.keys:
        system = given.system()
        try:
            system.start()
            fill(system, keys)
            words: list[object] = [system.protocol, "--connections", 64, "--window", 16]
            words += ["--seconds", given.seconds, "--keys", keys, "--prepared", DRAWN]
            figures = measure(system, words)
            found[str(keys)] = {**figures, "peak_mb": system.peak_megabytes()}
            given.note(f"  {system.name}: {keys} keys: {figures['rate']:,.0f}/s")
        finally:
            system.stop()
    return found


STAGE = Stage(
    "keys", "cost of a put against the number of keys", turn, ("uring", "etcd"), seconds=(6.0, 1.0)
)
