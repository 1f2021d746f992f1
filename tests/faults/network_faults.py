"""Faults of the surroundings: partitions, lost and late packets, wall clocks that jump."""

from __future__ import annotations

import itertools

from tests.faults.injector import SURROUNDINGS, Injector, kind

JUMPS = (-1, 2, -60, 90, -3600, 3600, -86_400, 86_400, -(20 * 365 * 86_400), 10 * 365 * 86_400)
"""Seconds by which a wall clock is off."""


@kind("partition", SURROUNDINGS, needs="cuts", weight=3)
async def partition(faults: Injector) -> None:
    """Two halves that do not hear each other; the leader is mostly in the smaller one."""
    network, members = faults.cluster.network, faults.cluster.inhabited()
    few = faults.victims("one", "leader", "few", "few")
    rest = [slot for slot in members if slot not in few]
    with faults.doing("partition", "from all others", few):
        for one, other in itertools.product(few, rest):
            network.drop(one.number, other.number)
            network.drop(other.number, one.number)
        await faults.pause(0.5, 6.0)
        network.heal()


@kind("oneway", SURROUNDINGS, needs="cuts", weight=2)
async def oneway(faults: Injector) -> None:
    """A node hears the others and is not heard, or the other way round."""
    network, members = faults.cluster.network, faults.cluster.inhabited()
    (slot,) = faults.victims("one", "leader", "leader")
    deaf = faults.random.random() < 0.5
    with faults.doing("oneway", "hears nobody" if deaf else "is heard by nobody", [slot]):
        for other in members:
            if other is not slot:
                pair = (other.number, slot.number) if deaf else (slot.number, other.number)
                network.drop(*pair)
        await faults.pause(0.5, 6.0)
        network.heal()


@kind("partial", SURROUNDINGS, needs="cuts", weight=2)
async def partial(faults: Injector) -> None:
    """Two nodes do not hear each other, and all others hear both."""
    network = faults.cluster.network
    (one,) = faults.victims("one", "leader", "leader")
    others = [slot for slot in faults.cluster.inhabited() if slot is not one]
    if not others:
        return
    other = faults.random.choice(others)
    with faults.doing("partial", "from each other", [one, other], down=1):
        network.drop(one.number, other.number)
        network.drop(other.number, one.number)
        await faults.pause(0.5, 6.0)
        network.heal()


@kind("loss", SURROUNDINGS, needs="cuts")
async def loss(faults: Injector) -> None:
    """Some packets are lost."""
    slots = faults.victims("one", "leader", "all")
    share = faults.random.choice((0.02, 0.1, 0.3))
    with faults.doing("loss", f"{share:.0%}", slots, down=0):
        faults.cluster.network.lose([slot.number for slot in slots], share)
        await faults.pause(2.0, 6.0)
        faults.cluster.network.heal()


@kind("delay", SURROUNDINGS, needs="delays", weight=2)
async def delay(faults: Injector) -> None:
    """Packets come late, and in another order."""
    slots = faults.victims("one", "leader", "all")
    late, reordered = faults.random.choice((5, 30, 150)), faults.random.choice((0, 25))
    with faults.doing("delay", f"{late} ms, {reordered} % reordered", slots, down=0):
        faults.cluster.network.delay([slot.number for slot in slots], late, reordered)
        await faults.pause(2.0, 6.0)
        faults.cluster.network.heal()


@kind("slow", SURROUNDINGS, needs="throttles")
async def slow(faults: Injector) -> None:
    """A link with little room: packets queue up, and some do not fit."""
    slots = faults.victims("one", "leader", "all")
    kilobits = faults.random.choice((100, 300, 1000))
    with faults.doing("slow", f"{kilobits} kbit/s", slots, down=0):
        faults.cluster.network.throttle([slot.number for slot in slots], kilobits)
        await faults.pause(2.0, 6.0)
        faults.cluster.network.heal()


@kind("unplug", SURROUNDINGS, needs="cuts")
async def unplug(faults: Injector) -> None:
    """A node is cut off, from its clients as well."""
    slots = faults.victims("one", "leader", "few")
    with faults.doing("unplug", "the interface is down", slots):
        for slot in slots:
            faults.cluster.network.plug(slot.number, False)
        await faults.pause(0.5, 5.0)
        faults.cluster.network.heal()


@kind("clock", SURROUNDINGS, weight=1.5)
async def clock(faults: Injector) -> None:
    """Wall clocks jump, and stay where they are: that must not matter to anything."""
    slots = faults.victims("one", "leader", "few", "all")
    jumps = {slot.number: faults.random.choice(JUMPS) for slot in slots}
    detail = ", ".join(f"{jump:+d} s" for jump in jumps.values())
    with faults.doing("clock", detail, slots, down=0):
        for slot in slots:
            slot.clock.jump(jumps[slot.number])
        await faults.pause(0.5, 2.0)
