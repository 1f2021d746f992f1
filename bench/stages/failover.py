"""How long nobody can write after the leader was killed."""

from __future__ import annotations

import asyncio
import time

from bench.probe import GIVE_UP_SECONDS, first_granted
from bench.stages.base import Found, Stage, Turn
from bench.systems import System, SystemFailed


def kill_leaders(system: System, kills: int) -> list[float]:
    """Kill the leader ``kills`` times; return the milliseconds to the next write of each.

    The killed node is started again, and has to be back before the next kill.
    """
    request = system.put_request("failover", "x")
    found = []
    for _ in range(kills):
        leader = system.leader()
        time.sleep(0.5)  # so that kills are not in step with anything
        system.kill(leader)
        try:
            found.append(
                round(asyncio.run(first_granted(system, request, system.alive())) * 1000, 1)
            )
        except TimeoutError:
            raise SystemFailed(f"{system.name}: no write in {GIVE_UP_SECONDS:g} s") from None
        system.launch(leader)
        time.sleep(1.0)
    return found


def turn(given: Turn) -> Found:
    """Kill this round's share."""
    system = given.system()
    try:
        system.start()
        asyncio.run(first_granted(system, system.put_request("failover", "x"), system.alive()))
        waits = kill_leaders(system, -(-given.plan.kills // given.rounds))
    finally:
        system.stop()
    given.note(f"  {system.name}: {', '.join(f'{each:.0f}' for each in waits)} ms")
    return {"leader killed": {"waits_ms": waits}}


STAGE = Stage("failover", "leader killed to the next committed write", turn, rounds=(4, 1))
