"""The state of the machines on disk, with the applied index in the same batch as what it covers.

Batches are not synced: what a crash of the machine takes is applied again from the log, which is
compacted only up to what :meth:`StateStore.sync` made durable.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import define, field

from uring.raft.types import ConfState, SnapshotMeta
from uring.store.failures import Health, StoreDamaged
from uring.store.leveldb import MIB, STATE_WRITE_BUFFER, Database, flush, open_database, read
from uring.store.recent import RECORD_OVERHEAD, UNKNOWN, RecentRecords
from uring.store.records import (
    APPLIED,
    CONF_STATE,
    DATA,
    INSTALLED,
    LEVEL,
    MEMBERS,
    OWNER,
    SYNCED,
    decode_conf_state,
    decode_members,
    decode_place,
    decode_version,
    encode_conf_state,
    encode_members,
    encode_place,
    encode_version,
    unprotect,
)
from uring.store.snapshots import STATE, SnapshotReader, SnapshotWriter, swap_in
from uring.store.transaction import StateTransaction
from uring.store.view import StateView, iterate

WANT_SYNC_BYTES = 8 * MIB
"""Unsynced state from which :attr:`StateStore.wants_sync` is True."""

FLUSH_BYTES = STATE_WRITE_BUFFER // 2
"""Unsynced state from which commits are synced one by one until a flush is through.

