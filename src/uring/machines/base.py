"""What a machine needs of the state: a transaction over ordered keys; and both in memory."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Protocol

from attrs import define, field


class Readable(Protocol):
    """The state, or a transaction over it."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""

    def iterate(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of every key with that prefix, from ``start`` on, ascending.

        ``start`` is a whole key, not what follows the prefix.
        """


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
        """Return the value under ``key``, or None."""
        return self._values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Store ``value`` under ``key``."""
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = value

    def delete(self, key: bytes) -> None:
        """Remove ``key``; that it does not exist is no error."""
        if self._values.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def iterate(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of every key with that prefix, from ``start`` on, ascending.

        ``start`` is a whole key, not what follows the prefix.
        """
        for key in self._keys[bisect_left(self._keys, max(prefix, start)) :]:
            if not key.startswith(prefix):
                return
            yield key, self._values[key]

    def begin(self) -> MemoryTransaction:
        """Return a transaction that changes nothing here before its commit."""
        return MemoryTransaction(self)


@define
class MemoryTransaction:
    """What was written since :meth:`MemoryState.begin`, over the state as it is."""

    _state: MemoryState
    _written: dict[bytes, bytes | None] = field(factory=dict, init=False)
    """None where a key was deleted."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""
        return self._written[key] if key in self._written else self._state.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Store ``value`` under ``key``."""
        self._written[key] = value

    def delete(self, key: bytes) -> None:
        """Remove ``key``; that it does not exist is no error."""
        self._written[key] = None

    def iterate(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of every key with that prefix, from ``start`` on, ascending.

        ``start`` is a whole key, not what follows the prefix.
        """
        merged: dict[bytes, bytes | None] = dict(self._state.iterate(prefix, start))
        merged.update(
            (key, value)
            for key, value in self._written.items()
            if key.startswith(prefix) and key >= start
        )
        for key in sorted(merged):
            value = merged[key]
            if value is not None:
                yield key, value

    def commit(self) -> None:
        """Make everything that was written part of the state."""
        for key, value in self._written.items():
            if value is None:
                self._state.delete(key)
            else:
                self._state.put(key, value)
        self._written.clear()
