"""What the load generator can do when the server only answers: it must not be the slow part."""

from __future__ import annotations

from bench.driver import measure
from bench.stages.base import Found, Stage, Turn


def turn(given: Turn) -> Found:
    """Drive nothing, over WebSocket and over gRPC."""
    system = given.system()
    found: Found = {}
    try:
        system.start()
        for protocol in ("websocket", "grpc"):
            for window in (1, 16):
                words: list[object] = [protocol, "--connections", 64, "--window", window]
                case = f"{protocol}, 64 x {window}"
                found[case] = measure(system, [*words, "--seconds", given.seconds])
                given.note(f"  {case}: {found[case]['rate']:,.0f}/s")
    finally:
        system.stop()
    return found


STAGE = Stage("generator", "the load generator's own ceiling", turn, ("null",), seconds=(3.0, 1.0))
