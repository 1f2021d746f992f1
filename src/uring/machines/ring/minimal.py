"""The strategy "minimal": the fewest moves there can be, and among those the fewest clashes.

How many vnodes each node gives and takes follows from the loads alone (:mod:`seats`).  What is free
is which ones.  They are chosen spread over the whole ring, each for somebody whom it does not clash
with; what clashes even so is mended by exchanges that leave all those numbers as they are
(:mod:`mending`).  Without replicas nothing can clash: then a node gives its last vnodes, so that
what a node owns stays in few ranges.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import define, field

from uring.machines.ring.few import choose_few
from uring.machines.ring.mending import mend
from uring.machines.ring.scratch import deal
from uring.machines.ring.seats import (
    NOBODY,
    Moves,
    Owners,
    Seat,
    bounds,
    in_turn,
    runs,
    targets,
    unowned,
)
from uring.machines.ring.spacing import Board, board, chromatic

_LOOK_AHEAD = 64
"""Vnodes looked at around each place where one should be given away."""
_LOOK_ASIDE = 8
"""Nodes that a vnode is offered to before it goes to one that it clashes with."""


def rearrange(
    owners: Owners, loads: Mapping[int, int], seats: Sequence[Seat], replicas: int
) -> Moves:
    """Return what changes hands so that the nodes at ``seats`` own the ring; changes ``owners``.

    ``owners`` may name slots that are at no seat any more, or NOBODY throughout; ``loads`` says how
    many vnodes each slot owns.  Where the ring was nobody's or becomes so, nothing changes hands.
    """
    size = len(owners)
    if not seats:
        owners[:] = unowned(size)
        return {}
    wanted = targets(size, seats, loads)
    enough = chromatic(size, replicas)
    if not any(loads.values()):
        owners[:] = deal(size, replicas, seats, wanted)
        if replicas > 1 and len(seats) >= enough:
            _mend(board(owners, replicas, seats), dict(enumerate(owners)), None, seats)
        return {}
    task = Task(board(owners, replicas, seats), loads, wanted, [seat.slot for seat in seats])
    before = owners[:] if replicas > 1 else owners
    if replicas == 1:
        _last_ones(task)
        return task.moves
    if len(seats) < enough or sum(map(bool, loads.values())) < enough:
        choose_few(task)
    else:
        _hand_out_orphans(task)
        _give_spread(task)
    if len(seats) >= enough:
        _mend(task.board, task.moves, before, seats)
    return task.moves


def _mend(board: Board, moves: Moves, before: Owners | None, seats: Sequence[Seat]) -> None:
    limits = bounds(board.size, seats)
    mend(
        board,
        moves,
        before,
        {seat.slot: bound for seat, bound in zip(seats, limits, strict=True)},
    )


@define
class Task:
    """One change while it is worked out."""

    board: Board
    loads: Mapping[int, int]
    wanted: Mapping[int, int]
    slots: Sequence[int]
    """In the order of adding."""
    give: dict[int, int] = field(init=False)
    """Slot -> vnodes that it is still to give away."""
    need: dict[int, int] = field(init=False)
    """Slot -> vnodes that it still lacks."""
    orphaned: list[int] = field(init=False)
    """Slots that own vnodes and have no seat."""
    moves: Moves = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        surplus = {slot: self.loads.get(slot, 0) - self.wanted[slot] for slot in self.slots}
        self.give = {slot: more for slot, more in surplus.items() if more > 0}
        self.need = {slot: -more for slot, more in surplus.items() if more < 0}
        self.orphaned = sorted(
            slot for slot, load in self.loads.items() if load and slot not in self.wanted
        )

    def move(self, vnode: int, slot: int) -> None:
        """Let ``slot`` own ``vnode``."""
        self.moves[vnode] = slot
        self.board.owners[vnode] = slot


def owned(owners: Owners, slot: int, start: int = 0) -> Iterator[int]:
    """Yield the vnodes of ``slot`` from ``start`` on, around the circle, each once."""
    for begin, end in ((start, len(owners)), (0, start)):
        at = begin
        while True:
            try:
                at = owners.index(slot, at, end)
            except ValueError:
                break
            yield at
            at += 1


def _last_ones(task: Task) -> None:
    """Without replicas: everybody gives its last vnodes, and they are handed out in runs."""
    give, orphaned = dict(task.give), set(task.orphaned)
    free: list[int] = []
    for slot, start, end in reversed(runs(task.board.owners)):
        count = end - start if slot in orphaned else min(end - start, give.get(slot, 0))
        free.extend(range(end - count, end))
        if slot in give:
            give[slot] -= count
    free.sort()
    at = 0
    for slot, count in task.need.items():
        for vnode in free[at : at + count]:
            task.move(vnode, slot)
        at += count


def _take_fitting(queue: deque[int], board: Board, vnode: int) -> int | None:
    """Take the first slot of the queue that ``vnode`` suits, or None: the first few are tried."""
    for position in range(min(len(queue), _LOOK_ASIDE)):
        if board.cost(vnode, queue[position]) == 0:
            slot = queue[position]
            del queue[position]
            return slot
    return None


def _hand_out_orphans(task: Task) -> None:
    """Give the vnodes of nodes that have gone to those that lack some."""
    owners, board = task.board.owners, task.board
    orphans = sorted(vnode for slot in task.orphaned for vnode in owned(owners, slot))
    for vnode in orphans:
        owners[vnode] = NOBODY
    queue = in_turn(task.need)
    rest = []
    for vnode in orphans:
        slot = _take_fitting(queue, board, vnode)
        if slot is None:
            rest.append(vnode)
        else:
            task.move(vnode, slot)
    for vnode in rest:
        task.move(vnode, queue.popleft())
    _recount(task, queue)


def _recount(task: Task, queue: Iterable[int]) -> None:
    task.need = {}
    for slot in queue:
        task.need[slot] = task.need.get(slot, 0) + 1


def _give_spread(task: Task) -> None:
    """Take from those who have too much, evenly around the ring, for those that lack some."""
    if not task.give:
        return
    board, size = task.board, task.board.size
    queue, count = in_turn(task.need), sum(task.give.values())
    for number in range(count):
        start = number * size // count
        for vnode in range(start, min(size, start + _LOOK_AHEAD)):
            if _give(task, vnode, queue):
                break
    for slot in list(task.give):
        _give_the_rest(task, slot, board.size // 2, queue)


def _give(task: Task, vnode: int, queue: deque[int]) -> bool:
    slot = task.board.owners[vnode]
    if task.give.get(slot, 0) <= 0 or vnode in task.moves:
        return False
    taker = _take_fitting(queue, task.board, vnode)
    if taker is None:
        return False
    task.move(vnode, taker)
    task.give[slot] -= 1
    return True


def _give_the_rest(task: Task, slot: int, start: int, queue: deque[int]) -> None:
    """Give what ``slot`` still has to: what fits first, then anything."""
    owners = task.board.owners
    spare: list[int] = []
    for vnode in owned(owners, slot, start):
        if task.give[slot] <= 0:
            return
        if vnode not in task.moves:
            spare.append(vnode)
            _give(task, vnode, queue)
    for vnode in spare:
        if task.give[slot] <= 0:
            return
        if vnode not in task.moves:
            task.move(vnode, queue.popleft())
            task.give[slot] -= 1
