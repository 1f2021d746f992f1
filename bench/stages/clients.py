"""Throughput and cost against the number of clients, each with one put under way."""

from __future__ import annotations

from bench.driver import measure
from bench.stages.base import Found, Stage, Turn


def turn(given: Turn) -> Found:
    """Let ever more clients put."""
    system = given.system()
    found: Found = {}
    try:
        system.start()
        for clients in given.plan.clients:
            words: list[object] = [system.protocol, "--connections", clients]
            found[str(clients)] = measure(system, [*words, "--seconds", given.seconds])
            given.note(f"  {system.name}: {clients}: {found[str(clients)]['rate']:,.0f}/s")
    finally:
        system.stop()
    return found


STAGE = Stage("clients", "throughput and cost against the number of clients", turn)
