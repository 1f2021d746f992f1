"""The history's files in memory."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from uring.store.failures import Health
from uring.store.history import HistoryStore
from uring.store.segments import SegmentFiles


@define(eq=False)
class MemorySegments(SegmentFiles):
    """Has the interface of SegmentFiles, and touches no disk."""

    directory: None = None  # type: ignore[assignment]
    content: dict[int, bytearray] = field(factory=dict)
    current: int = -1

    def names(self) -> dict[int, int]:
        return {number: len(self.content[number]) for number in sorted(self.content)}

    def create(self, number: int) -> None:
        self.content[number] = bytearray()
        self.current = number

    def reopen(self, number: int, size: int) -> None:
        del self.content[number][size:]
        self.current = number

    def append(self, parts: Sequence[bytes]) -> None:
        self.content[self.current] += b"".join(parts)

    def read(self, number: int, offset: int, size: int) -> bytes:
        if number not in self.content:
            raise FileNotFoundError(number)
        return bytes(self.content[number][offset : offset + size])

    def remove(self, number: int) -> None:
        self.content.pop(number, None)

    def close(self) -> None:
        self.current = -1


def memory_history(revision: int = 0, index: int = 0, **bounds: int) -> HistoryStore:
    """Return an open, empty history in memory."""
    store = HistoryStore(MemorySegments(), Health(), **bounds)
    store.open(revision, index)
    return store
