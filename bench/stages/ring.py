"""How long the plan of a change of a large ring takes, and whether it moves the least there can be.

Calls the pure function that the machine calls; no node is started.
"""

from __future__ import annotations

import time
from collections import Counter

from bench.stages.base import Figures, Found, Stage, Turn
from uring.machines.ring.minimal import rearrange
from uring.machines.ring.seats import Owners, Seat, fewest_moves, unowned


def _change(owners: Owners, seats: list[Seat], replicas: int) -> Figures:
    """Let ``seats`` own the ring; return what that took and moved."""
    loads = Counter(owners)
    fewest = fewest_moves(len(owners), seats, loads)
    before = owners[:]
    began = time.perf_counter()
    rearrange(owners, loads, seats, replicas)
    took = time.perf_counter() - began
    moved = sum(old != new for old, new in zip(before, owners, strict=True))
    shares = Counter(owners)
    counts = [shares[seat.slot] for seat in seats]
    return {
        "seconds": round(took, 4),
        "moved": moved,
        "fewest": fewest,
        "surplus": moved - fewest,
        "difference": max(counts) - min(counts),
    }


def turn(given: Turn) -> Found:
    """Make a ring, add a node, remove another."""
    found: Found = {}
    size, count = given.plan.vnodes, given.plan.ring_nodes
    for replicas in (1, 3):
        owners = unowned(size)
        seats = [Seat(slot) for slot in range(count)]
        rearrange(owners, {}, seats, replicas)
        words = f"{size} vnodes, {count} nodes, replicas {replicas}"
        seats.append(Seat(count))
        found[f"{words}: one more"] = _change(owners, seats, replicas)
        del seats[count // 2]
        found[f"{words}: one fewer"] = _change(owners, seats, replicas)
    for case, figures in found.items():
        given.note(f"  {case}: {figures['seconds']} s, {figures['moved']} vnodes move")
    return found


STAGE = Stage("ring", "plans for changes of a large ring", turn, ("uring",), rounds=(3, 1))
