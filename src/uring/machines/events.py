"""What changed, compactly: every change of the machines is one of these, and has one revision.

They are kept for those who watch, in memory and on disk, so tags and the order of fields never
change; a new field is added at the end, with a default.  Only :meth:`spelled` knows how clients
see them: a ring of a million vnodes is a record of some bytes, but an event of megabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
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


class RingMoved(Struct, frozen=True, array_like=True, tag="M"):
    """Nodes came or went, or changed their weight, by whatever strategy."""

    channel: ClassVar[str] = "mring"
    added: list[str]
    removed: list[str]
    planned: bool
    """Whether it was a plan; else one node was added or removed."""
    strategy: str
    names: list[str]
    """The nodes in the order of adding, then those that have gone."""
    nodes: int
    """How many of them are in the ring."""
    after: bytes
    """Runs of vnodes and their owners: first vnode, place in ``names``; and where the ring ends.
    Empty where the ring is in too many pieces to keep it with every change."""
    moves: bytes
    """Ranges that move: first vnode, last + 1, places in ``names`` from and to."""

    def spelled(self) -> dict[str, object]:
        """See :meth:`KeyPut.spelled`; ``next`` is null where the ring was not kept."""
        body: dict[str, object] = {
            "strategy": self.strategy,
            "next": self._next(),
            "relocations": self._relocations(),
        }
        if self.planned:
            return {"RingChanged": {"added": self.added, "removed": self.removed, **body}}
        (node,) = self.added or self.removed
        return {"NodeAdded" if self.added else "NodeRemoved": {"node": node, **body}}

    def _next(self) -> list[dict[str, object]] | None:
        if not self.after and self.nodes:
            return None
        vnodes: list[list[int]] = [[] for _ in range(self.nodes)]
        runs = list(RUN.iter_unpack(self.after))
        for (start, place), (end, _) in pairwise(runs):
            vnodes[place].extend(range(start, end))
        return [
            {"id": name, "vnodes": owned}
            for name, owned in zip(self.names[: self.nodes], vnodes, strict=True)
        ]

    def _relocations(self) -> dict[str, object]:
        found: dict[str, dict[str, list[int]]] = {}
        for start, end, source, target in RANGE.iter_unpack(self.moves):
            targets = found.setdefault(self.names[source], {})
            targets.setdefault(self.names[target], []).extend(range(start, end))
        return {source: {"destinations": targets} for source, targets in found.items()}


class NodeJoined(Struct, frozen=True, array_like=True, tag="J"):
    """A node of the ring takes part in hand-offs from now on."""

    channel: ClassVar[str] = "mring"
    node: str
    address: str
    lease: int

    def spelled(self) -> dict[str, object]:
        """See :meth:`KeyPut.spelled`."""
        return {"NodeJoined": {"node": self.node, "address": self.address}}


class NodeGone(Struct, frozen=True, array_like=True, tag="G"):
    """The lease of a node is over: transfers are pending again.  Or it was given up."""

    channel: ClassVar[str] = "mring"
    node: str
    vnodes: list[int]
    """Those whose transfer has ended; or, of a node that was given up, those it owned."""
    abandoned: bool = False

    def spelled(self) -> dict[str, object]:
        """See :meth:`KeyPut.spelled`."""
        kind = "NodeAbandoned" if self.abandoned else "NodeGone"
        return {kind: {"node": self.node, "vnodes": self.vnodes}}


class HandoffMoved(Struct, frozen=True, array_like=True, tag="H"):
    """A vnode is now "transferring", "pending" again, or "owned" by its target."""

    channel: ClassVar[str] = "mring"
    vnode: int
    state: str
    source: str
    target: str

    def spelled(self) -> dict[str, object]:
        """See :meth:`KeyPut.spelled`."""
        return {
            "Handoff": {
                "vnode": self.vnode,
                "state": self.state,
                "source": self.source,
                "target": self.target,
            }
        }


RUN = struct.Struct(">IH")
RANGE = struct.Struct(">IIHH")

RingEvent: TypeAlias = RingSized | RingChanged | RingMoved | NodeJoined | NodeGone | HandoffMoved
Event: TypeAlias = KeyPut | KeySwapped | KeyDeleted | SwapRefused | RingEvent

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
