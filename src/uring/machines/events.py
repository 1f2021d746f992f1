"""What changed, compactly: every change of the machines is one of these, and has one revision.

They are kept for those who watch, in memory and on disk, so tags and the order of fields never
change; a new field is added at the end, with a default.  Only :meth:`spelled` knows how clients
see them: a ring of a million vnodes is a record of some bytes, but an event of megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeAlias

import msgspec
from msgspec import Struct

from uring.machines.placement import Layout, relocations

Value: TypeAlias = Any
"""A text, or bytes; MessagePack tells them apart, and msgspec takes no union of the two."""


class KeyPut(Struct, frozen=True, array_like=True, tag="P", gc=False):
    """``new`` was stored under ``key``; ``old`` is what was there before, if anything was."""

    channel: ClassVar[str] = "kv"
    key: str
    new: Value
    old: Value | None

    def spelled(self) -> dict[str, object]:
        """Return the event as JSON-ready builtins, in the original's shape."""
        return {"Put": {"scope": 0, "key": self.key, "new": self.new, "old": self.old}}


class KeySwapped(Struct, frozen=True, array_like=True, tag="C", gc=False):
    """A compare-and-swap has stored ``new`` under ``key``."""

    channel: ClassVar[str] = "kv"
    key: str
    new: Value
    old: Value | None

    def spelled(self) -> dict[str, object]:
        """See :meth:`KeyPut.spelled`."""
        return {"Cas": {"scope": 0, "key": self.key, "new": self.new, "old": self.old}}


class KeyDeleted(Struct, frozen=True, array_like=True, tag="D", gc=False):
    """``key`` was removed; ``old`` is what it held."""

    channel: ClassVar[str] = "kv"
    key: str
    old: Value | None

    def spelled(self) -> dict[str, object]:
        """See :meth:`KeyPut.spelled`."""
        return {"Delete": {"scope": 0, "key": self.key, "old": self.old}}


class SwapRefused(Struct, frozen=True, array_like=True, tag="X", gc=False):
    """A compare-and-swap found something else than ``check``.  No change: it has no revision."""

    channel: ClassVar[str] = "kv"
    key: str
    new: Value
    old: Value | None
    check: Value | None

    def spelled(self) -> dict[str, object]:
        """See :meth:`KeyPut.spelled`."""
        event = {"scope": 0, "key": self.key, "new": self.new, "old": self.old, "check": self.check}
        return {"CasConflict": event}


class RingSized(Struct, frozen=True, array_like=True, tag="S", gc=False):
    """The ring has got its size."""

    channel: ClassVar[str] = "mring"
    size: int
    strategy: str

    def spelled(self) -> dict[str, object]:
        """See :meth:`KeyPut.spelled`."""
        return {"SetSize": {"size": self.size, "strategy": self.strategy}}


class RingChanged(Struct, frozen=True, array_like=True, tag="R"):
    """A node came or went: who owned what ``before`` and owns it ``after``."""

    channel: ClassVar[str] = "mring"
    node: str
    added: bool
    strategy: str
    before: Layout
    after: Layout

    def spelled(self) -> dict[str, object]:
        """See :meth:`KeyPut.spelled`."""
        event = {
            "node": self.node,
            "strategy": self.strategy,
            "next": [
                {"id": node, "vnodes": list(range(start, end))} for node, start, end in self.after
            ],
            "relocations": {
                source: {
                    "destinations": {
                        target: [vnode for start, end in ranges for vnode in range(start, end)]
                        for target, ranges in targets.items()
                    }
                }
                for source, targets in relocations(self.before, self.after).items()
            },
        }
        return {"NodeAdded" if self.added else "NodeRemoved": event}


Event: TypeAlias = KeyPut | KeySwapped | KeyDeleted | SwapRefused | RingSized | RingChanged

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Event])


def encode(events: Sequence[Event]) -> bytes:
    """Return ``events`` as they are kept."""
    return _ENCODER.encode(events)


def decode(data: bytes) -> list[Event]:
    """Return what :func:`encode` was given.  Raises :exc:`ValueError` for anything else."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise ValueError(f"undecodable events: {problem}") from None


def numbered(before: int, events: Sequence[Event]) -> Iterator[tuple[int, Event]]:
    """Yield (revision, event); ``before`` is the revision that the first of them found.

    Every change counts one on.  What was refused shows the revision that the state has anyway.
    """
    revision = before
    for event in events:
        if type(event) is not SwapRefused:
            revision += 1
        yield revision, event
