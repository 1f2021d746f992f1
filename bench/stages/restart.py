"""How long a node, and a whole cluster, takes from its start to its first linearizable read."""

from __future__ import annotations

import asyncio

from bench.driver import fill
from bench.padding import pad
from bench.probe import first_granted
from bench.speakers import key_of
from bench.stages.base import Figures, Found, Stage, Turn
from bench.systems import System, Uring

FEW = 1000
GIVE_UP_SECONDS = 120.0
APPLY_SECONDS = 900.0


def _make(given: Turn) -> System:
    if given.kind is not Uring:
        return given.system()
    # As many entries as are asked for stay in the log: by default it is compacted long before.
    kept = 4 * given.plan.entries
    options = (f"--snapshot-entries={kept}", f"--snapshot-bytes={1 << 40}")
    return Uring(given.place / "uring", options)


def _lengthen(system: System, last: int) -> None:
    """Make the log of every node reach to ``last``, and let all apply it."""
    if not isinstance(system, Uring):
        return

    def level() -> bool:
        found = [system.status(node) for node in system.alive()]
        places = {(each["last_index"], each["applied_index"]) for each in found}
        return len(places) == 1 and len(set(places.pop())) == 1

    system.wait_for("nodes that are level", level)
    for node in system.alive():
        system.kill(node)
    for node in range(system.nodes):
        pad(system.directory / f"data-{node}", node + 1, last)
        system.launch(node)
    system.wait_for("nodes that have applied their logs", level, APPLY_SECONDS)
    system.leader()


def _again(system: System) -> Figures:
    """Kill one follower and start it, then all; return the seconds to a read of each."""
    request = system.get_request(key_of(1))
    leader = system.leader()
    follower = (leader + 1) % system.nodes
    index = system.log_index(leader)
    system.kill(follower)
    system.launch(follower)
    one = asyncio.run(first_granted(system, request, [follower], GIVE_UP_SECONDS))
    system.leader()
    for node in range(system.nodes):
        system.kill(node)
    for node in range(system.nodes):
        system.launch(node)
    every = asyncio.run(first_granted(system, request, range(system.nodes), GIVE_UP_SECONDS))
    return {"node_s": round(one, 3), "cluster_s": round(every, 3), "index": index}


def turn(given: Turn) -> Found:
    """Restart with few entries, and with many."""
    system = _make(given)
    found: Found = {}
    try:
        system.start()
        fill(system, FEW)
        found["few"] = {**_again(system), "puts": FEW}
        system.leader()
        fill(system, given.plan.entries)
        _lengthen(system, given.plan.entries)
        found["many"] = {**_again(system), "puts": given.plan.entries}
    finally:
        system.stop()
    for case, figures in found.items():
        given.note(f"  {system.name}: {case}: {figures['node_s']} s, all {figures['cluster_s']} s")
    return found


STAGE = Stage("restart", "start to the first served read", turn, ("uring", "etcd"))
