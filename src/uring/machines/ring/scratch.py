"""A ring without clashes from nothing, wherever there can be one.

The vnodes are cut into as many rounds as the largest load, and nodes are dealt over the rounds one
after the other, a vnode to each round, the largest load first.  No node is twice in a round; its
places in consecutive rounds are a round's length apart, or one more where the dealing began a new
row; and only a node that is in every round can meet itself where the circle closes: those come
first, so their rows are straight.  So the distance is never less than the shortest round, which is
as long as ``replicas`` if any ring of these loads can do without clashes.

All rounds alike would give every vnode of a node the same neighbours, and those could not take over
any of them without a clash.  So the order within the rounds is varied afterwards.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from operator import itemgetter

from uring.machines.ring.chance import Sequence64
from uring.machines.ring.seats import Owners, Seat, in_turn, unowned, zone_name
from uring.machines.ring.spacing import Board, board

_ORDERS = 31
"""Different orders of a round."""
_EXCHANGED_MAX = 1 << 16
"""Vnodes of a ring up to which single ones are exchanged."""
_TURNS = 24
"""Rotations of an order that are tried before the next one."""


def deal(size: int, replicas: int, seats: Sequence[Seat], wanted: Mapping[int, int]) -> Owners:
    """Return owners where each slot owns as many vnodes as ``wanted`` says."""
    if replicas == 1:
        return _in_ranges(seats, wanted)
    owners = unowned(size)
    made = board(owners, replicas, seats)
    if made.zones:
        _deal_zones(made, seats, wanted)
        _exchange(made)
        return owners
    rounds = max(wanted.values())
    base, longer = divmod(size, rounds)
    dealt = 0
    for seat in sorted(seats, key=lambda seat: -wanted[seat.slot]):
        for row, first, last in _rows(dealt, wanted[seat.slot], rounds):
            _lay(owners, seat.slot, row, first, last, base, longer)
        dealt += wanted[seat.slot]
    if base < 2 * replicas or rounds < 3:
        _exchange(made)
    else:
        _vary(owners, replicas, base, longer, rounds)
    return owners


def _deal_zones(board: Board, seats: Sequence[Seat], wanted: Mapping[int, int]) -> None:
    """Deal each zone like a node, and its nodes in turn."""
    zones: dict[str, dict[int, int]] = {}
    for seat in seats:
        zones.setdefault(zone_name(seat), {})[seat.slot] = wanted[seat.slot]
    ordered = sorted(zones.values(), key=lambda loads: -sum(loads.values()))
    size = board.size
    rounds = min(size // board.spread, sum(ordered[0].values()))
    base, longer = divmod(size, rounds)
    slots = (slot for loads in ordered for slot in in_turn(loads))
    for dealt, slot in enumerate(slots):
        row, number = divmod(dealt, rounds)
        board.owners[number * base + min(number, longer) + row] = slot


def _in_ranges(seats: Sequence[Seat], wanted: Mapping[int, int]) -> Owners:
    owners = unowned(0)
    for seat in seats:
        owners.extend(array("H", (seat.slot,)) * wanted[seat.slot])
    return owners


def _rows(dealt: int, count: int, rounds: int) -> list[tuple[int, int, int]]:
    """Return (row, first round, last round + 1) of a node that is dealt ``count`` from there on."""
    rows = []
    while count:
        row, first = divmod(dealt, rounds)
        taken = min(count, rounds - first)
        rows.append((row, first, first + taken))
        dealt, count = dealt + taken, count - taken
    return rows


def _lay(
    owners: Owners, slot: int, row: int, first: int, last: int, base: int, longer: int
) -> None:
    """Put ``slot`` at place ``row`` of the rounds; the ``longer`` first have one place more."""
    middle = min(max(first, longer), last)
    for begin, end, length, shift in ((first, middle, base + 1, 0), (middle, last, base, longer)):
        if begin < end:
            start = begin * length + shift + row
            owners[start : start + (end - begin - 1) * length + 1 : length] = array(
                "H", (slot,)
            ) * (end - begin)


def _vary(owners: Owners, replicas: int, base: int, longer: int, rounds: int) -> None:
    """Reorder the rounds; each is turned until it does not clash with the round before."""
    chance = Sequence64(len(owners))
    orders = {
        length: [itemgetter(*chance.permutation(length)) for _ in range(_ORDERS)]
        for length in {base, base + (longer > 0)}
    }
    tail = replicas - 1
    start = 0
    for number in range(rounds - 1):  # the last one stays as it is, and so meets the first
        length = base + (number < longer)
        end = start + length
        if number == 0:
            start = end
            continue
        before = set(owners[start - tail : start])
        after = set(owners[end : end + tail]) if number == rounds - 2 else set()
        order = orders[length][chance.below(_ORDERS)](owners[start:end])
        for _ in range(_TURNS):
            turn = chance.below(length)
            turned = order[turn:] + order[:turn]
            if before.isdisjoint(turned[:tail]) and after.isdisjoint(turned[-tail:]):
                owners[start:end] = array("H", turned)
                break
        else:
            if not before.isdisjoint(owners[start : start + tail]):
                owners[start:end] = array("H", order)  # mended afterwards
        start = end


def _exchange(board: Board) -> None:
    """Exchange vnodes wherever that makes no clash."""
    owners, size = board.owners, board.size
    chance = Sequence64(size)
    if not 1 < size <= _EXCHANGED_MAX:
        return
    for vnode in range(size):
        other = (vnode + 1 + chance.below(size - 1)) % size
        one, two = owners[vnode], owners[other]
        if one == two:
            continue
        owners[vnode], owners[other] = two, one
        if board.cost(vnode, two) or board.cost(other, one):
            owners[vnode], owners[other] = one, two
