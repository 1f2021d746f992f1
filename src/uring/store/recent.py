"""Records of the state that were read or written of late, in memory."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from attrs import define, field

RECENT_BYTES = 2 << 20
"""Of one generation; there are two of them."""
RECORD_OVERHEAD = 128
"""Bytes that a record is counted with beside its key and value."""


class Unknown(enum.Enum):
    """The type of :data:`UNKNOWN`."""

    UNKNOWN = 0


UNKNOWN: Final = Unknown.UNKNOWN
"""Says that LevelDB must be asked; None says that it has no such key."""


@define(eq=False)
class RecentRecords:
    """What every command asks first: LevelDB takes several microseconds for each answer.

    Two generations take the place of a list in order of use: when the younger one is full the
    older one is forgotten, and what is asked for in the older one is kept in the younger.
    """

    limit: int = RECENT_BYTES
    _young: dict[bytes, bytes | None] = field(factory=dict, init=False)
    _old: dict[bytes, bytes | None] = field(factory=dict, init=False)
    _size: int = field(default=0, init=False)
    """Of the younger generation; what is overwritten in it counts again."""

    def get(self, key: bytes) -> bytes | Unknown | None:
        """Return the value under ``key``, None if it is known to have none, or UNKNOWN."""
        value: bytes | Unknown | None = self._young.get(key, UNKNOWN)
        if value is UNKNOWN:
            value = self._old.get(key, UNKNOWN)
            if value is not UNKNOWN:
                self.keep(key, value)
        return value

    def keep(self, key: bytes, value: bytes | None) -> None:
        """Remember what was read."""
        self._young[key] = value
        self._grow(len(key) + len(value or b"") + RECORD_OVERHEAD)

    def update(self, writes: Mapping[bytes, bytes | None], size: int) -> None:
        """Remember what was written, ``size`` bytes altogether."""
        self._young.update(writes)
        self._grow(size)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self.limit:
            self._old, self._young, self._size = self._young, {}, 0

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._size = {}, {}, 0
