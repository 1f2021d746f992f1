"""The ring as it is stored, apart from who owns what: its size, its strategy, its nodes.

Kept under ``m``.  The fields of the record are never reordered; a new one is added at the end, with
a default, so that records of earlier versions stay readable.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from uring.machines.base import Readable, Transaction
from uring.machines.placement import Layout
from uring.machines.ring.seats import Seat

_KEY = b"m"
HANDOFFS_PER_NODE = 4
HANDOFFS_IN_ALL = 64


class Node(Struct, array_like=True, frozen=True):
    """A node of the ring, or one that has left and still owns vnodes that are handed off."""

    name: str
    slot: int
    weight: int = 1
    zone: str = ""
    load: int = 0
    """Vnodes that are assigned to it; of one that has left, those that it still owns."""


class State(Struct, array_like=True, frozen=True):
    """The ring.  ``layout`` is used by the strategy "continuous" alone, pages by the others."""

    size: int
    strategy: str
    layout: Layout
    replicas: int = 1
    revision: int = 0
    """Of the last change of what is assigned to whom: what a plan is bound to."""
    nodes: tuple[Node, ...] = ()
    """In the order of adding."""
    leaving: tuple[Node, ...] = ()
    per_node: int = HANDOFFS_PER_NODE
    """Hand-offs that one node may be in at a time,"""
    in_all: int = HANDOFFS_IN_ALL
    """and all nodes together."""
    sessions: int = 0
    """Nodes that take part in hand-offs."""

    def named(self, name: str) -> Node | None:
        """Return the node of the ring with this name."""
        return next((node for node in self.nodes if node.name == name), None)

    def lookup(self, name: str) -> Node | None:
        """Return the node with this name, also one that is leaving."""
        return next((node for node in self.known() if node.name == name), None)

    def slotted(self, slot: int) -> Node | None:
        """Return the node at ``slot``, also one that is leaving."""
        return next((node for node in self.known() if node.slot == slot), None)

    def known(self) -> Iterator[Node]:
        """Yield all nodes, those that are leaving last."""
        yield from self.nodes
        yield from self.leaving

    def free_slots(self) -> Iterator[int]:
        """Yield slots that nobody has, ascending."""
        taken = {node.slot for node in self.known()}
        slot = 0
        while True:
            if slot not in taken:
                yield slot
            slot += 1


def seats(nodes: tuple[Node, ...]) -> list[Seat]:
    """Return the nodes as placement sees them."""
    return [Seat(node.slot, node.weight, node.zone) for node in nodes]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(State)


def load(state: Readable) -> State | None:
    """Return the ring, or None as long as it has no size."""
    record = state.get(_KEY)
    if record is None:
        return None
    ring = _DECODER.decode(record)
    if ring.layout and not ring.nodes:  # written before nodes had slots
        nodes = tuple(
            Node(name, slot, load=end - start)
            for slot, (name, start, end) in enumerate(ring.layout)
        )
        return replace(ring, nodes=nodes)
    return ring


def store(transaction: Transaction, ring: State) -> None:
    """Write the record."""
    transaction.put(_KEY, _ENCODER.encode(ring))
