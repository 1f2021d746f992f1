"""Reading the machines' data in order: of the state as it goes on, or as it was at one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from attrs import define

from uring.store.failures import Health
from uring.store.leveldb import MIB, Database
from uring.store.records import DATA

_CHUNK = 256
_CHUNK_BYTES = MIB


@define(eq=False)
class StateView:
    """The data of the machines at one revision, whatever is applied later; for any thread.

    An installed snapshot ends it: reads then raise :exc:`RuntimeError`.
    """

    _snapshot: Any
    _gate: threading.Lock
    _health: Health

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None.  Raises :exc:`StoreFailed`."""
        with self._gate, self._health.guard():
            value: bytes | None = self._snapshot.get(DATA + key, verify_checksums=True)
        return value

    def iterate(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """See :meth:`uring.store.state.StateStore.iterate`."""
        return iterate(lambda: self._snapshot, self._gate, self._health, prefix, start)

    def close(self) -> None:
        """Let LevelDB forget the old values."""
        with self._gate:
            self._snapshot.close()


def iterate(
    source: Callable[[], Database],
    gate: threading.Lock,
    health: Health,
    prefix: bytes,
    start: bytes,
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) from what ``source`` returns, a database or a snapshot of one.

    The gate is held for some hundred items at a time, fewer of large ones.
    """
    begin, stop = DATA + max(prefix, start), _after(DATA + prefix)
    while True:
        with gate, health.guard():
            items, is_last = _read_chunk(source(), begin, stop)
        for key, value in items:
            yield key[len(DATA) :], value
        if is_last:
            return
        begin = items[-1][0] + b"\x00"


def _read_chunk(db: Database, start: bytes, stop: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return some items, and whether no others follow."""
    items: list[tuple[bytes, bytes]] = []
    size = 0
    with db.iterator(start=start, stop=stop, verify_checksums=True) as found:
        for item in found:
            items.append(item)
            size += len(item[1])
            if len(items) == _CHUNK or size > _CHUNK_BYTES:
                return items, False
    return items, True


def _after(prefix: bytes) -> bytes:
    """Return the first key after all that begin with ``prefix``, which begins with DATA."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,))
