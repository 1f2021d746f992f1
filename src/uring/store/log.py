"""The replicated log on disk, as the core reads it and as the node writes it.

Writing takes three steps, so that the reactor never waits: ``prepare`` (reactor thread) decides
what goes into one batch, ``Batch.write`` (disk thread) writes it synced, ``Batch.done`` (reactor
thread) lets the read side see it.  Batches are written and finished in the order they were
prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import define, evolve, field

from uring.raft.storage import Compacted, SnapshotTemporarilyUnavailable, Unavailable
from uring.raft.types import ConfState, Entry, HardState, Snapshot, SnapshotMeta
from uring.store.failures import Health, StoreDamaged
from uring.store.leveldb import Database, read
from uring.store.records import (
    BOUNDARY,
    ENTRY_END,
    HARD_STATE,
    decode_hard_state,
    decode_place,
    encode_hard_state,
    encode_place,
    entry_index,
    entry_key,
)
from uring.store.window import EntryWindow
from uring.wire.codec import DecodeError, decode_entry, encode_entry

WINDOW_BYTES = 2 << 20
"""Memory for the newest entries: what a follower can be behind without reading LevelDB, which has
them in its memtable or in the page cache.  Entries are kept with their records; both count."""

GARBAGE_ENTRIES = 1000
"""Compacted entries deleted in one batch: about a millisecond of the disk thread."""


@define(eq=False)
class Batch:
    """One synced write, made by :class:`LogStore`."""

    _store: LogStore
    hard_state: HardState | None = None
    entries: Sequence[Entry] = ()
    boundary: tuple[int, int] | None = None
    """The (index, term) up to which the log is gone, where this batch moves it."""
    is_reset: bool = False
    """True when nothing of the log before this batch remains."""
    stale: range = range(0)
    """Indexes of a conflicting tail, deleted with what replaces it."""
    garbage: range = range(0)
    """Indexes below the boundary that this batch deletes."""

    def write(self) -> None:
        """Write everything in one synced batch (disk thread).  Raises :exc:`StoreFailed`."""
        store = self._store
        with store.health.guard(), store.db.write_batch(transaction=True, sync=True) as batch:
            if self.hard_state is not None:
                batch.put(HARD_STATE, encode_hard_state(self.hard_state))
            if self.boundary is not None and self.boundary[0] > store._written_boundary:
                store._written_boundary = self.boundary[0]
                batch.put(BOUNDARY, encode_place(BOUNDARY, *self.boundary))
            for index in self.garbage:
                batch.delete(entry_key(index))
            for index in self.stale:
                batch.delete(entry_key(index))
            for entry in self.entries:
                batch.put(entry_key(entry.index), entry.record)

    def done(self) -> None:
        """Show what was written to the read side (reactor thread)."""
        self._store._show(self)


@define(eq=False)
class LogStore:
    """Entries, hard state and the boundary of one node; implements the core's ``Storage``.

    ``applied_floor`` returns the index up to which the state is durable: the log is never
    compacted past it.  ``snapshot_source`` returns the newest snapshot or raises
    :exc:`SnapshotTemporarilyUnavailable`.
    """

    db: Database
    health: Health
    _conf_state: ConfState = field(factory=ConfState)
    _window_bytes: int = WINDOW_BYTES
    applied_floor: Callable[[], int] | None = None
    snapshot_source: Callable[[], Snapshot] | None = None
    hard_state: HardState = field(factory=HardState, init=False)
    _boundary: tuple[int, int] = field(default=(0, 0), init=False)
    _window: EntryWindow = field(init=False)
    # What the disk will hold when everything prepared is written.
    _next_boundary: int = field(default=0, init=False)
    _next_last: int = field(default=0, init=False)
    # Moved by the thread that writes: a compaction may be overtaken by a snapshot.
    _written_boundary: int = field(default=0, init=False)
    _bytes: float = field(default=0.0, init=False)
    _garbage_start: int = field(default=1, init=False)
    _garbage_stop: int = field(default=1, init=False)

    def __attrs_post_init__(self) -> None:
        self._window = EntryWindow(self._window_bytes)

    # -- opening ---------------------------------------------------------------------------

    def load(self, applied: int) -> None:
        """Read what is on disk and check it; entries after ``applied`` are verified in full.

        Raises :exc:`StoreFailed`.  Nothing is written.
        """
        with self.health.guard():
            self._load_records()
            self._next_last = last = self._check_entries()
            self._window.reset(max(self._boundary[0], min(applied, last)) + 1)
            for entry in self._read(self._window.end, last + 1):
                self._window.extend((entry,))

    def _load_records(self) -> None:
        value = read(self.db, HARD_STATE)
        if value is not None:
            self.hard_state = decode_hard_state(value)
        value = read(self.db, BOUNDARY)
        if value is not None:
            self._boundary = decode_place(BOUNDARY, value)
        self._next_boundary = self._written_boundary = self._boundary[0]

    def _check_entries(self) -> int:
        """Return the last index.

        Entries up to the boundary are garbage of an unfinished compaction and may have holes.
        """
        boundary, last_term = self._boundary
        last = boundary
        self._garbage_start = self._garbage_stop = boundary + 1
        with self.db.iterator(
            start=entry_key(0), stop=ENTRY_END, verify_checksums=True, fill_cache=False
        ) as items:
            for key, record in items:
                index = entry_index(key)
                if index <= boundary:
                    self._garbage_start = min(self._garbage_start, index)
                    self._garbage_stop = index + 1
                    continue
                if index != last + 1:
                    raise StoreDamaged(f"log entries {last + 1} to {index - 1} are missing")
                term = int.from_bytes(record[:8], "big")
                if term < last_term:
                    raise StoreDamaged(f"the term falls from {last_term} to {term} at {index}")
                last, last_term = index, term
                self._bytes += len(record)
        if self.hard_state != HardState() and last_term > self.hard_state.term:
            raise StoreDamaged(f"entry {last} is of term {last_term}, after the hard state's")
        if self.hard_state.commit > last:
            raise StoreDamaged(f"log ends at {last}, before commit index {self.hard_state.commit}")
        return last

    # -- reading (the Storage protocol) ------------------------------------------------------

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Return the hard state on disk and the membership as of the applied index."""
        return self.hard_state, self._conf_state

    def first_index(self) -> int:
        """Return the first index that :meth:`entries` can return."""
        return self._boundary[0] + 1

    def last_index(self) -> int:
        """Return the last durable index."""
        return self._window.end - 1

    def term(self, index: int) -> int:
        """Return the term at ``index``.

        Raises :exc:`Compacted`, :exc:`Unavailable`, :exc:`StoreFailed`.
        """
        if index == self._boundary[0]:
            return self._boundary[1]
        if index < self._boundary[0]:
            raise Compacted(index)
        if index >= self._window.end:
            raise Unavailable(index)
        if index >= self._window.start:
            return self._window.get(index).term
        return self._read_one(index).term

    def entries(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        """Return entries ``low <= index < high``, at least one, then up to ``max_bytes`` of data.

        Raises :exc:`Compacted`, :exc:`Unavailable`, :exc:`StoreFailed`.
        """
        if low <= self._boundary[0]:
            raise Compacted(low)
        if high > self._window.end:
            raise Unavailable(high)
        found: list[Entry] = []
        size = 0
        for entry in self._iterate(low, high):
            size += len(entry.data)
            if found and size > max_bytes:
                break
            found.append(entry)
        return found

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot.  Raises :exc:`SnapshotTemporarilyUnavailable`."""
        if self.snapshot_source is None:
            raise SnapshotTemporarilyUnavailable
        snapshot = self.snapshot_source()
        if snapshot.meta.index < self._boundary[0]:
            raise SnapshotTemporarilyUnavailable
        return snapshot

    def _iterate(self, low: int, high: int) -> Iterator[Entry]:
        start = self._window.start
        if low < start:
            with self.health.guard():
                yield from self._read(low, min(high, start))
        for index in range(max(low, start), high):
            yield self._window.get(index)

    def _read(self, low: int, high: int) -> Iterator[Entry]:
        """Read and verify consecutive entries from disk."""
        if low >= high:
            return
        expected = low
        with self.db.iterator(
            start=entry_key(low), stop=entry_key(high), verify_checksums=True
        ) as items:
            for key, record in items:
                if entry_index(key) != expected:
                    break
                yield _decode(expected, record)
                expected += 1
        if expected != high:
            raise StoreDamaged(f"log entry {expected} is missing")

    def _read_one(self, index: int) -> Entry:
        with self.health.guard():
            record = read(self.db, entry_key(index))
            if record is None:
                raise StoreDamaged(f"log entry {index} is missing")
            return _decode(index, record)

    # -- writing -----------------------------------------------------------------------------

    def prepare(
        self,
        hard_state: HardState | None = None,
        entries: Sequence[Entry] = (),
        snapshot_meta: SnapshotMeta | None = None,
    ) -> Batch:
        """Make the batch of one Ready: hard state, entries after a snapshot if there is one.

        Entries replace whatever the log holds from the first of them on.  A snapshot replaces the
        whole log, so the state must have been installed first.  Raises :exc:`StoreFailed`, and
        :exc:`ValueError` for entries that do not follow the log.
        """
        self.health.check()
        batch = Batch(self, hard_state)
        if snapshot_meta is not None:
            self._plan_reset(batch, snapshot_meta)
        if entries:
            self._plan_entries(batch, entries)
        return batch

    def _plan_reset(self, batch: Batch, meta: SnapshotMeta) -> None:
        self._check_floor(meta.index)
        batch.boundary = (meta.index, meta.term)
        batch.is_reset = True
        # What lies below the new boundary is garbage from now on; what lies above would be read.
        batch.stale = range(max(meta.index, self._next_boundary) + 1, self._next_last + 1)
        self._next_boundary = self._next_last = meta.index

    def _plan_entries(self, batch: Batch, entries: Sequence[Entry]) -> None:
        first = entries[0].index
        if not self._next_boundary < first <= self._next_last + 1:
            raise ValueError(f"entry {first} does not follow the log, which ends {self._next_last}")
        if any(entry.index != first + i for i, entry in enumerate(entries)):
            raise ValueError("entries are not consecutive")
        last = first + len(entries) - 1
        batch.entries = [entry if entry.record else _with_record(entry) for entry in entries]
        if not batch.is_reset:
            batch.stale = range(last + 1, self._next_last + 1)
        self._next_last = last

    def compact(self, index: int, term: int) -> Batch:
        """Make the batch that ends the log's past at ``index``, whose term stays known.

        The entries themselves go with the batches of :meth:`collect_garbage`.  Raises
        :exc:`Compacted` if that happened already, :exc:`Unavailable` past the end,
        :exc:`ValueError` when the state is not durable up to there, :exc:`StoreFailed`.
        """
        self.health.check()
        if index <= self._next_boundary:
            raise Compacted(index)
        if self.term(index) != term:
            raise ValueError(f"entry {index} is not of term {term}")
        self._check_floor(index)
        self._next_boundary = index
        return Batch(self, boundary=(index, term))

    def collect_garbage(self, limit: int = GARBAGE_ENTRIES) -> Batch | None:
        """Make the batch that deletes up to ``limit`` compacted entries; None if none are left.

        Only what is below a durable boundary goes, so a crash never leaves a hole above it.
        """
        self.health.check()
        stop = min(self._garbage_stop, self._garbage_start + limit)
        if self._garbage_start >= stop:
            self._garbage_start = self._garbage_stop = self._boundary[0] + 1
            return None
        batch = Batch(self, garbage=range(self._garbage_start, stop))
        self._garbage_start = stop
        return batch

    def _check_floor(self, index: int) -> None:
        if self.applied_floor is not None and index > self.applied_floor():
            raise ValueError(f"the state is durable up to {self.applied_floor()}, not {index}")

    def _show(self, batch: Batch) -> None:
        if batch.hard_state is not None:
            self.hard_state = batch.hard_state
        if batch.boundary is not None and batch.boundary[0] > self._boundary[0]:
            self._move_boundary(batch.boundary, batch.is_reset)
        if batch.entries:
            self._keep_bytes(batch.entries[0].index - 1 - self._boundary[0])
            self._bytes += sum(len(entry.record) for entry in batch.entries)
            self._window.extend(batch.entries)

    def _move_boundary(self, boundary: tuple[int, int], is_reset: bool) -> None:
        self._garbage_stop = max(self._garbage_stop, min(boundary[0] + 1, self._window.end))
        self._keep_bytes(0 if is_reset else self.last_index() - boundary[0])
        self._boundary = boundary
        if is_reset:
            self._window.reset(boundary[0] + 1)
        else:
            self._window.trim(boundary[0])

    def _keep_bytes(self, count: int) -> None:
        """Count down to ``count`` entries, taking all for equally large."""
        before = self.last_index() - self._boundary[0]
        if count < before:
            self._bytes *= count / before

    @property
    def bytes_kept(self) -> int:
        """The size of the log's entries; an estimate after compactions and overwritten tails."""
        return round(self._bytes)

    def forget_recent(self) -> None:
        """Let go of entries that LevelDB has, too, but the newest, which every append asks for."""
        self._window.trim(self._window.end - 2)

    def raise_commit(self, index: int) -> None:
        """Let the hard state say what the state proves: that ``index`` is committed."""
        if index > self.hard_state.commit:
            self.hard_state = evolve(self.hard_state, commit=index)


def _with_record(entry: Entry) -> Entry:
    record = encode_entry(entry.term, entry.index, entry.kind, entry.data)
    return Entry(entry.term, entry.index, entry.kind, entry.data, record)


def _decode(index: int, record: bytes) -> Entry:
    try:
        entry = decode_entry(record)
    except DecodeError as error:
        raise StoreDamaged(f"log entry {index}: {error}") from error
    if entry.index != index:
        raise StoreDamaged(f"log entry {index} says that it is {entry.index}")
    return entry
