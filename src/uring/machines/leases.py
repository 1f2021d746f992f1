"""Leases: keys that go when nobody renews them.

The machine knows no time.  A lease is a record of its length and of how often it was renewed; the
leader measures (uring.lessor) and says through the log that one is over, naming the renewal it
measured from, so that a renewal which was applied first wins.

Kept under ``l`` and the id: length in milliseconds, renewals, number of keys; under ``a``, the id,
and a key: nothing, for each key that hangs on it; under ``n`` the last id that was given, and how
many leases there are.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

from uring.machines.base import Readable, Transaction
from uring.machines.commands import Expire, Grant, Invalid, KeepAlive, Lease, Result, Revoke
from uring.machines.limits import (
    LEASE_KEYS_MAX,
    LEASE_TTL_MS_MAX,
    LEASE_TTL_MS_MIN,
    LEASES_MAX,
)
from uring.machines.ring.commands import Refused
from uring.machines.turn import Turn

LeaseCommand: TypeAlias = Grant | KeepAlive | Revoke | Expire

_COUNTERS = b"n"
_PAIR = struct.Struct(">QQ")
_TRIPLE = struct.Struct(">QQQ")
_ID = struct.Struct(">Q")
ID_MAX = 1 << 63


def _record(lease: int) -> bytes:
    return b"l" + _ID.pack(lease)


def _attached(lease: int, key: bytes = b"") -> bytes:
    return b"a" + _ID.pack(lease) + key


def load(state: Readable, lease: int) -> Lease:
    """Return a lease; not ``alive`` if there is none of that id."""
    record = state.get(_record(lease)) if 0 < lease < ID_MAX else None
    if record is None:
        return Lease(lease, 0, False)
    ttl_ms, renewals, _ = _TRIPLE.unpack(record)
    return Lease(lease, ttl_ms, True, renewals)


def every(state: Readable, after: int, count: int) -> list[Lease]:
    """Return up to ``count`` leases with ids greater than ``after``, ascending."""
    found = []
    for key, record in state.iterate(b"l", _record(after + 1)):
        ttl_ms, renewals, _ = _TRIPLE.unpack(record)
        found.append(Lease(_ID.unpack(key[1:])[0], ttl_ms, True, renewals))
        if len(found) == count:
            break
    return found


def keys_of(state: Readable, lease: int) -> list[bytes]:
    """Return the keys (UTF-8) that hang on ``lease``, ascending."""
    if not 0 < lease < ID_MAX:
        return []
    prefix = _attached(lease)
    return [key[len(prefix) :] for key, _ in state.iterate(prefix)]


def attach(transaction: Transaction, lease: int, key: bytes) -> None:
    """Hang ``key`` (UTF-8) on ``lease``, which exists and has room (see :func:`refusal`)."""
    mark = _attached(lease, key)
    if transaction.get(mark) is None:
        transaction.put(mark, b"")
        _count(transaction, lease, 1)


def detach(transaction: Transaction, lease: int, key: bytes) -> None:
    """Take ``key`` off ``lease``."""
    transaction.delete(_attached(lease, key))
    _count(transaction, lease, -1)


def refusal(state: Readable, lease: int, more: int) -> str:
    """Return why ``more`` keys cannot be hung on ``lease``; nothing if they can."""
    record = state.get(_record(lease)) if 0 < lease < ID_MAX else None
    if record is None:
        return f"there is no lease {lease}"
    if _TRIPLE.unpack(record)[2] + more > LEASE_KEYS_MAX:
        return f"a lease has at most {LEASE_KEYS_MAX} keys"
    return ""


def _count(transaction: Transaction, lease: int, change: int) -> None:
    record = transaction.get(_record(lease))
    if record is not None:
        ttl_ms, renewals, keys = _TRIPLE.unpack(record)
        transaction.put(_record(lease), _TRIPLE.pack(ttl_ms, renewals, keys + change))


def grant(transaction: Transaction, command: Grant, turn: Turn) -> Result:
    """Make a lease."""
    if not LEASE_TTL_MS_MIN <= command.ttl_ms <= LEASE_TTL_MS_MAX:
        return Invalid(f"a lease lasts from {LEASE_TTL_MS_MIN} to {LEASE_TTL_MS_MAX} ms")
    record = transaction.get(_COUNTERS)
    last, count = (0, 0) if record is None else _PAIR.unpack(record)
    if count >= LEASES_MAX:
        return Refused("conflict", f"there are {LEASES_MAX} leases already; revoke some")
    transaction.put(_COUNTERS, _PAIR.pack(last + 1, count + 1))
    return _noted(transaction, Lease(last + 1, command.ttl_ms, True), 0, turn)


def keep_alive(transaction: Transaction, command: KeepAlive, turn: Turn) -> Result:
    """Begin the time of a lease anew."""
    lease = load(transaction, command.lease)
    if not lease.alive:
        return lease
    keys = _TRIPLE.unpack(transaction.get(_record(lease.id)) or b"")[2]
    return _noted(transaction, Lease(lease.id, lease.ttl_ms, True, lease.renewals + 1), keys, turn)


def _noted(transaction: Transaction, lease: Lease, keys: int, turn: Turn) -> Lease:
    transaction.put(_record(lease.id), _TRIPLE.pack(lease.ttl_ms, lease.renewals, keys))
    turn.leases.append(lease)
    return lease


def end(transaction: Transaction, lease: Lease, turn: Turn) -> Lease:
    """Forget ``lease``, whose keys are gone already."""
    last, count = _PAIR.unpack(transaction.get(_COUNTERS) or bytes(16))
    transaction.put(_COUNTERS, _PAIR.pack(last, max(0, count - 1)))
    transaction.delete(_record(lease.id))
    ended = Lease(lease.id, lease.ttl_ms, False, lease.renewals)
    turn.leases.append(ended)
    return ended
