"""Faults of processes: kills, pauses, restarts; and changes of who leads."""

from __future__ import annotations

from tests.faults.injector import PROCESSES, Injector, kind
from tests.faults.nodes import Slot
from uring.errors import UringError


@kind("kill", PROCESSES, weight=3)
async def kill(faults: Injector) -> None:
    """kill -9, and a start some time later."""
    cluster = faults.cluster
    slots = faults.victims("one", "leader", "leader", "few", "all")
    with faults.doing("kill", "-9", slots):
        await faults.each(slots, cluster.kill)
        await faults.pause(0.0, 2.5)
        for slot in slots:
            cluster.start(slot)
        await faults.each(slots, faults.serving)


@kind("killloop", PROCESSES)
async def killloop(faults: Injector) -> None:
    """Kill -9 again and again, also while the node is starting."""
    cluster = faults.cluster
    slots = faults.victims("one", "leader")
    with faults.doing("killloop", "five times", slots):
        for _ in range(5):
            await faults.each(slots, cluster.kill)
            for slot in slots:
                cluster.start(slot)
            await faults.pause(0.1, 1.8)
        await faults.each(slots, faults.serving)


@kind("pause", PROCESSES, weight=2)
async def pause(faults: Injector) -> None:
    """SIGSTOP, and SIGCONT some time later."""
    slots = faults.victims("one", "leader", "leader", "few", "most", "all")
    with faults.doing("pause", "SIGSTOP", slots):
        for slot in slots:
            faults.cluster.freeze(slot)
        await faults.pause(0.3, 4.0)
        for slot in slots:
            faults.cluster.thaw(slot)


@kind("stutter", PROCESSES)
async def stutter(faults: Injector) -> None:
    """Many short pauses, as on a machine that has too much to do."""
    slots = faults.victims("one", "leader", "few", "all")
    with faults.doing("stutter", "20 to 250 ms", slots, down=0):
        for _ in range(12):
            slot = faults.random.choice(slots)
            faults.cluster.freeze(slot)
            await faults.pause(0.02, 0.25)
            faults.cluster.thaw(slot)
            await faults.pause(0.01, 0.15)


@kind("restart", PROCESSES)
async def restart(faults: Injector) -> None:
    """A rolling restart: every member is asked to stop and started again, one by one."""
    slots = faults.victims("all")
    with faults.doing("restart", "SIGTERM, one by one", slots, down=1):
        for slot in slots:
            await faults.cluster.stop(slot)
            faults.cluster.start(slot)
            await faults.serving(slot)


@kind("transfer", PROCESSES)
async def transfer(faults: Injector) -> None:
    """Leadership is handed on, several times; a transfer that is refused is none."""
    for _ in range(3):
        asked = faults.random.choice(faults.cluster.inhabited())
        target = faults.random.choice(faults.cluster.inhabited())
        leader = faults.cluster.leader()
        hit = [leader] if leader else []
        with faults.doing("transfer", f"to node {target.node_id}", hit, down=0) as fault:
            try:
                await asked.admin.transfer(target.node_id)
            except UringError as problem:
                fault.detail += f": {type(problem).__name__}"
        await faults.pause(0.1, 1.0)


def vacant(faults: Injector) -> Slot | None:
    """Return a slot where nobody lives."""
    return next((slot for slot in faults.cluster.slots.values() if not slot.node_id), None)


@kind("replace", PROCESSES, weight=1.5)
async def replace(faults: Injector) -> None:
    """A node with a new id joins, and an old one leaves for good."""
    cluster, fresh = faults.cluster, vacant(faults)
    if fresh is None:
        return
    (old,) = faults.victims("one", "leader")
    fresh.node_id = cluster.new_id()
    with faults.doing("replace", f"node {old.node_id} by {fresh.node_id}", [old], down=0):
        cluster.start(fresh)
        await faults.serving(fresh)
        await cluster.add(fresh)
        await cluster.remove(old.node_id)
        old.wanted = False
        await cluster.stop(old)
        cluster.wipe(old)
        old.node_id = 0


@kind("rejoin", PROCESSES)
async def rejoin(faults: Injector) -> None:
    """A member is removed, loses its disk, and is added again under the same id."""
    (slot,) = faults.victims("one", "leader")
    with faults.doing("rejoin", f"node {slot.node_id} with an empty disk", [slot], down=1):
        await again(faults, slot)


async def again(faults: Injector, slot: Slot) -> None:
    """Remove a member, wipe its disk, and add it again."""
    cluster = faults.cluster
    await cluster.remove(slot.node_id)
    await cluster.kill(slot)
    cluster.wipe(slot)
    cluster.start(slot)
    await faults.serving(slot)
    await cluster.add(slot)
