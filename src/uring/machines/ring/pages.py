"""Who owns which vnode, stored in pages, so that a change writes about as much as it moves.

There are two of these books.  ``mp``: to whom each vnode is assigned.  ``mo``: who owns it now,
where that is somebody else, because it has not been handed off yet; of that book only the pages
exist that differ.  A page holds its slots one by one, or, where that is shorter, in runs.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable

from uring.machines.base import Readable, Transaction
from uring.machines.ring.record import State
from uring.machines.ring.seats import Owners, pieces, runs, unowned

_ASSIGNED, _OWNED = b"mp", b"mo"
_NUMBER = struct.Struct(">I")
_PAIR = struct.Struct(">HH")
_PLAIN, _RUNS = b"\x00", b"\x01"
_LITTLE = sys.byteorder == "little"
PAGE_VNODES_MIN = 64
PAGES_MAX = 16384
"""A ring is read as a whole to change it, and each page costs about a microsecond."""


def page_vnodes(size: int) -> int:
    """Return how many vnodes a page of a ring has: a power of two."""
    length = PAGE_VNODES_MIN
    while size > length * PAGES_MAX:
        length *= 2
    return length


def _encode(slots: Owners) -> bytes:
    if 4 * pieces(slots) < 2 * len(slots):
        found = runs(slots)
        return _RUNS + b"".join(_PAIR.pack(end - start, slot) for slot, start, end in found)
    plain = slots[:]
    if _LITTLE:
        plain.byteswap()
    return _PLAIN + plain.tobytes()


def _decode(record: bytes) -> Owners:
    if record[:1] == _PLAIN:
        slots = array("H", record[1:])
        if _LITTLE:
            slots.byteswap()
        return slots
    slots = unowned(0)
    for count, slot in _PAIR.iter_unpack(record[1:]):
        slots.extend(array("H", (slot,)) * count)
    return slots


def assigned(state: Readable, ring: State) -> Owners:
    """Return to which slot each vnode is assigned: the whole ring."""
    if ring.strategy == "continuous":
        return of_layout(ring)
    joined = unowned(0)
    for _, record in state.iterate(_ASSIGNED):
        joined.extend(_decode(record))
    return joined or unowned(ring.size)


def of_layout(ring: State) -> Owners:
    """Return the same of a ring that is kept as a layout."""
    slots = unowned(0)
    for node, (_, start, end) in zip(ring.nodes, ring.layout, strict=True):
        slots.extend(array("H", (node.slot,)) * (end - start))
    return slots or unowned(ring.size)


def write(transaction: Transaction, slots: Owners, vnodes: Iterable[int] | None = None) -> None:
    """Write the pages in which ``vnodes`` are, or all."""
    length = page_vnodes(len(slots))
    if vnodes is None:
        numbers: Iterable[int] = range(-(-len(slots) // length))
    else:
        numbers = sorted({vnode // length for vnode in vnodes})
    for number in numbers:
        page = slots[number * length : (number + 1) * length]
        transaction.put(_ASSIGNED + _NUMBER.pack(number), _encode(page))


def _assigned_page(state: Readable, ring: State, number: int) -> Owners:
    length = page_vnodes(ring.size)
    if ring.strategy != "continuous":
        record = state.get(_ASSIGNED + _NUMBER.pack(number))
        if record is None:
            return unowned(min(length, ring.size - number * length))
        return _decode(record)
    first, last = number * length, min(ring.size, (number + 1) * length)
    slots = unowned(last - first)
    for node, (_, start, end) in zip(ring.nodes, ring.layout, strict=True):
        begin, stop = max(start, first), min(end, last)
        if begin < stop:
            slots[begin - first : stop - first] = array("H", (node.slot,)) * (stop - begin)
    return slots


def look(state: Readable, ring: State, vnode: int) -> tuple[int, int]:
    """Return the slot that owns ``vnode`` and the one that it is assigned to."""
    number, place = divmod(vnode, page_vnodes(ring.size))
    target = _assigned_page(state, ring, number)[place]
    record = state.get(_OWNED + _NUMBER.pack(number))
    return (target if record is None else _decode(record)[place]), target


def replicas_of(state: Readable, ring: State, vnode: int) -> list[int]:
    """Return the slots that ``vnode`` and its next neighbours are assigned to."""
    return [look(state, ring, (vnode + step) % ring.size)[1] for step in range(ring.replicas)]


def elsewhere(state: Readable, ring: State) -> dict[int, int]:
    """Return vnode -> who owns it, of every vnode that is assigned to somebody else."""
    found: dict[int, int] = {}
    length = page_vnodes(ring.size)
    for key, record in state.iterate(_OWNED):
        number = _NUMBER.unpack(key[len(_OWNED) :])[0]
        page = _assigned_page(state, ring, number)
        for place, (owner, target) in enumerate(zip(_decode(record), page, strict=True)):
            if owner != target:
                found[number * length + place] = owner
    return found


def write_owners(transaction: Transaction, ring: State, owners: dict[int, int]) -> None:
    """Make ``owners`` (vnode -> slot) the only ones that are not those of the assigned pages."""
    length = page_vnodes(ring.size)
    numbers = {vnode // length for vnode in owners}
    for key, _ in list(transaction.iterate(_OWNED)):
        if _NUMBER.unpack(key[len(_OWNED) :])[0] not in numbers:
            transaction.delete(key)
    pages = {number: _assigned_page(transaction, ring, number) for number in sorted(numbers)}
    for vnode, slot in owners.items():
        number, place = divmod(vnode, length)
        pages[number][place] = slot
    for number, page in pages.items():
        transaction.put(_OWNED + _NUMBER.pack(number), _encode(page))


def hand_over(transaction: Transaction, ring: State, vnode: int) -> None:
    """Let whom ``vnode`` is assigned to own it."""
    number, place = divmod(vnode, page_vnodes(ring.size))
    key = _OWNED + _NUMBER.pack(number)
    record = transaction.get(key)
    if record is None:
        return
    owners, target = _decode(record), _assigned_page(transaction, ring, number)
    owners[place] = target[place]
    if owners == target:
        transaction.delete(key)
    else:
        transaction.put(key, _encode(owners))
