"""Keys and values: put, delete, compare and swap."""

from __future__ import annotations

import struct
from typing import TypeAlias

from uring.machines.base import Readable, Transaction
from uring.machines.commands import Cas, Change, Delete, Invalid, Old, Put, Result, Swapped
from uring.machines.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX

CHANNEL = "kv"

_REVISIONS = struct.Struct(">QQ")
"""Revision of creation, revision of the last change; the value's UTF-8 follows."""
_HEAD = _REVISIONS.size

KvCommand: TypeAlias = Put | Delete | Cas


def read(state: Readable, key: str) -> str | None:
    """Return the value under ``key``, or None."""
    try:
        record = state.get(b"k" + key.encode())
    except UnicodeEncodeError:
        return None
    return None if record is None else record[_HEAD:].decode()


def apply(
    transaction: Transaction, command: KvCommand, revision: int, changes: list[Change]
) -> Result:
    """Apply ``command``; a change gets ``revision + 1`` and is appended to ``changes``."""
    try:
        key = b"k" + command.key.encode()
        value = b"" if type(command) is Delete else command.value.encode()  # type: ignore[union-attr]
    except UnicodeEncodeError:
        return Invalid("text must be encodable as UTF-8")
    if not 1 < len(key) <= KEY_BYTES_MAX + 1:
        return Invalid(f"a key must have 1 to {KEY_BYTES_MAX} bytes")
    if len(value) > VALUE_BYTES_MAX:
        return Invalid(f"a value must have at most {VALUE_BYTES_MAX} bytes")
    record = transaction.get(key)
    if type(command) is Put:
        return _put(transaction, command, key, value, record, revision, changes)
    if type(command) is Delete:
        return _delete(transaction, command, key, record, revision, changes)
    return _cas(transaction, command, key, value, record, revision, changes)  # type: ignore[arg-type]


def _text(record: bytes | None) -> str | None:
    return None if record is None else record[_HEAD:].decode()


def _store(
    transaction: Transaction, key: bytes, value: bytes, record: bytes | None, revision: int
) -> None:
    created = revision if record is None else _REVISIONS.unpack_from(record)[0]
    transaction.put(key, _REVISIONS.pack(created, revision) + value)


def _put(
    transaction: Transaction,
    command: Put,
    key: bytes,
    value: bytes,
    record: bytes | None,
    revision: int,
    changes: list[Change],
) -> Result:
    old = _text(record)
    _store(transaction, key, value, record, revision + 1)
    event = {"scope": 0, "key": command.key, "new": command.value, "old": old}
    changes.append(Change(CHANNEL, revision + 1, {"Put": event}))
    return Old(old)


def _delete(
    transaction: Transaction,
    command: Delete,
    key: bytes,
    record: bytes | None,
    revision: int,
    changes: list[Change],
) -> Result:
    old = _text(record)
    if record is not None:
        transaction.delete(key)
        event = {"scope": 0, "key": command.key, "old": old}
        changes.append(Change(CHANNEL, revision + 1, {"Delete": event}))
    return Old(old)


def _cas(
    transaction: Transaction,
    command: Cas,
    key: bytes,
    value: bytes,
    record: bytes | None,
    revision: int,
    changes: list[Change],
) -> Result:
    old = _text(record)
    if command.lenient and old == command.value:
        return Swapped(True)
    if old != command.check and not (command.lenient and old is None):
        conflict = {"scope": 0, "key": command.key, "check": command.check, "conflict": old}
        changes.append(Change(CHANNEL, revision, {"CasConflict": conflict}))
        return Swapped(False, old)
    _store(transaction, key, value, record, revision + 1)
    event = {"scope": 0, "key": command.key, "new": command.value, "old": old}
    changes.append(Change(CHANNEL, revision + 1, {"Cas": event}))
    return Swapped(True)
