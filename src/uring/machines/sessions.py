"""At most once: which batches of which node have been applied (thesis 6.3).

A batch that is proposed again after a lost answer carries the same sequence, and is recognised
here.  What is remembered is a part of the replicated state, so it survives restarts and snapshots.
"""

from __future__ import annotations

import struct

import msgspec
from msgspec import Struct

from uring.machines.base import Transaction

APPLIED_MAX = 1024
"""Sequences remembered beyond the floor, for each proposer; it waits for fewer than these."""

_KEY = struct.Struct(">cQ")


class Session(Struct, array_like=True):
    """What is known of one proposer: sequences below ``floor`` are settled."""

    incarnation: int
    floor: int
    applied: list[int]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Session)


def first_time(
    transaction: Transaction, proposer: int, incarnation: int, sequence: int, floor: int
) -> bool:
    """Note a batch and return True, or return False if it must not be applied (again)."""
    key = _KEY.pack(b"s", proposer)
    record = transaction.get(key)
    session = Session(0, 0, []) if record is None else _DECODER.decode(record)
    if incarnation < session.incarnation:
        return False
    if incarnation > session.incarnation:
        session = Session(incarnation, 0, [])
    if sequence < session.floor or sequence in session.applied:
        return False
    session.applied.append(sequence)
    # A floor beyond the batch itself would be a lie; the batch is not settled before it applies.
    session.floor = max(session.floor, min(floor, sequence))
    session.applied = sorted(number for number in session.applied if number >= session.floor)
    if len(session.applied) > APPLIED_MAX:
        session.applied = session.applied[-APPLIED_MAX:]
        session.floor = session.applied[0]
    transaction.put(key, _ENCODER.encode(session))
    return True
