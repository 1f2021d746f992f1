"""What the core reads of its stable log, and an implementation of it in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from uring.raft.settings import NO_LIMIT
from uring.raft.types import ConfState, Entry, HardState, Snapshot, SnapshotMeta


class Compacted(Exception):
    """The index asked for lies before the first entry kept: only a snapshot can help."""


class Unavailable(Exception):
    """The index asked for lies after the last entry."""


class SnapshotTemporarilyUnavailable(Exception):
    """A snapshot is being made; ask again later."""


class Storage(Protocol):
    """The stable part of the log.  Only what is durable may be answered from here."""

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Return what was last saved; both empty on a node that never ran."""

    def entries(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        """Return entries ``low <= index < high``, at least one, then up to ``max_bytes`` of data.

        Raises :exc:`Compacted` if ``low`` is gone, :exc:`Unavailable` past the end.
        """

    def term(self, index: int) -> int:
        """Return the term at ``index``; ``first_index() - 1`` may be asked for as well."""

    def first_index(self) -> int:
        """Return the first index that :meth:`entries` can return (1 on an empty log)."""

    def last_index(self) -> int:
        """Return the last index, or ``first_index() - 1`` if there is none."""

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot.  Raises :exc:`SnapshotTemporarilyUnavailable`."""


_VARINT = tuple((bits + 6) // 7 or 1 for bits in range(65))
"""The bytes of a protobuf varint, by the bits of the number."""

_HEAD_MAX = 35
"""No entry counts for more than this besides its data."""


def entry_size(entry: Entry) -> int:
    """Return the bytes that an entry counts for in limits: what etcd's protobuf encoding takes."""
    size = 4 + _VARINT[entry.term.bit_length()] + _VARINT[entry.index.bit_length()]
    length = len(entry.data)
    return size + 1 + _VARINT[length.bit_length()] + length if length else size


def data_size(entries: Sequence[Entry]) -> int:
    """Return the bytes of data in ``entries``."""
    return sum([len(entry.data) for entry in entries])


def entries_size(entries: Sequence[Entry]) -> int:
    """Return the bytes that ``entries`` count for in limits."""
    return sum(map(entry_size, entries))


def limit_size(entries: list[Entry], max_bytes: int) -> list[Entry]:
    """Return the longest prefix within ``max_bytes``, but the first entry in any case."""
    # Nearly always there is room for all of them and to spare: then no size need be exact.
    if max_bytes >= NO_LIMIT or data_size(entries) + _HEAD_MAX * len(entries) <= max_bytes:
        return entries
    total = 0
    for position, entry in enumerate(entries):
        total += entry_size(entry)
        if total > max_bytes and position:
            return entries[:position]
    return entries


class MemoryStorage:
    """A :class:`Storage` in memory, with the writes that the owner of a core needs.

    It stands for a disk in tests: give it to a new core and that core has been restarted.
    """

    def __init__(self) -> None:
        self._hard_state = HardState()
        self._snapshot = Snapshot()
        self._entries: list[Entry] = []
        #: The index and term just before the first entry.
        self._before = 0
        self._before_term = 0

    def initial_state(self) -> tuple[HardState, ConfState]:
        """See :class:`Storage`."""
        return self._hard_state, self._snapshot.meta.conf_state

    def first_index(self) -> int:
        """See :class:`Storage`."""
        return self._before + 1

    def last_index(self) -> int:
        """See :class:`Storage`."""
        return self._before + len(self._entries)

    def term(self, index: int) -> int:
        """See :class:`Storage`."""
        position = index - self._before - 1
        if position < 0:
            if position == -1:
                return self._before_term
            raise Compacted
        if position >= len(self._entries):
            raise Unavailable
        return self._entries[position].term

    def entries(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        """See :class:`Storage`."""
        if low <= self._before:
            raise Compacted
        if high > self.last_index() + 1:
            raise Unavailable
        start = self._before + 1
        return limit_size(self._entries[low - start : high - start], max_bytes)

    def snapshot(self) -> Snapshot:
        """See :class:`Storage`."""
        return self._snapshot

    def set_hard_state(self, hard_state: HardState) -> None:
        """Save the term, the vote and the commit index."""
        self._hard_state = hard_state

    def append(self, entries: Sequence[Entry]) -> None:
        """Save ``entries``; whatever stood at their indexes or later goes away.

        Raises :exc:`Unavailable` if they would leave a gap.
        """
        if not entries:
            return
        skip = self._before + 1 - entries[0].index
        if skip > 0:
            entries = entries[skip:]
            if not entries:
                return
        position = entries[0].index - self._before - 1
        if position > len(self._entries):
            raise Unavailable
        del self._entries[position:]
        self._entries.extend(entries)

    def apply_snapshot(self, snapshot: Snapshot) -> None:
        """Replace everything by ``snapshot``.  Raises :exc:`Compacted` if a newer one is there."""
        if self._snapshot.meta.index >= snapshot.meta.index:
            raise Compacted
        self._snapshot = snapshot
        self._before = snapshot.meta.index
        self._before_term = snapshot.meta.term
        self._entries = []

    def create_snapshot(
        self, index: int, conf_state: ConfState | None = None, data: bytes = b""
    ) -> Snapshot:
        """Make the snapshot that stands for everything up to ``index``.

        Without ``conf_state`` the membership is that of the snapshot before.  Raises
        :exc:`Compacted` if a newer snapshot is there.
        """
        if index <= self._snapshot.meta.index:
            raise Compacted
        meta = SnapshotMeta(
            index=index,
            term=self.term(index),
            conf_state=conf_state or self._snapshot.meta.conf_state,
        )
        self._snapshot = Snapshot(meta=meta, data=data)
        return self._snapshot

    def compact(self, index: int) -> None:
        """Drop all entries up to ``index``.  Raises :exc:`Compacted` if that was done before."""
        if index <= self._before:
            raise Compacted
        self._before_term = self.term(index)
        del self._entries[: index - self._before]
        self._before = index
