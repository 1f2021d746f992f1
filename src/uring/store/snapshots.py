"""Snapshots of the state: read in chunks, received beside the old state, swapped in by renames.

A chunk is a run of records: length of key, length of value (4 bytes each), key, value.  The
digest is SHA-256 over all records, whatever the chunks.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import threading
from pathlib import Path
from typing import Any

import plyvel
from attrs import define, field, frozen

from uring.raft.types import SnapshotMeta
from uring.store.failures import Health, StoreDamaged
from uring.store.leveldb import (
    STATE_WRITE_BUFFER,
    Database,
    flush,
    open_database,
    read,
    sync_directory,
)
from uring.store.records import (
    APPLIED,
    INSTALLED,
    OWNER,
    SNAPSHOT_END,
    SNAPSHOT_START,
    STATE_FORMAT,
    decode_place,
    encode_place,
    encode_version,
    protect,
)

STATE = "state"
STATE_NEW = "state.new"
STATE_OLD = "state.old"

_LENGTHS = struct.Struct(">II")


@frozen
class SnapshotSummary:
    """What a whole snapshot must amount to: records, bytes of all chunks, SHA-256."""

    count: int
    length: int
    digest: bytes


class SnapshotRejected(Exception):
    """The chunks received are not a whole and correct snapshot; the old state stands."""


@define(eq=False)
class _Tally:
    count: int = 0
    length: int = 0
    _hash: Any = field(factory=hashlib.sha256, init=False)

    def add(self, record: bytes) -> None:
        self.count += 1
        self.length += len(record)
        self._hash.update(record)

    def summary(self) -> SnapshotSummary:
        return SnapshotSummary(self.count, self.length, self._hash.digest())


@define(eq=False)
class SnapshotReader:
    """The state at one applied index, unchanged by what is applied later.

    Usable from a disk thread or the reactor's.  An installed snapshot ends it: reads then raise
    :exc:`RuntimeError`.
    """

    _snapshot: Any
    _gate: threading.Lock
    _health: Health
    meta: SnapshotMeta
    _tally: _Tally = field(factory=_Tally, init=False)
    _frontier: bytes = field(default=SNAPSHOT_START, init=False)
    _ended: bool = field(default=False, init=False)

    def read(self, from_key: bytes, max_bytes: int) -> tuple[bytes, bytes | None]:
        """Return a chunk and the position of the next one, None after the last.

        ``from_key`` is b"" or a position returned before, which may be asked for again.  A chunk
        has at least one record, then up to ``max_bytes``.  Raises :exc:`ValueError` for a
        position ahead of what was read, :exc:`StoreFailed`.
        """
        start = from_key or SNAPSHOT_START
        if not SNAPSHOT_START <= start <= self._frontier:
            raise ValueError("no position of this snapshot")
        with self._gate, self._health.guard():
            records, following = self._collect(start, max_bytes)
        if following is None:
            self._ended = True
        return b"".join(records), following

    def _collect(self, start: bytes, max_bytes: int) -> tuple[list[bytes], bytes | None]:
        records: list[bytes] = []
        size = 0
        following = start
        with self._snapshot.iterator(
            start=start, stop=SNAPSHOT_END, verify_checksums=True, fill_cache=False
        ) as items:
            for key, value in items:
                record = _LENGTHS.pack(len(key), len(value)) + key + value
                size += len(record)
                if records and size > max_bytes:
                    return records, following
                records.append(record)
                following = key + b"\x00"
                if key >= self._frontier:
                    self._tally.add(record)
                    self._frontier = following
        return records, None

    def summary(self) -> SnapshotSummary:
        """Return what was read amounts to.  Raises :exc:`ValueError` before the last chunk."""
        if not self._ended:
            raise ValueError("the snapshot was not read to its end")
        return self._tally.summary()

    def close(self) -> None:
        """Let LevelDB forget the old values."""
        with self._gate:
            self._snapshot.close()


@define(eq=False)
class SnapshotWriter:
    """Builds ``state.new/`` from chunks.  All methods write: they belong in a disk thread."""

    _directory: Path
    _instance_id: bytes
    _health: Health
    place: tuple[int, int] = field(default=(0, 0), init=False)
    """The (index, term) that the snapshot stands for, once it is finished."""
    finished: bool = field(default=False, init=False)
    _db: Database = field(default=None, init=False)
    _tally: _Tally = field(factory=_Tally, init=False)
    _last: bytes = field(default=b"", init=False)

    @property
    def position(self) -> bytes:
        """What to ask the reader for next."""
        return self._last + b"\x00" if self._last else b""

    def write(self, chunk: bytes) -> None:
        """Add a chunk.  Raises :exc:`SnapshotRejected` for a wrong one, :exc:`StoreFailed`."""
        items = []
        for record, key, value in _split(chunk):
            if not max(self._last, SNAPSHOT_START) <= key < SNAPSHOT_END or key == self._last:
                raise SnapshotRejected(f"key {key[:40]!r} is out of order")
            self._last = key
            self._tally.add(record)
            items.append((key, value))
        with self._health.guard():
            self._open()
            with self._db.write_batch(transaction=True) as batch:
                for key, value in items:
                    batch.put(key, value)

    def finish(self, expected: SnapshotSummary, meta: SnapshotMeta) -> None:
        """Check the whole, make it durable and mark it complete.

        Raises :exc:`SnapshotRejected` (and removes it), :exc:`StoreFailed`.
        """
        with self._health.guard():
            self._open()
            applied = read(self._db, APPLIED)
            self.place = (0, 0) if applied is None else decode_place(APPLIED, applied)
        if self._tally.summary() != expected or applied is None:
            self.abort()
            raise SnapshotRejected("the snapshot received is not the one that was sent")
        if self.place != (meta.index, meta.term):
            self.abort()
            raise SnapshotRejected(
                f"the snapshot is of index {self.place[0]} (term {self.place[1]}), "
                f"not of {meta.index} (term {meta.term})"
            )
        with self._health.guard():
            complete(self._db, self._instance_id, self.place)
            self._db.close()
            sync_directory(self._directory)
        self.finished = True

    def abort(self) -> None:
        """Remove what was received."""
        if self._db is not None:
            self._db.close()
            shutil.rmtree(self._directory / STATE_NEW, ignore_errors=True)
        self.finished = False

    def remove_old(self) -> None:
        """Remove the state that was replaced; what fails is left for the next opening."""
        shutil.rmtree(self._directory / STATE_OLD, ignore_errors=True)

    def _open(self) -> None:
        if self._db is None:
            path = self._directory / STATE_NEW
            if path.exists():
                shutil.rmtree(path)
            self._db = open_database(path, STATE_WRITE_BUFFER, create=True, paranoid=True)


def _split(chunk: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return (record, key, value) of every record of a chunk."""
    found = []
    offset = 0
    while offset < len(chunk):
        if offset + _LENGTHS.size > len(chunk):
            raise SnapshotRejected("a chunk ends inside a record")
        key_length, value_length = _LENGTHS.unpack_from(chunk, offset)
        middle = offset + _LENGTHS.size + key_length
        end = middle + value_length
        if end > len(chunk):
            raise SnapshotRejected("a chunk ends inside a record")
        found.append((chunk[offset:end], chunk[middle - key_length : middle], chunk[middle:end]))
        offset = end
    return found


