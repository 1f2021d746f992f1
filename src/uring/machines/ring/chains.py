"""Exchanges of many vnodes in a chain, for what exchanges of two cannot mend.

A vnode that clashes goes to a node where it does not, that node passes another vnode on to a third
one, and so on, until the last one passes its vnode to the first, or until the loads allow to stop
(an augmenting path, found breadth first).  A vnode that moved already may go back to where it came
from, if another one that stayed moves instead: the number of moves is the same at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from attrs import frozen

from uring.machines.ring.seats import NOBODY, Owners
from uring.machines.ring.spacing import Board

Place: TypeAlias = tuple[int, int]
"""A slot that owns one vnode too many, and how many more vnodes move than before."""

Step: TypeAlias = tuple[int, int]
"""(vnode, its new owner)."""


@frozen
class Chains:
    """Where to look for a chain."""

    board: Board
    origin: Callable[[int], int]
    """Whose a vnode was before the change."""
    may: Callable[[int, int], bool]
    """Whether a slot may own so many vnodes more."""
    slots: Sequence[int]

    def find(self, vnode: int) -> list[Step] | None:
        """Return the steps of a chain that begins with ``vnode``, or None."""
        owners = self.board.owners
        first = owners[vnode]
        came: dict[Place, tuple[Place, Step]] = {}
        waiting: deque[Place] = deque()
        root: Place = (first, 0)
        for place, step in self._onwards(root, (vnode,)):
            if place not in came and place[0] != first:
                came[place] = (root, step)
                waiting.append(place)
        can_lose = self.may(first, -1)
        while waiting:
            place = waiting.popleft()
            slot, more = place
            if more == 0 and can_lose and self.may(slot, 1):
                return _steps(came, place, root)
            for after, step in self._onwards(place, _members(owners, slot)):
                if after == root:
                    return [*_steps(came, place, root), step]
                if after not in came and after[0] != first and step[0] != vnode:
                    came[after] = (place, step)
                    waiting.append(after)
        return None

    def _onwards(self, place: Place, vnodes: Sequence[int]) -> Iterator[tuple[Place, Step]]:
        """Yield where one vnode of the slot can go without a clash, each place once."""
        slot, more = place
        found: set[Place] = set()
        for vnode in vnodes:
            origin = self.origin(vnode)
            for target in self.slots:
                if target == slot:
                    continue
                after = more + (target != origin) - (slot != origin)
                if (target, after) in found or not -1 <= after <= 1:
                    continue
                if self.board.cost(vnode, target) == 0:
                    found.add((target, after))
                    yield (target, after), (vnode, target)


def _members(owners: Owners, slot: int) -> list[int]:
    return [vnode for vnode, owner in enumerate(owners) if owner == slot != NOBODY]


def _steps(came: dict[Place, tuple[Place, Step]], place: Place, root: Place) -> list[Step]:
    steps = []
    while place != root:
        place, step = came[place]
        steps.append(step)
    return steps[::-1]
