"""What a machine needs of the state: a transaction over ordered keys."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Protocol

from attrs import define, field


class Readable(Protocol):
    """The state, or a transaction over it."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""

    def iterate(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of every key that begins with ``prefix``, ascending."""


class Transaction(Readable, Protocol):
    """Reads see what was written before in the same transaction."""

    def put(self, key: bytes, value: bytes) -> None:
        """Store ``value`` under ``key``."""

    def delete(self, key: bytes) -> None:
        """Remove ``key``; that it does not exist is no error."""


@define
class MemoryState:
    """A state in memory, for tests and simulations; a transaction over itself."""

    _values: dict[bytes, bytes] = field(factory=dict)
    _keys: list[bytes] = field(factory=list)

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = value

    def delete(self, key: bytes) -> None:
        if self._values.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def iterate(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in self._keys[bisect_left(self._keys, prefix) :]:
            if not key.startswith(prefix):
                return
            yield key, self._values[key]
