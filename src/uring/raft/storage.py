"""What the core reads of its stable log, and an implementation of it in memory."""

from __future__ import annotations

from typing import Protocol

from uring.raft.types import ConfState, Entry, HardState, Snapshot


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
