"""Placement while there are fewer nodes than a ring without clashes needs.

Clashes cannot be avoided yet, but what is done now decides whether they can be once there are nodes
enough, with the fewest moves.  So the ring is seen as it is going to be: the vnodes fall into as
many classes as nodes are needed, and two of one class never clash.  Each node makes itself at home
in a class, which it does not give away, and all share the classes in which nobody is at home
evenly.  The last node that was missing then finds a whole class for itself, of which each of the
others has just what it must give.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from uring.machines.ring.seats import NOBODY
from uring.machines.ring.spacing import chromatic

if TYPE_CHECKING:
    from uring.machines.ring.minimal import Task


@frozen
class Classes:
    """A ring of ``size`` vnodes cut into rounds of one vnode of each class."""

    size: int
    count: int
    rounds: int

    def of_all(self) -> array[int]:
        """Return the class of every vnode.

        They are dealt as in :mod:`scratch`: class after class over the rounds, first the first
        vnode of each round, then the second.  The first rounds have one vnode more than the others.
        """
        base, longer = divmod(self.size, self.rounds)
        edge = longer * (base + 1)
        dealt = array("H")
        for number in range(self.count):
            stop = -(-(number + 1) * self.size // self.count)
            dealt.extend(array("H", (number,)) * (stop - len(dealt)))
        found = array("H", bytes(2 * self.size))
        at = 0
        for row in range(base + (longer > 0)):
            found[row : edge : base + 1] = dealt[at : at + longer]
            at += longer
            if row < base:
                found[edge + row :: base] = dealt[at : at + self.rounds - longer]
                at += self.rounds - longer
        return found


def classes(size: int, replicas: int) -> Classes:
    """Return the classes of a ring."""
    count = chromatic(size, replicas)
    return Classes(size, count, -(-size // count))


def choose_few(task: Task) -> None:
    """Work out the moves of ``task``."""
    board = task.board
    cut = classes(board.size, board.replicas)
    members: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    """(class, owner) -> vnodes, ascending."""
    for vnode, key in enumerate(zip(cut.of_all(), board.owners, strict=True)):
        members[key].append(vnode)
    for slot in task.orphaned:
        for number in range(cut.count):
            for vnode in members.get((number, slot), ()):
                board.owners[vnode] = NOBODY
    homes = _homes(task.slots, members, cut.count)
    free = [number for number in range(cut.count) if number not in homes.values()]
    others = {number: slot for slot, number in homes.items()}
    for slot in list(task.need):
        home = homes.get(slot, -1)
        foreign = [number for number, host in others.items() if host != slot]
        part, whole = task.need[slot], sum(task.need.values())
        for giver in (*task.orphaned, *task.give):
            pools = _pools(members, giver, home, free, foreign, homes.get(giver, -1))
            _take(task, slot, giver, pools, members, (part, whole))


def _homes(
    slots: Sequence[int], members: dict[tuple[int, int], list[int]], count: int
) -> dict[int, int]:
    """Return slot -> the class that it is at home in: where it has most, the largest first."""
    held = Counter({key: len(vnodes) for key, vnodes in members.items()})
    order = {slot: place for place, slot in enumerate(slots)}
    ranked = sorted(
        ((-held[number, slot], order[slot], number) for number, slot in held if slot in order)
    )
    homes: dict[int, int] = {}
    taken: set[int] = set()
    for _, place, number in ranked:
        slot = slots[place]
        if slot not in homes and number not in taken:
            homes[slot] = number
            taken.add(number)
    for slot in slots:
        if slot not in homes and len(taken) < count:
            homes[slot] = next(number for number in range(count) if number not in taken)
            taken.add(homes[slot])
    return homes


def _pools(
    members: dict[tuple[int, int], list[int]],
    giver: int,
    home: int,
    free: Sequence[int],
    foreign: Sequence[int],
    kept: int,
) -> list[tuple[int, ...]]:
    """Return the classes to take from, the best first; those in one tuple are taken from evenly."""
    shared = tuple(number for number in free if number != home)
    strange = tuple(number for number in foreign if number not in (home, kept))
    return [(home,), shared, strange, (kept,) if kept != home else ()]


def _take(
    task: Task,
    slot: int,
    giver: int,
    pools: Iterable[tuple[int, ...]],
    members: dict[tuple[int, int], list[int]],
    fraction: tuple[int, int],
) -> None:
    """Let ``slot`` have ``fraction`` of what ``giver`` gives, rounded up, if it needs as much."""
    if giver in task.give:
        given = task.give[giver]
    else:
        given = sum(len(vnodes) for (_, owner), vnodes in members.items() if owner == giver)
    share = min(task.need[slot], -(-given * fraction[0] // fraction[1]))
    for pool in pools:
        taken = _evenly([members.get((number, giver), []) for number in pool], share)
        for vnode in taken:
            task.move(vnode, slot)
        share -= len(taken)
        task.need[slot] -= len(taken)
        if giver in task.give:
            task.give[giver] -= len(taken)
        if not share:
            return


def _evenly(lists: Sequence[list[int]], count: int) -> list[int]:
    """Take ``count`` in all from the ends of the lists, in proportion to their lengths."""
    there = sum(map(len, lists))
    if there <= count:
        taken = [vnode for each in lists for vnode in each]
        for each in lists:
            each.clear()
        return taken
    taken = []
    for each in filter(None, lists):
        share = -(-count * len(each) // there)
        count, there = count - share, there - len(each)
        if share:
            taken.extend(each[-share:])
            del each[-share:]
    return taken
