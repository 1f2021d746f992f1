"""How far apart a node's vnodes are: what spoils a window of neighbours, counted.

The replicas of a vnode are the owners of it and of the vnodes after it, ``replicas`` in all, around
the circle.  Two vnodes *clash* when they are less than ``replicas`` apart and have the same owner:
some vnode then has a node twice among its replicas.  They clash mildly when their owners share a
zone and there are zones enough to avoid that.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from operator import eq

from attrs import define, field

from uring.machines.ring.seats import NOBODY, Owners, Seat, zone_name

CLASH = 1 << 16
"""What two vnodes of one node cost; two of one zone cost 1, which never outweighs it."""


def chromatic(size: int, replicas: int) -> int:
    """Return how many nodes, equally loaded, are enough for a ring without a clash.

    A node can own every ``replicas``-th vnode at most.  (It is the chromatic number of the power of
    a cycle.)
    """
    return -(-size // (size // replicas))


def spaced(size: int, replicas: int, loads: Iterable[int]) -> bool:
    """Tell whether some ring with these loads has no clash at all: the largest load decides."""
    return max(loads, default=0) <= size // replicas


def most_spaced(vnodes: Sequence[int], size: int, replicas: int) -> int:
    """Return how many of ``vnodes`` (ascending) one node can own at most without a clash.

    Taking the next one that is far enough is best once it is known where to begin, and one of those
    within ``replicas`` of the first must be a beginning.
    """
    best = 0
    for place, begin in enumerate(vnodes):
        if begin - vnodes[0] >= replicas:
            break
        count, last = 1, begin
        for vnode in vnodes[place + 1 :]:
            if vnode - last >= replicas and vnode - begin <= size - replicas:
                count, last = count + 1, vnode
        best = max(best, count)
    return best


@define
class Board:
    """Owners while they are being changed, and what each change would cost."""

    owners: Owners
    replicas: int
    zones: Mapping[int, int]
    """Slot -> a number for its zone; empty when no two nodes share one."""
    spread: int = 1
    """Neighbours that should be in distinct zones."""
    size: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.size = len(self.owners)

    def cost(self, vnode: int, slot: int) -> int:
        """Return what it would cost that ``slot`` owns ``vnode``: its clashes with neighbours."""
        owners, size, found = self.owners, self.size, 0
        for step in range(1, self.replicas):
            found += (owners[vnode - step] == slot) + (owners[(vnode + step) % size] == slot)
        if not self.zones:
            return found * CLASH
        zones, mild = self.zones, 0
        zone = zones.get(slot, -1)
        for step in range(1, self.spread):
            mild += (zones.get(owners[vnode - step]) == zone) + (
                zones.get(owners[(vnode + step) % size]) == zone
            )
        return found * CLASH + mild

    def clashing(self) -> list[int]:
        """Return every vnode that clashes with another one, ascending: looks at the whole ring."""
        owners, size = self.owners, self.size
        found: set[int] = set()
        for step in range(1, self.replicas):
            for vnode in _meeting(owners, step):
                if owners[vnode] != NOBODY:
                    found.update((vnode, (vnode + step) % size))
        if self.zones:
            located = array("H", [self.zones.get(slot, NOBODY) for slot in owners])
            for step in range(1, self.spread):
                for vnode in _meeting(located, step):
                    if located[vnode] != NOBODY:
                        found.update((vnode, (vnode + step) % size))
        return sorted(found)


def _meeting(values: Owners, step: int) -> Iterator[int]:
    """Yield every place that holds the same as the one ``step`` further on."""
    return compress(range(len(values)), map(eq, values, values[step:] + values[:step]))


def board(owners: Owners, replicas: int, seats: Sequence[Seat]) -> Board:
    """Return a board over ``owners`` (not a copy) for nodes at ``seats``."""
    numbers: dict[str, int] = {}
    zones: dict[int, int] = {}
    for seat in seats:
        zones[seat.slot] = numbers.setdefault(zone_name(seat), len(numbers))
    if len(numbers) == len(seats) or replicas == 1:
        return Board(owners, replicas, {})
    return Board(owners, replicas, zones, min(replicas, len(numbers)))


def windows_spoiled(owners: Owners, replicas: int, vnodes: Iterable[int] | None = None) -> int:
    """Return how many vnodes have a node twice among their replicas.

    With ``vnodes`` only those whose replicas include one of these are looked at.
    """
    size = len(owners)
    if replicas == 1 or not size or owners[0] == NOBODY:
        return 0
    if vnodes is None:
        vnodes = {vnode for step in range(1, replicas) for vnode in _meeting(owners, step)}
    wrapped = owners + owners[: replicas - 1]
    starts = {(vnode - step) % size for vnode in vnodes for step in range(replicas)}
    return sum(len(set(wrapped[start : start + replicas])) < replicas for start in starts)
