"""What placement is about: vnodes in a circle, nodes that own them, and how much each should own.

Owners are kept as small numbers, one for each vnode, in an array: a node's slot.  All arithmetic is
in integers, and whatever could be chosen in several ways is chosen by the order of adding, so that
every replica chooses alike.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import ne
from typing import TypeAlias

from attrs import frozen

NOBODY = 0xFFFF
"""The owner of a vnode that has none."""

SLOTS_MAX = 0xFFFF
"""Slots there can be."""

Owners: TypeAlias = "array[int]"
Moves: TypeAlias = dict[int, int]
"""Vnode -> the slot that is to own it."""


@frozen
class Seat:
    """A node as placement sees it."""

    slot: int
    weight: int = 1
    zone: str = ""
    """Empty: a zone of its own."""


def pieces(owners: Owners) -> int:
    """Return how many runs there are, without making them."""
    return 1 + sum(map(ne, owners, owners[1:])) if owners else 0


def zone_name(seat: Seat) -> str:
    """Return the zone of a node; one that is in none is in a zone of its own."""
    return f"z{seat.zone}" if seat.zone else f"n{seat.slot}"


def unowned(size: int) -> Owners:
    """Return the owners of a ring that nobody has joined."""
    return array("H", (NOBODY,)) * size


def runs(owners: Owners) -> list[tuple[int, int, int]]:
    """Return (slot, first vnode, last vnode + 1) of each run of vnodes that a slot owns."""
    found, start = [], 0
    for slot, run in groupby(owners):
        end = start + len(list(run))
        found.append((slot, start, end))
        start = end
    return found


def bounds(size: int, seats: Sequence[Seat]) -> list[tuple[int, int]]:
    """Return how many vnodes each node may own: its share by weight, rounded down and up."""
    total = sum(seat.weight for seat in seats)
    shares = [divmod(size * seat.weight, total) for seat in seats]
    return [(share, share + (rest > 0)) for share, rest in shares]


def targets(size: int, seats: Sequence[Seat], loads: Mapping[int, int]) -> dict[int, int]:
    """Return slot -> how many vnodes it is to own so that as few as possible move.

    ``loads`` is what each slot owns now.  Every node keeps what it has as far as its bounds allow.
    When more is kept than there is, some that have too much already give one more; when less, some
    that lack take one more, which moves nothing in itself: so no legal loads need fewer moves.
    Where there is a choice, nodes that were added earlier get more.
    """
    limits = bounds(size, seats)
    wanted = [
        min(max(loads.get(seat.slot, 0), low), high)
        for seat, (low, high) in zip(seats, limits, strict=True)
    ]
    excess = sum(wanted) - size
    for position in range(len(seats) - 1, -1, -1):
        if excess <= 0:
            break
        if wanted[position] > limits[position][0]:
            wanted[position] -= 1
            excess -= 1
    for position in range(len(seats)):
        if excess >= 0:
            break
        if wanted[position] < limits[position][1]:
            wanted[position] += 1
            excess += 1
    return {seat.slot: want for seat, want in zip(seats, wanted, strict=True)}


def fewest_moves(size: int, seats: Sequence[Seat], loads: Mapping[int, int]) -> int:
    """Return how many owned vnodes must change hands, whatever the placement."""
    if not seats:
        return 0
    wanted = targets(size, seats, loads)
    return sum(max(0, load - wanted.get(slot, 0)) for slot, load in loads.items())


def in_turn(need: Mapping[int, int]) -> deque[int]:
    """Return each slot as often as it needs a vnode, evenly mixed."""
    places = sorted(
        ((2 * number + 1) * (1 << 32) // (2 * count), order, slot)
        for order, (slot, count) in enumerate(need.items())
        for number in range(count)
    )
    return deque(slot for _, _, slot in places)
