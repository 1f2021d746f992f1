"""The managed ring: its size, its nodes in the order of adding, and who owns what."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from uring.machines.base import Readable, Transaction
from uring.machines.commands import (
    AddNode,
    Change,
    Invalid,
    RemoveNode,
    Result,
    Ring,
    RingNode,
    RingSize,
    SetSize,
)
from uring.machines.limits import NODE_NAME_BYTES_MAX, RING_SIZE_MAX
from uring.machines.placement import STRATEGIES, Layout, Relocations, relocations

CHANNEL = "mring"
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


def apply(
    transaction: Transaction, command: RingCommand, revision: int, changes: list[Change]
) -> Result:
    """Apply ``command``; a change gets ``revision + 1`` and is appended to ``changes``."""
    ring = load(transaction)
    if isinstance(command, SetSize):
        return _set_size(transaction, command, ring, revision, changes)
    try:
        name = command.node.encode()
    except UnicodeEncodeError:
        return Invalid("text must be encodable as UTF-8")
    if not 0 < len(name) <= NODE_NAME_BYTES_MAX:
        return Invalid(f"a node's name must have 1 to {NODE_NAME_BYTES_MAX} bytes")
    if ring is None:
        return Ring((), "no size")
    present = [node for node, _, _ in ring.layout]
    if isinstance(command, AddNode):
        if command.node in present:
            return Ring(_shown(ring.layout))
        return _change(
            transaction, "NodeAdded", command.node, ring, [*present, command.node], revision, changes
        )
    if command.node not in present:
        return Ring(_shown(ring.layout), "unknown node")
    present.remove(command.node)
    return _change(transaction, "NodeRemoved", command.node, ring, present, revision, changes)


def _set_size(
    transaction: Transaction,
    command: SetSize,
    ring: State | None,
    revision: int,
    changes: list[Change],
) -> Result:
    if not 1 <= command.size <= RING_SIZE_MAX:
        return Invalid(f"the size must be from 1 to {RING_SIZE_MAX}")
    if command.strategy not in STRATEGIES:
        return Invalid(f"unknown strategy; known are {', '.join(sorted(STRATEGIES))}")
    if ring is not None:
        return RingSize(ring.size == command.size, ring.size)
    transaction.put(_KEY, _ENCODER.encode(State(command.size, command.strategy, ())))
    event = {"size": command.size, "strategy": command.strategy}
    changes.append(Change(CHANNEL, revision + 1, {"SetSize": event}))
    return RingSize(True, command.size)


def _change(
    transaction: Transaction,
    kind: str,
    node: str,
    ring: State,
    names: list[str],
    revision: int,
    changes: list[Change],
) -> Result:
    layout = STRATEGIES[ring.strategy](ring.size, names)
    transaction.put(_KEY, _ENCODER.encode(State(ring.size, ring.strategy, layout)))
    shown = _shown(layout)
    event = {
        "node": node,
        "strategy": ring.strategy,
        "next": [{"id": each.id, "vnodes": list(each.vnodes)} for each in shown],
        "relocations": _spelled(relocations(ring.layout, layout)),
    }
    changes.append(Change(CHANNEL, revision + 1, {kind: event}))
    return Ring(shown)


def _shown(layout: Layout) -> tuple[RingNode, ...]:
    return tuple(RingNode(node, tuple(range(start, end))) for node, start, end in layout)


def _spelled(moves: Relocations) -> dict[str, object]:
    return {
        source: {
            "destinations": {
                target: [vnode for start, end in ranges for vnode in range(start, end)]
                for target, ranges in targets.items()
            }
        }
        for source, targets in moves.items()
    }
