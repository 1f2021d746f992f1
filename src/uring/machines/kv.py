"""Keys and values: put, delete, compare and swap.

A record is kept under ``k`` and the key's UTF-8: revision of creation, revision of the last change,
the value's UTF-8.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

from uring.machines.base import Readable, Transaction
from uring.machines.commands import Cas, Change, Delete, Invalid, Old, Put, Result, Swapped
from uring.machines.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from uring.machines.turn import Turn

CHANNEL = "kv"

_REVISIONS = struct.Struct(">QQ")
_HEAD = _REVISIONS.size

KvCommand: TypeAlias = Put | Delete | Cas


def read(state: Readable, key: str) -> str | None:
    """Return the value under ``key``, or None."""
    try:
        record = state.get(b"k" + key.encode())
    except UnicodeEncodeError:
        return None
    return None if record is None else record[_HEAD:].decode()


def apply(transaction: Transaction, command: KvCommand, turn: Turn) -> Result:
    """Apply ``command``; what changed is noted in ``turn``."""
    kind = type(command)
    try:
        key = b"k" + command.key.encode()
        value = b"" if kind is Delete else command.value.encode()  # type: ignore[union-attr]
        if kind is Cas and command.check is not None:  # type: ignore[union-attr]
            command.check.encode()  # type: ignore[union-attr]  # it is shown to subscribers
    except UnicodeEncodeError:
        return Invalid("text must be encodable as UTF-8")
    if not 1 < len(key) <= KEY_BYTES_MAX + 1:
        return Invalid(f"a key must have 1 to {KEY_BYTES_MAX} bytes")
    if len(value) > VALUE_BYTES_MAX:
        return Invalid(f"a value must have at most {VALUE_BYTES_MAX} bytes")
    record = transaction.get(key)
    if kind is Put:
        return _put(transaction, command, key, value, record, turn)  # type: ignore[arg-type]
    if kind is Delete:
        return _delete(transaction, command, key, record, turn)  # type: ignore[arg-type]
    return _cas(transaction, command, key, value, record, turn)  # type: ignore[arg-type]


def _text(record: bytes | None) -> str | None:
    return None if record is None else record[_HEAD:].decode()


def _store(
    transaction: Transaction, key: bytes, value: bytes, record: bytes | None, turn: Turn
) -> None:
    turn.revision = revision = turn.revision + 1
    created = revision if record is None else _REVISIONS.unpack_from(record)[0]
    transaction.put(key, _REVISIONS.pack(created, revision) + value)


def _put(
    transaction: Transaction,
    command: Put,
    key: bytes,
    value: bytes,
    record: bytes | None,
    turn: Turn,
) -> Result:
    old = _text(record)
    _store(transaction, key, value, record, turn)
    if turn.kv_heard:
        event = {"scope": 0, "key": command.key, "new": command.value, "old": old}
        turn.changes.append(Change(CHANNEL, turn.revision, {"Put": event}))
    return Old(old)


def _delete(
    transaction: Transaction, command: Delete, key: bytes, record: bytes | None, turn: Turn
) -> Result:
    if record is None:
        return Old(None)
    old = _text(record)
    transaction.delete(key)
    turn.revision += 1
    if turn.kv_heard:
        event = {"scope": 0, "key": command.key, "old": old}
        turn.changes.append(Change(CHANNEL, turn.revision, {"Delete": event}))
    return Old(old)


def _cas(
    transaction: Transaction,
    command: Cas,
    key: bytes,
    value: bytes,
    record: bytes | None,
    turn: Turn,
) -> Result:
    old = _text(record)
    if command.lenient and old == command.value:
        return Swapped(True)
    event: dict[str, object] = {"scope": 0, "key": command.key, "new": command.value, "old": old}
    if old != command.check and not (command.lenient and old is None):
        if turn.kv_heard:
            # Nothing changed: the event carries the revision that the state has anyway.
            event["check"] = command.check
            turn.changes.append(Change(CHANNEL, turn.revision, {"CasConflict": event}))
        return Swapped(False, old)
    _store(transaction, key, value, record, turn)
    if turn.kv_heard:
        turn.changes.append(Change(CHANNEL, turn.revision, {"Cas": event}))
    return Swapped(True)
