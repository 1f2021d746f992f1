"""The managed ring: its size, its nodes in the order of adding, and who owns what."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from uring.machines.base import Readable, Transaction
from uring.machines.commands import (
    AddNode,
    Invalid,
    RemoveNode,
    Result,
    Ring,
    RingNode,
    RingSize,
    SetSize,
)
from uring.machines.events import RingChanged, RingSized
from uring.machines.limits import NODE_NAME_BYTES_MAX, RING_NODES_MAX, RING_SIZE_MAX
from uring.machines.placement import STRATEGIES, Layout
from uring.machines.turn import Turn

_KEY = b"m"

RingCommand: TypeAlias = SetSize | AddNode | RemoveNode


class State(Struct, array_like=True, frozen=True):
    """The ring as it is stored: ranges, so that its record does not grow with its size."""

    size: int
    strategy: str
    layout: Layout


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(State)


def load(state: Readable) -> State | None:
    """Return the ring, or None as long as it has no size."""
    record = state.get(_KEY)
    return None if record is None else _DECODER.decode(record)


def size(state: Readable) -> int | None:
    """Return the ring's size in vnodes, or None."""
    ring = load(state)
    return None if ring is None else ring.size


def nodes(state: Readable) -> Ring:
    """Return the whole ring; its problem is "no size" when it has none."""
    ring = load(state)
    return Ring((), "no size") if ring is None else Ring(_shown(ring.layout))


def apply(transaction: Transaction, command: RingCommand, turn: Turn) -> Result:
    """Apply ``command``; what changed is noted in ``turn``.

    Where nobody waits for the answer its ring is left empty.
    """
    ring = load(transaction)
    if isinstance(command, SetSize):
        return _set_size(transaction, command, ring, turn)
    try:
        name = command.node.encode()
    except UnicodeEncodeError:
        return Invalid("text must be encodable as UTF-8")
    if not 0 < len(name) <= NODE_NAME_BYTES_MAX:
        return Invalid(f"a node's name must have 1 to {NODE_NAME_BYTES_MAX} bytes")
    if ring is None:
        return Ring((), "no size")
    present = [node for node, _, _ in ring.layout]
    adding = isinstance(command, AddNode)
    if adding == (command.node in present):
        return Ring(_answer(ring.layout, turn), None if adding else "unknown node")
    if not adding:
        present.remove(command.node)
    elif len(present) >= RING_NODES_MAX:
        return Invalid(f"a ring has at most {RING_NODES_MAX} nodes")
    else:
        present.append(command.node)
    return _change(transaction, command, ring, present, turn)


def _set_size(transaction: Transaction, command: SetSize, ring: State | None, turn: Turn) -> Result:
    if not 1 <= command.size <= RING_SIZE_MAX:
        return Invalid(f"the size must be from 1 to {RING_SIZE_MAX}")
    if command.strategy not in STRATEGIES:
        return Invalid(f"unknown strategy; known are {', '.join(sorted(STRATEGIES))}")
    if ring is not None:
        return RingSize(ring.size == command.size, ring.size)
    transaction.put(_KEY, _ENCODER.encode(State(command.size, command.strategy, ())))
    turn.revision += 1
    turn.events.append(RingSized(command.size, command.strategy))
    return RingSize(True, command.size)


def _change(
    transaction: Transaction,
    command: AddNode | RemoveNode,
    ring: State,
    names: list[str],
    turn: Turn,
) -> Result:
    layout = STRATEGIES[ring.strategy](ring.size, names)
    transaction.put(_KEY, _ENCODER.encode(State(ring.size, ring.strategy, layout)))
    turn.revision += 1
    added = isinstance(command, AddNode)
    turn.events.append(RingChanged(command.node, added, ring.strategy, ring.layout, layout))
    return Ring(_answer(layout, turn))


def _answer(layout: Layout, turn: Turn) -> tuple[RingNode, ...]:
    return _shown(layout) if turn.answered else ()


def _shown(layout: Layout) -> tuple[RingNode, ...]:
    return tuple(RingNode(node, tuple(range(start, end))) for node, start, end in layout)