LevelDB starts a new write-ahead log when its memtable is full and never syncs the old one.  After
a power loss the old one could lack its end while the new one has its beginning: a hole.  With
every commit synced from half the memtable on, the old log is always whole when it is left.
"""


@define(eq=False)
class SyncJob:
    """Makes durable what was committed when the job was made; ``write`` is for a disk thread."""

    _store: StateStore
    applied: tuple[int, int]
    _generation: int
    _counted: int

    def write(self) -> None:
        """Flush and sync (disk thread).  Raises :exc:`StoreFailed`."""
        self._store._flush(self.applied, self._generation)

    def done(self) -> None:
        """Raise ``synced_index`` (reactor thread)."""
        self._store._show_synced(self.applied[0], self._generation, self._counted)


@define(eq=False)
class InstallJob:
    """Replaces the state by a finished snapshot; ``write`` is for a disk thread."""

    _store: StateStore
    _writer: SnapshotWriter

    def write(self) -> None:
        """Swap the directories (disk thread); reads wait for some 20 ms.

        Raises :exc:`StoreFailed`.
        """
        self._store._install(self._writer)

    def done(self) -> None:
        """Nothing is left to show: the new state is visible since ``write`` returned."""


@define(eq=False)
class StateStore:
    """Keys and values of the machines, the applied index, the membership and its addresses."""

    _directory: Path
    db: Database
    health: Health
    _paranoid: bool = True
    applied_index: int = field(default=0, init=False)
    applied_term: int = field(default=0, init=False)
    installed: tuple[int, int] = field(default=(0, 0), init=False)
    """Where the snapshot stands that this state began with."""
    conf_state: ConfState = field(default=ConfState(), init=False)
    member_addresses: Mapping[int, str] = field(factory=dict, init=False)
    level: int = field(default=1, init=False)
    """The cluster's feature level; 1 where nothing is said of it."""
    synced_index: int = field(default=0, init=False)
    """The applied index that is certainly durable.  Invariant: synced_index <= applied_index."""
    instance_id: bytes = field(default=b"", init=False)
    _generation: int = field(default=0, init=False)
    _unsynced: int = field(default=0, init=False)
    _recent: RecentRecords = field(factory=RecentRecords, init=False)
    # LevelDB must not be closed in one thread while another is inside it.
    _gate: threading.Lock = field(factory=threading.Lock, init=False)
    _flushing: threading.Lock = field(factory=threading.Lock, init=False)

    def load(self) -> None:
        """Read the small records.  Raises :exc:`StoreFailed`."""
        with self.health.guard():
            installed, owner = read(self.db, INSTALLED), read(self.db, OWNER)
            if installed is None or owner is None:
                raise StoreDamaged("the state lacks its installation record")
            self.installed = decode_place(INSTALLED, installed)
            self.instance_id = unprotect(OWNER, owner)
            applied = read(self.db, APPLIED) or encode_place(APPLIED, 0, 0)
            self.applied_index, self.applied_term = decode_place(APPLIED, applied)
            conf, members = read(self.db, CONF_STATE), read(self.db, MEMBERS)
            self.conf_state = decode_conf_state(conf) if conf is not None else ConfState()
            self.member_addresses = decode_members(members) if members is not None else {}
            level = read(self.db, LEVEL)
            self.level = decode_version(LEVEL, level) if level is not None else 1
        # LevelDB writes all it recovers to synced tables before it is open.
        self.synced_index = self.applied_index
        self._unsynced = 0
        self._recent.clear()

    # -- reading -----------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None.  Raises :exc:`StoreFailed`."""
        self.health.check()
        recent = self._recent.get(key)
        if recent is not UNKNOWN:
            return recent
        with self._gate, self.health.guard():
            value = read(self.db, DATA + key)
        self._recent.keep(key, value)
        return value

    def iterate(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of every key with that prefix, from ``start`` on, ascending.

        Reads a few hundred at a time, fewer of large ones, and what is committed meanwhile may
        show.  Raises :exc:`StoreFailed`.
        """
        return iterate(lambda: self.db, self._gate, self.health, prefix, start)

    @property
    def snapshot_meta(self) -> SnapshotMeta:
        """The place in the log and the membership that the state stands for now."""
        return SnapshotMeta(self.applied_index, self.applied_term, self.conf_state)

    # -- writing -----------------------------------------------------------------------------

    def begin(self) -> StateTransaction:
        """Begin a transaction; one at a time, as they are not isolated from each other."""
        self.health.check()
        return StateTransaction(self, self._generation)

    def apply(
        self,
        generation: int,
        writes: Mapping[bytes, bytes | None],
        applied: tuple[int, int],
        conf_state: ConfState | None,
        addresses: Mapping[int, str] | None,
        level: int | None,
    ) -> None:
        """Write a transaction (see :meth:`StateTransaction.commit`, its only caller)."""
        if generation != self._generation:
            raise RuntimeError("a snapshot was installed since the transaction began")
        if applied[0] < self.applied_index:
            raise ValueError(f"applied index falls from {self.applied_index} to {applied[0]}")
        size = sum(map(len, writes)) + sum(map(len, filter(None, writes.values())))
        size += len(writes) * RECORD_OVERHEAD
        with self._gate, self.health.guard():
            self._unsynced += size + 4 * RECORD_OVERHEAD
            must_sync = self._unsynced > FLUSH_BYTES
            with self.db.write_batch(transaction=True, sync=must_sync) as batch:
                for key, value in writes.items():
                    if value is None:
                        batch.delete(DATA + key)
                    else:
                        batch.put(DATA + key, value)
                batch.put(APPLIED, encode_place(APPLIED, *applied))
                if conf_state is not None:
                    batch.put(CONF_STATE, encode_conf_state(conf_state))
                if addresses is not None:
                    batch.put(MEMBERS, encode_members(addresses))
                if level is not None:
                    batch.put(LEVEL, encode_version(LEVEL, level))
            self.applied_index, self.applied_term = applied
            self.conf_state = self.conf_state if conf_state is None else conf_state
            if addresses is not None:
                self.member_addresses = addresses
            self.level = self.level if level is None else level
            self._recent.update(writes, size)

    # -- durability ----------------------------------------------------------------------------

    @property
    def wants_sync(self) -> bool:
        """True when so much is unsynced that a :meth:`sync` is due."""
        return self._unsynced > WANT_SYNC_BYTES

    def sync(self) -> SyncJob:
        """Make the job that makes the state of now durable.

        It may wait for a compaction of LevelDB, so it belongs in a disk thread that the log does
        not use.  Raises :exc:`StoreFailed`.
        """
        self.health.check()
        applied = (self.applied_index, self.applied_term)
        return SyncJob(self, applied, self._generation, self._unsynced)

    def _flush(self, applied: tuple[int, int], generation: int) -> None:
        with self._flushing, self.health.guard():
            if generation != self._generation:
                return
            flush(self.db)
            # A flush reports no error; a write after a failed one does.
            self.db.put(SYNCED, encode_place(SYNCED, *applied), sync=True)

    def _show_synced(self, index: int, generation: int, counted: int) -> None:
        # A job of the state before a snapshot says nothing about the state after it.
        if generation == self._generation:
            self.synced_index = max(self.synced_index, index)
            self._unsynced = max(0, self._unsynced - counted)

    # -- snapshots -------------------------------------------------------------------------------

    def snapshot_reader(self) -> SnapshotReader:
        """Hold the state of now for streaming; close the reader when it is no longer needed."""
        with self._gate, self.health.guard():
            snapshot = self.db.snapshot()
        return SnapshotReader(snapshot, self._gate, self.health, self.snapshot_meta)

    def view(self) -> StateView:
        """Return the machines' data as they are now, for reading at leisure; close it."""
        with self._gate, self.health.guard():
            snapshot = self.db.snapshot()
        return StateView(snapshot, self._gate, self.health)

    def snapshot_writer(self) -> SnapshotWriter:
        """Begin to receive a snapshot beside the present state; an unfinished one is dropped."""
        return SnapshotWriter(self._directory, self.instance_id, self.health)

    def install(self, writer: SnapshotWriter) -> InstallJob:
        """Make the job that replaces the state by a finished snapshot.

        Afterwards the log must be told (``LogStore.prepare(..., snapshot_meta=...)``); a crash in
        between is repaired at the next opening.  Raises :exc:`StoreFailed`, and
        :exc:`ValueError` if ``writer`` is not finished or behind the state.
        """
        self.health.check()
        if not writer.finished or writer.place[0] < self.applied_index:
            raise ValueError("the snapshot is not finished, or older than the state")
        return InstallJob(self, writer)

    def _install(self, writer: SnapshotWriter) -> None:
        with self._flushing, self._gate, self.health.guard():
            self._generation += 1
            self.db.close()
            swap_in(self._directory)
            self.db = open_database(
                self._directory / STATE, STATE_WRITE_BUFFER, create=False, paranoid=self._paranoid
            )
            self.load()
        writer.remove_old()

    def close(self) -> None:
        """Close the database; jobs must have ended."""
        with self._flushing, self._gate:
            self.db.close()
