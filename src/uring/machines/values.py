"""The record of one key: revisions, lease, value.

A record is kept under ``k`` and the key's UTF-8: revision of creation (8 bytes), revision of the
last change (8), the id of a lease (8, only if the highest bit of the first byte is set), and the
value's bytes.  Revisions stay far below 2**63, so the bit is free, and the many keys without a
lease do not pay for one.
"""

from __future__ import annotations

import struct

from msgspec import Struct

_HEAD = struct.Struct(">QQ")
_HEAD_BYTES = _HEAD.size
_LEASED = struct.Struct(">QQQ")
_LEASED_BYTES = _LEASED.size
_LEASE_BIT = 1 << 63
LEASE_BYTE = 0x80
"""The bit in the first byte of a record that says that the key hangs on a lease."""
_REVISION = struct.Struct(">Q")


class Found(Struct, frozen=True, gc=False):
    """One key as it is: ``revision`` is that of its last change; ``lease`` is 0 without one."""

    key: str
    value: bytes
    created: int
    revision: int
    lease: int = 0


def encode(value: bytes, created: int, revision: int, lease: int = 0) -> bytes:
    """Return the record of a key."""
    if lease:
        return _LEASED.pack(created | _LEASE_BIT, revision, lease) + value
    return _HEAD.pack(created, revision) + value


def renew(record: bytes, revision: int, value: bytes) -> bytes:
    """Return the record of a key without a lease, after another change."""
    return record[:8] + _REVISION.pack(revision) + value


def created_of(record: bytes) -> int:
    """Return the revision at which the key was created."""
    return int.from_bytes(record[:8]) & ~_LEASE_BIT


def lease_of(record: bytes) -> int:
    """Return the id of the lease that the key hangs on, 0 without one."""
    return int.from_bytes(record[16:24]) if record[0] & LEASE_BYTE else 0


def value_of(record: bytes) -> bytes:
    """Return the value."""
    return record[_LEASED_BYTES if record[0] & LEASE_BYTE else _HEAD_BYTES :]


def shown(record: bytes | None) -> str | bytes | None:
    """Return the value as text where it is UTF-8, as bytes where it is not, None without one."""
    if record is None:
        return None
    value = value_of(record)
    try:  # as text() does; this runs once for each command
        return value.decode()
    except UnicodeDecodeError:
        return value


def text(value: str | bytes) -> str | bytes:
    """Return ``value`` as text where it is UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def found(key: str, record: bytes | None) -> Found | None:
    """Return everything that ``record`` says, or None without one."""
    if record is None:
        return None
    _, revision = _HEAD.unpack_from(record)
    return Found(key, value_of(record), created_of(record), revision, lease_of(record))
