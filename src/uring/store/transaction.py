"""One apply batch over the state: written together with the applied index, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import define, field

from uring.raft.types import ConfState

if TYPE_CHECKING:
    from uring.store.state import StateStore
    from uring.store.view import StateView


@define(eq=False)
class Draft:
    """Changes over a state that others do not see."""

    _base: StateStore | StateView
    _writes: dict[bytes, bytes | None] = field(factory=dict, init=False)

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None.  Raises :exc:`StoreFailed`."""
        if key in self._writes:
            return self._writes[key]
        return self._base.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Store ``value`` under ``key``."""
        self._writes[key] = value

    def delete(self, key: bytes) -> None:
        """Remove ``key``; that it does not exist is no error."""
        self._writes[key] = None

    def iterate(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of every key with that prefix, from ``start`` on, ascending.

        Writes made while iterating do not change what is yielded.
        """
        # Sorted here, not at each write: commands that iterate are rare.
        own = sorted(
            item for item in self._writes.items() if item[0].startswith(prefix) and item[0] >= start
        )
        return _merge(own, self._base.iterate(prefix, start))


@define(eq=False)
class ViewDraft(Draft):
    """Changes over the state as it was at one moment, for any thread."""

    _base: StateView

    def close(self) -> None:
        """Read no more; what was written stays."""
        self._base.close()


@define(eq=False)
class StateTransaction(Draft):
    """Reads see what was written before in the same transaction; others see it after commit."""

    _base: StateStore
    _generation: int
    _conf_state: ConfState | None = field(default=None, init=False)
    _addresses: dict[int, str] | None = field(default=None, init=False)
    _level: int | None = field(default=None, init=False)

    def take(self, draft: Draft) -> None:
        """Take over what was written to a draft of the state that this transaction began with."""
        self._writes.update(draft._writes)

    def set_conf_state(self, conf_state: ConfState) -> None:
        """Change the membership with this transaction."""
        self._conf_state = conf_state

    def set_member_addresses(self, addresses: Mapping[int, str]) -> None:
        """Replace the members' addresses with this transaction."""
        self._addresses = dict(addresses)

    def set_level(self, level: int) -> None:
        """Change the cluster's feature level with this transaction."""
        self._level = level

    def commit(self, applied_index: int, applied_term: int) -> None:
        """Write everything in one unsynced batch; ``applied_index`` is the last entry in it.

        Raises :exc:`StoreFailed`, :exc:`ValueError` when the index falls, :exc:`RuntimeError`
        when a snapshot was installed since the transaction began.
        """
        self._base.apply(
            self._generation,
            self._writes,
            (applied_index, applied_term),
            self._conf_state,
            self._addresses,
            self._level,
        )


def _merge(
    own: list[tuple[bytes, bytes | None]], stored: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    """Merge two ascending runs; the transaction's own item hides the stored one."""
    position = 0
    for key, value in stored:
        while position < len(own) and own[position][0] < key:
            yield from _present(own[position])
            position += 1
        if position < len(own) and own[position][0] == key:
            yield from _present(own[position])
            position += 1
        else:
            yield key, value
    for item in own[position:]:
        yield from _present(item)


def _present(item: tuple[bytes, bytes | None]) -> Iterator[tuple[bytes, bytes]]:
    key, value = item
    if value is not None:
        yield key, value
