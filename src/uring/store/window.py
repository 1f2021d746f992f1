"""The newest entries of the log, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from uring.raft.types import Entry

ENTRY_OVERHEAD = 200
"""Bytes that an entry is counted with beside its data and its record: the objects around them."""


def size_of(entry: Entry) -> int:
    """Return about how many bytes of memory ``entry`` takes."""
    return len(entry.data) + len(entry.record) + ENTRY_OVERHEAD


@define
class EntryWindow:
    """A run of consecutive entries that ends at the log's end, bounded in bytes.

    ``end`` is the index after the last entry.  At least one entry stays, however large.
    """

    limit: int
    end: int = 1
    _entries: list[Entry] = field(factory=list, init=False)
    _bytes: int = field(default=0, init=False)

    @property
    def start(self) -> int:
        """The first index in memory; equal to ``end`` when there is none."""
        return self.end - len(self._entries)

    def get(self, index: int) -> Entry:
        """Return the entry at ``index``, which must lie in ``start <= index < end``."""
        return self._entries[index - self.start]

    def reset(self, end: int) -> None:
        """Forget everything; the next entry is ``end``."""
        self._entries.clear()
        self._bytes = 0
        self.end = end

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end, after dropping what they replace."""
        if not entries:
            return
        first = entries[0].index
        if first <= self.start:
            self.reset(first)
        elif first < self.end:
            self._drop(first - self.start, len(self._entries))
            self.end = first
        self._entries.extend(entries)
        self._bytes += sum(map(size_of, entries))
        self.end += len(entries)
        # Dropping from the front moves the list, so it is done an eighth of the limit at a time.
        if self._bytes > self.limit + self.limit // 8:
            self._shrink()

    def trim(self, index: int) -> None:
        """Forget the entries up to ``index``."""
        if index >= self.start:
            self._drop(0, min(index + 1, self.end) - self.start)

    def _shrink(self) -> None:
        count, size = 0, self._bytes
        while size > self.limit and count < len(self._entries) - 1:
            size -= size_of(self._entries[count])
            count += 1
        self._drop(0, count)

    def _drop(self, low: int, high: int) -> None:
        self._bytes -= sum(map(size_of, self._entries[low:high]))
        del self._entries[low:high]
