"""The kept changes: on disk all of them, in memory the newest."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from attrs import define, field

from uring.machines.events import Event, SwapRefused, encode
from uring.store.history import HistoryStore, Record

TAIL_BYTES = 1 << 20
"""What is kept in memory, too: who was away for a moment costs no disk."""
RECORD_OVERHEAD = 200
"""Bytes that a record takes there beside its payload: the objects around it."""
RECORD_BYTES = 256 << 10
"""A record is read whole, so a large batch becomes several, unless one change alone is larger."""
PIECE_BYTES = 128 << 10
"""What a subscriber who is behind is told in one turn: some 2 ms of work."""


@define(eq=False)
class History:
    """Appends, and finds again."""

    store: HistoryStore
    _tail: deque[Record] = field(factory=deque, init=False)
    _size: int = field(default=0, init=False)

    @property
    def next(self) -> int:
        """The revision that the next change will have."""
        return self.store.last + 1

    @property
    def oldest(self) -> int:
        """The first revision that is kept; :attr:`next` if none is."""
        return self.store.oldest

    def append(self, index: int, events: Sequence[Event]) -> list[int]:
        """Keep the changes among ``events``, of the log up to ``index``.

        Returns the segments to remove.  Raises StoreFailed.
        """
        changes = [event for event in events if type(event) is not SwapRefused]
        if not changes:
            return []
        self._append(index, changes)
        while self._size > TAIL_BYTES:
            self._size -= _memory_of(self._tail.popleft())
        return self.store.trim()

    def _append(self, index: int, changes: Sequence[Event]) -> None:
        payload = encode(changes)
        if len(payload) > RECORD_BYTES and len(changes) > 1:
            half = len(changes) // 2
            self._append(index, changes[:half])
            self._append(index, changes[half:])
            return
        record = Record(self.next, len(changes), payload, index)
        self.store.append(index, len(changes), payload)
        self._tail.append(record)
        self._size += _memory_of(record)

    def recent(self, revision: int) -> list[Record]:
        """Return some records from ``revision`` on if memory has them, else none."""
        if not self._tail or revision < self._tail[0].first:
            return []
        found: list[Record] = []
        size = 0
        # From the newest back: those who ask are nearly up to date.
        for record in reversed(self._tail):
            if record.end <= revision:
                break
            found.append(record)
        found.reverse()
        for count, record in enumerate(found, 1):
            size += record.size
            if size >= PIECE_BYTES:
                return found[:count]
        return found

    def forget_recent(self) -> None:
        """Let go of what the files have, too."""
        self._tail.clear()
        self._size = 0

    def reset(self, revision: int) -> None:
        """Begin anew: the state was replaced by one at ``revision``.  Raises StoreFailed."""
        self.forget_recent()
        self.store.reset(revision)


def _memory_of(record: Record) -> int:
    return len(record.payload) + RECORD_OVERHEAD
