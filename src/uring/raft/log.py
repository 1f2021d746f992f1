"""One node's log: the stable part, read from storage, and the tail that is not durable yet.

Pointers, in order::

    first_index - 1 <= applied <= applying <= committed <= last_index
    offset - 1 <= in_progress - 1 <= last_index

``offset`` is the first index that is not known to be durable, ``in_progress`` the first one that
was not handed out to be written yet.  Both tails may overlap: what is committed need not be
durable here (a majority elsewhere is enough).
"""

from __future__ import annotations

from collections.abc import Sequence

from uring.raft import invariants
from uring.raft.local import Trace
from uring.raft.settings import NO_LIMIT
from uring.raft.storage import Compacted, Storage, Unavailable, entries_size, limit_size
from uring.raft.types import Entry, EntryKind, Snapshot


class RaftLog:
    """The log of one node.  Entries are values; lists returned belong to the caller."""

    __slots__ = (
        "_applying_paused",
        "_applying_size",
        "_in_progress",
        "_last_term",
        "_max_applying_size",
        "_offset",
        "_snapshot_in_progress",
        "_storage",
        "_tail",
        "_trace",
        "applied",
        "applying",
        "committed",
        "last_index",
        "snapshot",
    )

    def __init__(self, storage: Storage, max_applying_size: int, trace: Trace | None) -> None:
        self._storage = storage
        self._trace = trace
        self._max_applying_size = max_applying_size
        self._applying_size = 0
        self._applying_paused = False
        self._tail: list[Entry] = []
        self.last_index = storage.last_index()
        self._last_term = storage.term(self.last_index)
        self._offset = self._in_progress = self.last_index + 1
        #: A snapshot that is to be installed and not durable yet.
        self.snapshot: Snapshot | None = None
        self._snapshot_in_progress = False
        self.committed = self.applying = self.applied = storage.first_index() - 1

    def __str__(self) -> str:
        return (
            f"committed={self.committed}, applied={self.applied}, applying={self.applying}, "
            f"unstable.offset={self._offset}, unstable.offsetInProgress={self._in_progress}, "
            f"len(unstable.Entries)={len(self._tail)}"
        )

    # What is where

    @property
    def first_index(self) -> int:
        """The first index whose entry can still be read."""
        if self.snapshot is not None:
            return self.snapshot.meta.index + 1
        return self._storage.first_index()

    @property
    def last_term(self) -> int:
        """The term of the last entry, or of the snapshot before an empty log."""
        return self._last_term

    def term(self, index: int) -> int:
        """Return the term at ``index``; the entry just before the first one may be asked for.

        Raises :exc:`Compacted` before that and :exc:`Unavailable` past the end.
        """
        if index == self.last_index:
            return self._last_term
        if index >= self._offset:
            if index > self.last_index:
                raise Unavailable
            return self._tail[index - self._offset].term
        if self.snapshot is not None:
            # What storage still holds lies before the snapshot and is void.
            if index == self.snapshot.meta.index:
                return self.snapshot.meta.term
            raise Compacted
        return self._storage.term(index)

    def matches(self, index: int, term: int) -> bool:
        """True if the log holds an entry of ``term`` at ``index``."""
        try:
            return self.term(index) == term
        except (Compacted, Unavailable):
            return False

    def is_up_to_date(self, index: int, term: int) -> bool:
        """True if a log that ends in ``(index, term)`` is at least as new (paper, 5.4.1)."""
        return (term, index) >= (self._last_term, self.last_index)

    def find_conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """Return the last place at or before ``index`` whose term is at most ``term``.

        The other log, known to have ``term`` at ``index`` or before it, cannot agree with this one
        anywhere later.  The term returned is 0 where it is not known.
        """
        while index > 0:
            try:
                ours = self.term(index)
            except (Compacted, Unavailable):
                return index, 0
            if ours <= term:
                return index, ours
            index -= 1
        return 0, 0

    def slice(self, low: int, high: int, max_size: int) -> list[Entry]:
        """Return entries ``low <= index < high``, at least one, then up to ``max_size`` bytes.

        Raises :exc:`Compacted` if the first one is gone.
        """
        offset = self._offset
        if low >= offset:
            return limit_size(self._tail[low - offset : high - offset], max_size)
        if low < self.first_index:
            raise Compacted
        cut = min(high, offset)
        entries = self._storage.entries(low, cut, max_size)
        if high <= offset or len(entries) < cut - low:
            return entries
        room = max_size - entries_size(entries) if max_size < NO_LIMIT else NO_LIMIT
        if room <= 0:
            return entries
        more = limit_size(self._tail[: high - offset], room)
        if len(more) == 1 and entries_size(more) > room:
            return entries
        return [*entries, *more]

    def entries_from(self, low: int, max_size: int) -> list[Entry]:
        """Return entries from ``low`` on, see :meth:`slice`; none past the end."""
        if low > self.last_index:
            return []
        return self.slice(low, self.last_index + 1, max_size)

    def newest_snapshot(self) -> Snapshot:
        """Return a snapshot to send.  Raises :exc:`SnapshotTemporarilyUnavailable`."""
        return self.snapshot if self.snapshot is not None else self._storage.snapshot()

    # Appending

    def append(self, entries: Sequence[Entry]) -> None:
        """Put ``entries`` at their place; whatever stood there or later goes away."""
        first = entries[0].index
        invariants.check_append(first, self.committed)
        invariants.check_contiguous(first, entries)
        end = self.last_index + 1
        if first == end:
            self._tail.extend(entries)
        elif first <= self._offset:
            if self._trace is not None:
                self._trace("info", f"replace the unstable entries from index {first}")
            self._tail = list(entries)
            self._offset = self._in_progress = first
        else:
            if first > end:
                invariants.violated("5.3", f"entry {first} would leave a gap after {end - 1}")
            if self._trace is not None:
                self._trace("info", f"truncate the unstable entries before index {first}")
            del self._tail[first - self._offset :]
            self._tail.extend(entries)
            self._in_progress = min(self._in_progress, first)
        last = entries[-1]
        self.last_index = last.index
        self._last_term = last.term

    def maybe_append(
        self, prev_index: int, prev_term: int, entries: Sequence[Entry], commit: int
    ) -> int | None:
        """Append what the leader sent, or return None if the logs differ at ``prev_index``.

        Returns the last index that is known to match (paper, figure 2, AppendEntries 2 to 5).
        """
        if not self.matches(prev_index, prev_term):
            return None
        if entries:
            invariants.check_contiguous(prev_index + 1, entries)
        if prev_index == self.last_index:
            if entries:
                self.append(entries)
        else:
            fresh = self._first_new(entries)
            if fresh < len(entries):
                self.append(entries[fresh:])
        matched = prev_index + len(entries)
        self.commit_to(min(commit, matched))
        return matched

    def _first_new(self, entries: Sequence[Entry]) -> int:
        """Return the position of the first entry that this log lacks or has differently."""
        for position, entry in enumerate(entries):
            if entry.index > self.last_index:
                return position
            ours = self.term(entry.index)
            if ours != entry.term:
                if self._trace is not None:
                    self._trace(
                        "info",
                        f"found conflict at index {entry.index} "
                        f"[existing term: {ours}, conflicting term: {entry.term}]",
                    )
                return position
        return len(entries)

    def commit_to(self, index: int) -> None:
        """Raise the commit index to ``index``; it never falls."""
        if index > self.committed:
            invariants.check_commit(index, self.last_index)
            self.committed = index

    def restore(self, snapshot: Snapshot) -> None:
        """Begin again with ``snapshot``: everything before it is void, nothing follows it."""
        meta = snapshot.meta
        if self._trace is not None:
            self._trace(
                "info",
                f"log [{self}] starts to restore snapshot [index: {meta.index}, term: {meta.term}]",
            )
        self.committed = meta.index
        self._offset = self._in_progress = meta.index + 1
        self._tail = []
        self.last_index = meta.index
        self._last_term = meta.term
        self.snapshot = snapshot
        self._snapshot_in_progress = False

    # Writing

    @property
    def has_unwritten(self) -> bool:
        """True if there are entries that were not handed out to be written."""
        return self._in_progress <= self.last_index

    @property
    def has_tail(self) -> bool:
        """True if there are entries not known to be durable, handed out or not."""
        return bool(self._tail)

    def unwritten(self) -> tuple[Entry, ...]:
        """Return the entries that were not handed out to be written yet."""
        started = self._in_progress - self._offset
        return tuple(self._tail[started:] if started else self._tail)

    def unwritten_snapshot(self) -> Snapshot | None:
        """Return the snapshot that was not handed out to be installed yet."""
        return None if self._snapshot_in_progress else self.snapshot

    def accept_unwritten(self) -> None:
        """Note that all of it was handed out."""
        if self._tail:
            self._in_progress = self.last_index + 1
        if self.snapshot is not None:
            self._snapshot_in_progress = True

    def stable_to(self, index: int, term: int) -> None:
        """Note that entries up to ``index`` are durable, if that is still the entry of ``term``.

        The caller attests that no write under way can overwrite them.
        """
        if index < self._offset or index > self.last_index:
            if self._trace is not None:
                if self.snapshot is not None and index == self.snapshot.meta.index:
                    self._trace(
                        "info", f"entry at index {index} matched unstable snapshot; ignoring"
                    )
                else:
                    self._trace(
                        "info", f"entry at index {index} missing from unstable log; ignoring"
                    )
            return
        ours = self._tail[index - self._offset].term
        if ours != term:
            if self._trace is not None:
                self._trace(
                    "info",
                    f"entry at (index,term)=({index},{term}) mismatched with "
                    f"entry at ({index},{ours}) in unstable log; ignoring",
                )
            return
        del self._tail[: index + 1 - self._offset]
        self._offset = index + 1
        self._in_progress = max(self._in_progress, self._offset)

    def snapshot_installed(self, index: int) -> None:
        """Note that the snapshot of ``index`` is durable."""
        if self.snapshot is not None and self.snapshot.meta.index == index:
            self.snapshot = None
            self._snapshot_in_progress = False

    # Applying

    def _appliable(self, allow_unstable: bool) -> int:
        """Return the last index that may be applied now."""
        return self.committed if allow_unstable else min(self.committed, self._offset - 1)

    def has_committed(self, allow_unstable: bool) -> bool:
        """True if :meth:`next_committed` would return something."""
        # While a snapshot is to be installed, it and entries could be applied in either order.
        if self._applying_paused or self.snapshot is not None:
            return False
        return self.applying < self._appliable(allow_unstable)

    def next_committed(self, allow_unstable: bool) -> tuple[Entry, ...]:
        """Return entries to apply, as many as the limit leaves room for.

        Unless ``allow_unstable``, only entries that are durable on this node.
        """
        if not self.has_committed(allow_unstable):
            return ()
        room = self._max_applying_size - self._applying_size
        high = self._appliable(allow_unstable) + 1
        return tuple(self.slice(self.applying + 1, high, room))

    def accept_applying(self, index: int, size: int, allow_unstable: bool) -> None:
        """Note that entries up to ``index``, ``size`` bytes, were handed out to be applied."""
        invariants.check_applying(index, self.committed)
        self.applying = index
        self._applying_size += size
        # Pause too if entries were held back: the next one would have passed the limit.
        self._applying_paused = (
            self._applying_size >= self._max_applying_size
            or index < self._appliable(allow_unstable)
        )

    def applied_to(self, index: int, size: int) -> None:
        """Note that entries up to ``index`` are applied, ``size`` bytes more than before."""
        invariants.check_applied(index, self.applied, self.committed)
        self.applied = index
        self.applying = max(self.applying, index)
        self._applying_size = max(0, self._applying_size - size)
        self._applying_paused = self._applying_size >= self._max_applying_size

    def has_unapplied_conf_change(self) -> bool:
        """True if a membership change is committed and not applied here."""
        low, high = self.applied + 1, self.committed + 1
        while low < high:
            page = self.slice(low, high, self._max_applying_size)
            if any(entry.kind is not EntryKind.NORMAL for entry in page):
                return True
            low += len(page)
        return False
