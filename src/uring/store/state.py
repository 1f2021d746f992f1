"""The state of the machines on disk, with the applied index in the same batch as what it covers.

What is committed gathers in memory and is written behind, unsynced: what a crash takes is applied
again from the log, which is compacted only up to what :meth:`StateStore.sync` made durable.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import define, field

from uring.raft.types import ConfState, SnapshotMeta
from uring.store.failures import Health, StoreDamaged, StoreFailed
from uring.store.leveldb import MIB, STATE_WRITE_BUFFER, Database, flush, open_database, read
from uring.store.pending import PENDING_BYTES, Generation, Pending
from uring.store.recent import UNKNOWN, RecentRecords
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
from uring.store.transaction import StateTransaction, ViewDraft
from uring.store.view import StateView, iterate

WANT_SYNC_BYTES = 4 * MIB
"""Unsynced state from which :attr:`StateStore.wants_sync` is True.

A sync makes a table of it.  LevelDB maps the tables that it compacts, four new ones and what they
overlap, so their size counts several times in the memory of a node."""

FLUSH_BYTES = STATE_WRITE_BUFFER // 2
"""Unsynced state from which writes are synced one by one until a flush is through.

LevelDB starts a new write-ahead log when its memtable is full and never syncs the old one.  After
a power loss the old one could lack its end while the new one has its beginning: a hole.  With
every write synced from half the memtable on, the old log is always whole when it is left.  A flush
leaves it, too, and others may write before its table is there: see :meth:`StateStore._flush`.
"""


@define(eq=False)
class WriteJob:
    """Gives LevelDB what had gathered when the job was made; ``write`` is for a disk thread."""

    _store: StateStore
    _generations: list[Generation]

    def write(self) -> None:
        """Write, unsynced (disk thread); once only.  Raises :exc:`StoreFailed`."""
        for generation in self._generations:
            self._store._write(generation)

    def done(self) -> None:
        """Let go of what LevelDB has now (reactor thread)."""
        self._store._forget_written()


@define(eq=False)
class SyncJob:
    """Makes durable what was committed when the job was made; ``write`` is for a disk thread."""

    _store: StateStore
    _written: WriteJob
    applied: tuple[int, int]
    _generation: int
    _counted: int

    def write(self) -> None:
        """Write, flush and sync (disk thread).  Raises :exc:`StoreFailed`."""
        self._written.write()
        self._store._flush(self.applied, self._generation)

    def done(self) -> None:
        """Raise ``synced_index`` (reactor thread)."""
        self._written.done()
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
    _is_flushing: bool = field(default=False, init=False)
    """Writes are synced one by one; set under :attr:`_writing`."""
    gather_bytes: int = PENDING_BYTES
    """What may gather before it is to be written."""
    before_write: Callable[[], None] | None = None
    """Called before commits go to LevelDB: what must not be behind it."""
    _pending: Pending = field(factory=Pending, init=False)
    _recent: RecentRecords = field(factory=RecentRecords, init=False)
    """What was read, or written and has left :attr:`_pending`."""
    # LevelDB must not be closed in one thread while another is inside it.  Taken in this order.
    _flushing: threading.Lock = field(factory=threading.Lock, init=False)
    _writing: threading.Lock = field(factory=threading.Lock, init=False)
    _gate: threading.Lock = field(factory=threading.Lock, init=False)

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
        self._pending.clear()

    # -- reading -----------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None.  Raises :exc:`StoreFailed`."""
        self.health.check()
        known = self._pending.get(key)
        if known is UNKNOWN:
            known = self._recent.get(key)
        if known is not UNKNOWN:
            return known
        with self._gate, self.health.guard():
            value = read(self.db, DATA + key)
            self._recent.keep(key, value)  # of this state: an installation waits for the gate
        return value

    def iterate(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of every key with that prefix, from ``start`` on, ascending.

        Reads a few hundred at a time, fewer of large ones, and what is committed meanwhile may
        show.  Raises :exc:`StoreFailed`.
        """
        self.write_all()
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
        """Take a transaction (see :meth:`StateTransaction.commit`, its only caller)."""
        if generation != self._generation:
            raise RuntimeError("a snapshot was installed since the transaction began")
        if applied[0] < self.applied_index:
            raise ValueError(f"applied index falls from {self.applied_index} to {applied[0]}")
        young = self._pending.young
        young.add(writes, applied)
        self.applied_index, self.applied_term = applied
        if conf_state is not None:
            young.conf_state = self.conf_state = conf_state
        if addresses is not None:
            young.addresses = self.member_addresses = addresses
        if level is not None:
            young.level = self.level = level
        # What a node must know when it starts is written at once.  Where a thread does not come to
        # write, it is waited for.
        must_write = not (conf_state is None and addresses is None and level is None)
        if must_write or (self._pending.leaving and young.is_full(self.gather_bytes)):
            self.write_all()

    @property
    def wants_write(self) -> bool:
        """True when so much has gathered that a :meth:`write` is due."""
        return not self._pending.leaving and self._pending.young.is_full(self.gather_bytes)

    def write(self) -> WriteJob:
        """Make the job that gives LevelDB all that was committed.  Raises :exc:`StoreFailed`."""
        self.health.check()
        if not self._pending.young.is_empty:
            if self.before_write is not None:
                self.before_write()
            leaving = self._pending.turn_over()
            self._unsynced += leaving.exact_size()
            leaving.must_sync = self._unsynced > FLUSH_BYTES
        return WriteJob(self, list(self._pending.leaving))

    def write_all(self) -> None:
        """Give LevelDB all that was committed now.  Raises :exc:`StoreFailed`."""
        if self._pending.leaving or not self._pending.young.is_empty:
            job = self.write()
            job.write()
            job.done()

    def forget_recent(self) -> None:
        """Let go of records that LevelDB has, too."""
        self._recent.clear()

    def _write(self, generation: Generation) -> None:
        """Write ``generation`` if that was not done; in any thread."""
        with self._writing:
            if generation.written or generation.applied is None:
                return
            sync = generation.must_sync or self._is_flushing
            with self.health.guard(), self.db.write_batch(transaction=True, sync=sync) as batch:
                for key, value in generation.writes.items():
                    if value is None:
                        batch.delete(DATA + key)
                    else:
                        batch.put(DATA + key, value)
                batch.put(APPLIED, encode_place(APPLIED, *generation.applied))
                if generation.conf_state is not None:
                    batch.put(CONF_STATE, encode_conf_state(generation.conf_state))
                if generation.addresses is not None:
                    batch.put(MEMBERS, encode_members(generation.addresses))
                if generation.level is not None:
                    batch.put(LEVEL, encode_version(LEVEL, generation.level))
            generation.written = True

    def _forget_written(self) -> None:
        # An installation that came in between would leave values of the state that it replaced.
        with self._gate:
            for generation in self._pending.written():
                self._recent.update(generation.writes, generation.size)

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
        written = self.write()
        applied = (self.applied_index, self.applied_term)
        return SyncJob(self, written, applied, self._generation, self._unsynced)

    def _flush(self, applied: tuple[int, int], generation: int) -> None:
        with self._flushing, self.health.guard():
            if generation != self._generation:
                return
            synced = encode_place(SYNCED, *applied)
            with self._writing:
                self._is_flushing = True
            # LevelDB leaves its write-ahead log before the table is durable, and whoever writes
            # meanwhile writes to the next one.  So it must be whole when it is left: what was
            # written is synced here, and what others write until it is left, by themselves.
            self.db.put(SYNCED, synced, sync=True)
            flush(self.db)
            # A flush reports no error; a write after a failed one does.
            self.db.put(SYNCED, synced, sync=True)
            self._is_flushing = False

    def _show_synced(self, index: int, generation: int, counted: int) -> None:
        # A job of the state before a snapshot says nothing about the state after it.
        if generation == self._generation:
            self.synced_index = max(self.synced_index, index)
            self._unsynced = max(0, self._unsynced - counted)

    # -- snapshots -------------------------------------------------------------------------------

    def snapshot_reader(self) -> SnapshotReader:
        """Hold the state of now for streaming; close the reader when it is no longer needed."""
        self.write_all()
        with self._gate, self.health.guard():
            snapshot = self.db.snapshot()
        return SnapshotReader(snapshot, self._gate, self.health, self.snapshot_meta)

    def view(self) -> StateView:
        """Return the machines' data as they are now, for reading at leisure; close it."""
        self.write_all()
        with self._gate, self.health.guard():
            snapshot = self.db.snapshot()
        return StateView(snapshot, self._gate, self.health)

    def draft(self) -> ViewDraft:
        """Begin changes of the state of now in another thread; close it there.

        A transaction that begins before anything else is committed may take them over.
        """
        return ViewDraft(self.view())

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
        with self._flushing, self._writing, self._gate, self.health.guard():
            self._generation += 1
            self.db.close()
            swap_in(self._directory)
            self.db = open_database(
                self._directory / STATE, STATE_WRITE_BUFFER, create=False, paranoid=self._paranoid
            )
            self.load()
        writer.remove_old()

    def close(self) -> None:
        """Write what gathered and close the database; jobs must have ended."""
        if self.health.failure is None:
            with contextlib.suppress(StoreFailed):  # the log has it
                self.write_all()
        with self._flushing, self._writing, self._gate:
            self.db.close()
