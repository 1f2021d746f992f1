"""Keys and values: put, delete, compare and swap, read, list."""

from __future__ import annotations

from typing import TypeAlias

from uring.machines.base import Readable, Transaction
from uring.machines.commands import (
    Cas,
    Delete,
    Invalid,
    List,
    Old,
    Page,
    Put,
    Result,
    Swapped,
)
from uring.machines.events import KeyPut, KeySwapped, SwapRefused
from uring.machines.keys import note_delete, remove, store
from uring.machines.limits import (
    KEY_BYTES_MAX,
    LIST_BYTES_MAX,
    LIST_COUNT_MAX,
    VALUE_BYTES_MAX,
)
from uring.machines.turn import Turn
from uring.machines.values import LEASE_BYTE, Found, encode, found, shown

KvCommand: TypeAlias = Put | Delete | Cas


def read(state: Readable, key: str) -> str | bytes | None:
    """Return the value under ``key``, or None; bytes where it is no UTF-8."""
    try:
        return shown(state.get(b"k" + key.encode()))
    except UnicodeEncodeError:
        return None


def look(state: Readable, key: str) -> Found | None:
    """Return all that is known of ``key``, or None."""
    try:
        return found(key, state.get(b"k" + key.encode()))
    except UnicodeEncodeError:
        return None


def page(state: Readable, query: List, revision: int) -> Page:
    """Return the keys that ``query`` asks for, at least one if there is one."""
    try:
        prefix = b"k" + query.prefix.encode()
        start = b"k" + query.after.encode() + b"\0" if query.after else prefix
    except UnicodeEncodeError:
        return Page(revision, (), False)
    count = min(query.count, LIST_COUNT_MAX)
    left = min(query.size, LIST_BYTES_MAX)
    items: list[Found] = []
    for name, record in state.iterate(prefix, start):
        left -= len(name) + len(record)
        if len(items) == count or (items and left < 0):
            return Page(revision, tuple(items), True)
        item = found(name[1:].decode(), record)
        assert item is not None
        items.append(item)
    return Page(revision, tuple(items), False)


def apply(transaction: Transaction, command: KvCommand, turn: Turn) -> Result:
    """Apply ``command``; what changed is noted in ``turn``."""
    kind = type(command)
    if kind is Put:
        return put(transaction, command, turn)  # type: ignore[arg-type]
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
    if kind is Delete:
        return _delete(transaction, command, key, record, turn)  # type: ignore[arg-type]
    return _cas(transaction, command, key, value, record, turn)  # type: ignore[arg-type]


def put(transaction: Transaction, command: Put, turn: Turn) -> Result:
    """Apply ``command``; what changed is noted in ``turn``.

    There is most of this one command, on every replica.  So what keys.store() does for a key
    without a lease is done here, without calling four functions for it.
    """
    try:
        key = b"k" + command.key.encode()
        value = command.value.encode()
    except UnicodeEncodeError:
        return Invalid("text must be encodable as UTF-8")
    if not 1 < len(key) <= KEY_BYTES_MAX + 1:
        return Invalid(f"a key must have 1 to {KEY_BYTES_MAX} bytes")
    if len(value) > VALUE_BYTES_MAX:
        return Invalid(f"a value must have at most {VALUE_BYTES_MAX} bytes")
    record = transaction.get(key)
    old: str | bytes | None = None
    if record is None:
        turn.revision = revision = turn.revision + 1
        transaction.put(key, encode(value, revision, revision))
    elif record[0] & LEASE_BYTE:
        old = shown(record)
        store(transaction, key, value, record, turn)
    else:
        turn.revision = revision = turn.revision + 1
        transaction.put(key, record[:8] + revision.to_bytes(8) + value)  # as renew() does
        try:
            old = record[16:].decode()
        except UnicodeDecodeError:  # a transaction stored it
            old = record[16:]
    turn.events.append(KeyPut(command.key, command.value, old))
    return Old(old)


def _delete(
    transaction: Transaction, command: Delete, key: bytes, record: bytes | None, turn: Turn
) -> Result:
    if record is None:
        return Old(None)
    remove(transaction, key, record, turn)
    note_delete(turn, command.key, record)
    return Old(shown(record))


def _cas(
    transaction: Transaction,
    command: Cas,
    key: bytes,
    value: bytes,
    record: bytes | None,
    turn: Turn,
) -> Result:
    old = shown(record)
    if command.lenient and old == command.value:
        return Swapped(True)
    if old != command.check and not (command.lenient and old is None):
        turn.events.append(SwapRefused(command.key, command.value, old, command.check))
        return Swapped(False, old)
    store(transaction, key, value, record, turn)
    turn.events.append(KeySwapped(command.key, command.value, old))
    return Swapped(True)
