"""Answers that are kept, so that a request which a client repeats applies once.

Kept under ``i`` and the idempotency key: its place in the order of coming, a hash of the command,
and the answer; under ``j`` and the place, the key; under ``o`` the next place, the oldest, and the
bytes of all answers.  The oldest go first, by number and by size, the same on every replica.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple

from uring.machines.base import Transaction
from uring.machines.commands import Invalid, Old, Once, Result, Reused, Swapped, TxnDone
from uring.machines.limits import ONCE_KEPT_BYTES_MAX, ONCE_KEPT_MAX, ONCE_KEY_BYTES_MAX
from uring.machines.values import Found

_COUNTERS = b"o"
_TRIPLE = struct.Struct(">QQQ")
_PLACE = struct.Struct(">Q")
_HASH_BYTES = 16
_HEAD_BYTES = _PLACE.size + _HASH_BYTES + 1
_KINDS: tuple[type[Old | Swapped | TxnDone], ...] = (Old, Swapped, TxnDone)
_ENCODER = msgspec.msgpack.Encoder()
_decode = msgspec.msgpack.decode  # untyped: a value may be text or bytes, which no type may say


def apply(transaction: Transaction, command: Once, run: Callable[[], Result]) -> Result:
    """Return what ``run`` answers, or what it answered when it was run under the same key.

    What was refused as invalid is not kept: nothing happened, and it may be repaired.
    """
    try:
        name = b"i" + command.key.encode()
    except UnicodeEncodeError:
        return Invalid("text must be encodable as UTF-8")
    if not 1 < len(name) <= ONCE_KEY_BYTES_MAX + 1:
        return Invalid(f"an idempotency key must have 1 to {ONCE_KEY_BYTES_MAX} bytes")
    try:
        wanted = hashlib.blake2b(_ENCODER.encode(command.command), digest_size=_HASH_BYTES).digest()
    except UnicodeEncodeError:
        return Invalid("text must be encodable as UTF-8")
    kept = transaction.get(name)
    if kept is not None:
        if kept[_PLACE.size : _HEAD_BYTES - 1] != wanted:
            return Reused()
        return _answer(kept[_HEAD_BYTES - 1], _decode(kept[_HEAD_BYTES:]))
    result = run()
    if isinstance(result, Old | Swapped | TxnDone):
        _keep(transaction, name, wanted, result)
    return result


def _fields(result: Old | Swapped | TxnDone) -> tuple[Any, ...]:
    if isinstance(result, TxnDone):
        results = [None if each is None else astuple(each) for each in result.results]
        return result.succeeded, result.revision, results
    return astuple(result)


def _answer(kind: int, fields: Sequence[Any]) -> Result:
    if _KINDS[kind] is TxnDone:
        succeeded, revision, results = fields
        found = tuple(None if each is None else Found(*each) for each in results)
        return TxnDone(succeeded, revision, found)
    return _KINDS[kind](*fields)


def _keep(
    transaction: Transaction, name: bytes, wanted: bytes, result: Old | Swapped | TxnDone
) -> None:
    counters = transaction.get(_COUNTERS)
    following, oldest, size = (0, 0, 0) if counters is None else _TRIPLE.unpack(counters)
    kind = bytes((_KINDS.index(type(result)),))
    record = _PLACE.pack(following) + wanted + kind + _ENCODER.encode(_fields(result))
    transaction.put(name, record)
    transaction.put(b"j" + _PLACE.pack(following), name)
    following += 1
    size += len(record)
    while following - oldest > 1 and (
        following - oldest > ONCE_KEPT_MAX or size > ONCE_KEPT_BYTES_MAX
    ):
        place = b"j" + _PLACE.pack(oldest)
        old = transaction.get(place)
        if old is not None:
            size -= len(transaction.get(old) or b"")
            transaction.delete(old)
            transaction.delete(place)
        oldest += 1
    transaction.put(_COUNTERS, _TRIPLE.pack(following, oldest, size))
