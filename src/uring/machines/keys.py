"""What every command that changes a key does: its record, its lease, its event."""

from __future__ import annotations

from uring.machines import leases
from uring.machines.base import Transaction
from uring.machines.events import KeyDeleted, KeyPut
from uring.machines.limits import KEY_BYTES_MAX
from uring.machines.turn import Turn
from uring.machines.values import LEASE_BYTE, created_of, encode, lease_of, renew, shown, text


def problem(key: str) -> str:
    """Return why ``key`` cannot be one, or nothing."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "text must be encodable as UTF-8"
    return "" if 0 < size <= KEY_BYTES_MAX else f"a key must have 1 to {KEY_BYTES_MAX} bytes"


def store(
    transaction: Transaction,
    name: bytes,
    value: bytes,
    record: bytes | None,
    turn: Turn,
    lease: int = 0,
) -> None:
    """Write ``value``; ``name`` is ``k`` and the key, ``record`` what is there now."""
    turn.revision = revision = turn.revision + 1
    if record is None:
        created = revision
    elif not lease and not record[0] & LEASE_BYTE:
        transaction.put(name, renew(record, revision, value))
        return
    else:
        created = created_of(record)
        held = lease_of(record)
        if held and held != lease:
            leases.detach(transaction, held, name[1:])
    if lease:
        leases.attach(transaction, lease, name[1:])
    transaction.put(name, encode(value, created, revision, lease))


def remove(transaction: Transaction, name: bytes, record: bytes, turn: Turn) -> None:
    """Remove the key that ``record`` is kept for under ``name``."""
    held = lease_of(record)
    if held:
        leases.detach(transaction, held, name[1:])
    transaction.delete(name)
    turn.revision += 1


def note_put(turn: Turn, key: str, value: str | bytes, record: bytes | None) -> None:
    """Tell those who watch of a value that was just stored over ``record``."""
    turn.events.append(KeyPut(key, text(value), shown(record)))


def note_delete(turn: Turn, key: str, record: bytes) -> None:
    """Tell those who watch of a key that was just removed."""
    turn.events.append(KeyDeleted(key, shown(record)))
