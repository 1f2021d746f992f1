"""At most once: which batches of which node have been applied (thesis 6.3).

A batch that is proposed again after a lost answer carries the same sequence, and is recognised
here.  What is remembered is a part of the replicated state, so it survives restarts and snapshots.

There is a record for each disk that a proposer ever had: the upper bits of an incarnation name the
disk, and only the lives of one disk can be put in order.  A record holds the incarnation, the floor
(every sequence below it is settled: applied, or given up and never to be applied any more), and one
bit for each sequence from the floor on that has been applied.  The floor moves over applied
sequences by itself, so as long as batches arrive in order the record is 16 bytes; it never has more
than 16 + 128.
"""

from __future__ import annotations

import struct

from uring.machines.base import Transaction

WINDOW = 1024
"""Sequences told apart, from the floor on; a proposer must not have more under way."""

_INSTANCE_SHIFT = 32
_KEY = struct.Struct(">cQI")
_HEAD = struct.Struct(">QQ")
_HEAD_BYTES = _HEAD.size


def first_time(
    transaction: Transaction, proposer: int, incarnation: int, sequence: int, floor: int
) -> bool:
    """Note a batch and return True, or return False if it must not be applied (again)."""
    key = _KEY.pack(b"s", proposer, incarnation >> _INSTANCE_SHIFT)
    record = transaction.get(key)
    known = settled = applied = 0
    if record is not None:
        known, settled = _HEAD.unpack_from(record)
        applied = int.from_bytes(record[_HEAD_BYTES:], "big")
    if incarnation < known:
        return False
    if incarnation > known:
        settled = applied = 0
    if sequence < settled or applied >> (sequence - settled) & 1:
        return False
    # A floor beyond the batch itself would be a lie: the batch is not settled before it applies.
    floor = max(settled, min(floor, sequence), sequence - WINDOW + 1)
    applied = applied >> (floor - settled) | 1 << (sequence - floor)
    run = (~applied & (applied + 1)).bit_length() - 1  # ones at the low end: applied without a gap
    applied >>= run
    bits = applied.to_bytes((applied.bit_length() + 7) // 8, "big")
    transaction.put(key, _HEAD.pack(incarnation, floor + run) + bits)
    return True
