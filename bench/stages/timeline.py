"""Operations over time, with a kill of the leader in between."""

from __future__ import annotations

import asyncio
import time

from bench.figures import bins
from bench.probe import Caller
from bench.stages.base import Found, Stage, Turn
from bench.systems import System

WORKERS = 32
BIN_SECONDS = 0.1
PATIENCE_SECONDS = 0.5
"""A worker that had no answer for so long asks another node."""


async def _work(system: System, number: int, done: list[float], began: float, end: float) -> None:
    """Put one key after the other, at one node until it does not answer, then at the next."""
    request = system.put_request(f"timeline-{number}", "v" * 256)
    node = number % system.nodes
    caller = Caller(system.ports[node], system.protocol)
    while time.perf_counter() < end:
        try:
            granted = await asyncio.wait_for(caller.write(request), PATIENCE_SECONDS)
        except (OSError, EOFError, TimeoutError):
            granted = False
            caller.close()
            node = (node + 1) % system.nodes
            caller = Caller(system.ports[node], system.protocol)
        if granted:
            done.append(time.perf_counter() - began)
        else:
            await asyncio.sleep(0.01)
    caller.close()


async def _watch(system: System, length: float, kill_at: float, back_at: float) -> list[float]:
    """Return when each put was answered, in seconds from the begin."""
    done: list[float] = []
    began = time.perf_counter()
    leader = system.leader()
    workers = [
        asyncio.create_task(_work(system, number, done, began, began + length))
        for number in range(WORKERS)
    ]
    await asyncio.sleep(max(0.0, began + kill_at - time.perf_counter()))
    system.kill(leader)
    await asyncio.sleep(max(0.0, began + back_at - time.perf_counter()))
    system.launch(leader)
    await asyncio.gather(*workers)
    return done


def turn(given: Turn) -> Found:
    """Load, kill, start again."""
    system = given.system()
    length = 3.0 * given.seconds
    kill_at, back_at = given.seconds, 2.0 * given.seconds
    try:
        system.start()
        done = asyncio.run(_watch(system, length, kill_at, back_at))
    finally:
        system.stop()
    counts = bins(done, BIN_SECONDS, length)
    given.note(f"  {system.name}: {len(done)} puts")
    figures = {"bin_seconds": BIN_SECONDS, "counts": counts, "kill_at": kill_at, "back_at": back_at}
    return {"puts over time": figures}


STAGE = Stage(
    "timeline", "operations over time around a kill", turn, rounds=(1, 1), seconds=(5.0, 2.0)
)
