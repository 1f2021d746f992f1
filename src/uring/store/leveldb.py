"""Opening LevelDB the way this project needs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import plyvel

from uring.store.tails import check_tails

Database = Any
"""A ``plyvel.DB``; the library has no types."""

MIB = 1 << 20
LOG_WRITE_BUFFER = 2 * MIB
"""A memtable lives twice while one is written to a table, and what the log's newest entries are
read from is the window of :class:`uring.store.log.LogStore`, so this one need not be large."""
STATE_WRITE_BUFFER = 32 * MIB
"""The memtable of the state: see :data:`uring.store.state.FLUSH_BYTES` for why it is large."""


def open_database(path: Path, write_buffer: int, *, create: bool, paranoid: bool) -> Database:
    """Open a LevelDB; ``create`` only for a path that does not exist yet.

    Raises :exc:`plyvel.Error`, :exc:`OSError` or :exc:`uring.store.failures.StoreDamaged`.
    """
    if not create:
        check_tails(path)
    return plyvel.DB(
        str(path),
        create_if_missing=create,
        error_if_exists=create,
        paranoid_checks=paranoid,
        write_buffer_size=write_buffer,
        lru_cache_size=32 * MIB,
        bloom_filter_bits=10,
        compression=None,
    )


def read(db: Database, key: bytes) -> bytes | None:
    """Return the value at ``key`` with its block checksum verified, or None."""
    value: bytes | None = db.get(key, verify_checksums=True)
    return value


def flush(db: Database) -> None:
    """Write LevelDB's memtable out to synced tables and wait for it.

    A synced write makes only the current write-ahead log durable, not an older one whose memtable
    is still on its way to a table.  Compacting a range that holds no key flushes both.
    """
    db.compact_range(start=b"\xff\xfe", stop=b"\xff\xff")


def sync_directory(path: Path) -> None:
    """Make renames, creations and removals in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