def complete(db: Database, instance_id: bytes, place: tuple[int, int]) -> None:
    """Flush everything, then write the records without which a state counts as unfinished."""
    flush(db)
    with db.write_batch(transaction=True, sync=True) as batch:
        batch.put(STATE_FORMAT, encode_version(STATE_FORMAT))
        batch.put(OWNER, protect(OWNER, instance_id))
        batch.put(INSTALLED, encode_place(INSTALLED, *place))


def swap_in(directory: Path) -> None:
    """Put a complete ``state.new`` in place of ``state``, which is kept as ``state.old``."""
    old = directory / STATE_OLD
    if old.exists():
        shutil.rmtree(old)
    (directory / STATE).rename(old)
    (directory / STATE_NEW).rename(directory / STATE)
    sync_directory(directory)


def repair(directory: Path, paranoid: bool) -> None:
    """Finish or undo a swap that a crash cut short.  Raises :exc:`StoreDamaged`."""
    state, new, old = (directory / name for name in (STATE, STATE_NEW, STATE_OLD))
    # A process that was killed between its renames and their sync left names that a loss of power
    # could still take back, after the log has come to rely on them.
    sync_directory(directory)
    if state.exists():
        return
    if new.exists() and _is_complete(new, paranoid):
        new.rename(state)
    elif old.exists():
        old.rename(state)
    else:
        raise StoreDamaged("the directory state is missing")
    sync_directory(directory)


def _is_complete(path: Path, paranoid: bool) -> bool:
    try:
        db = open_database(path, STATE_WRITE_BUFFER, create=False, paranoid=paranoid)
    except (plyvel.Error, StoreDamaged, OSError):
        return False
    try:
        return read(db, INSTALLED) is not None
    finally:
        db.close()


def remove_leftovers(directory: Path) -> None:
    """Remove what an interrupted installation left beside the state."""
    for name in (STATE_NEW, STATE_OLD):
        shutil.rmtree(directory / name, ignore_errors=True)
