"""What comes of a change of the ring: worked out the same way for a plan and for the real thing."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from attrs import frozen
from msgspec.structs import replace

from uring.machines.base import Readable
from uring.machines.commands import Invalid
from uring.machines.limits import (
    NODE_NAME_BYTES_MAX,
    NODE_WEIGHT_MAX,
    RING_NODES_MAX,
)
from uring.machines.placement import Layout, continuous, relocations
from uring.machines.ring.commands import Plan, Refused, Wish
from uring.machines.ring.minimal import rearrange
from uring.machines.ring.pages import assigned, of_layout
from uring.machines.ring.record import Node, State, seats
from uring.machines.ring.seats import Moves, Owners, fewest_moves
from uring.machines.ring.spacing import windows_spoiled

_MOVE = struct.Struct(">IIH")


Ranges: TypeAlias = list[tuple[int, int, int, int]]
"""(first vnode, last + 1, from slot, to slot) of what moves, ascending."""


@frozen
class Outcome:
    """The ring after a change.  Its revision is still the old one."""

    ring: State
    ranges: Ranges
    """What had an owner and gets another one."""
    before: Owners | None = None
    """Nothing for the strategy "continuous", whose layout says it all,"""
    after: Owners | None = None
    """and so here."""

    @property
    def moves(self) -> int:
        """How many vnodes move."""
        return sum(end - start for start, end, _, _ in self.ranges)

    def moved(self) -> dict[int, tuple[int, int]]:
        """Return vnode -> (from slot, to slot)."""
        return {
            vnode: (source, target)
            for start, end, source, target in self.ranges
            for vnode in range(start, end)
        }


def name_problem(name: str) -> str:
    """Return why a node cannot be called that, or nothing."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "text must be encodable as UTF-8"
    if not 0 < length <= NODE_NAME_BYTES_MAX:
        return f"a node's name must have 1 to {NODE_NAME_BYTES_MAX} bytes"
    return ""


def _value_problem(wish: Wish) -> str:
    weights = [each.weight for each in wish.add] + [weight for _, weight in wish.weights]
    zones = [each.zone for each in wish.add] + [zone for _, zone in wish.zones]
    if any(not 1 <= weight <= NODE_WEIGHT_MAX for weight in weights):
        return f"a weight is a whole number from 1 to {NODE_WEIGHT_MAX}; for none, remove the node"
    for zone in zones:
        if zone and name_problem(zone):
            return f"a zone's name has at most {NODE_NAME_BYTES_MAX} bytes of UTF-8"
    names = [each.name for each in wish.add] + list(wish.remove)
    names += [name for name, _ in (*wish.weights, *wish.zones)]
    return next(filter(None, map(name_problem, names)), "")


def _contradiction(ring: State, wish: Wish) -> Refused | None:
    """Return what is wrong with a wish for this ring."""
    added, removed = [each.name for each in wish.add], list(wish.remove)
    present = {node.name for node in ring.nodes}
    if len({*added, *removed}) < len(added) + len(removed):
        return Refused("conflict", "a node is named twice; add it or remove it, once")
    for pairs in (wish.weights, wish.zones):
        named = [name for name, _ in pairs]
        if len(set(named)) < len(named) or set(named) & {*added, *removed}:
            return Refused(
                "conflict", "a node is named twice; give what is added its weight and zone there"
            )
    if ring.strategy == "continuous" and _is_uneven(wish):
        return Refused(
            "conflict", 'the strategy "continuous" knows neither weights nor zones; "minimal" does'
        )
    known = next((name for name in added if name in present), None)
    if known is not None:
        return Refused("conflict", f"{known!r} is a node of the ring already")
    for name in [*removed, *(name for name, _ in (*wish.weights, *wish.zones))]:
        if name not in present:
            return Refused("unknown", f"{name!r} is no node of the ring")
    if len(present) + len(added) - len(removed) > RING_NODES_MAX:
        return Refused("conflict", f"a ring has at most {RING_NODES_MAX} nodes")
    return None


def _is_uneven(wish: Wish) -> bool:
    weights = [*(each.weight for each in wish.add), *(weight for _, weight in wish.weights)]
    zones = [*(each.zone for each in wish.add), *(zone for _, zone in wish.zones)]
    return any(weight != 1 for weight in weights) or any(zones)


def _nodes_after(ring: State, wish: Wish) -> tuple[Node, ...]:
    weights, zones, removed = dict(wish.weights), dict(wish.zones), set(wish.remove)
    kept = [
        replace(
            node,
            weight=weights.get(node.name, node.weight),
            zone=zones.get(node.name, node.zone),
        )
        for node in ring.nodes
        if node.name not in removed
    ]
    slots = ring.free_slots()
    returning = {node.name: node.slot for node in ring.leaving}
    for each in wish.add:
        slot = returning[each.name] if each.name in returning else next(slots)
        kept.append(Node(each.name, slot, each.weight, each.zone))
    return tuple(kept)


def work_out(state: Readable, ring: State, wish: Wish) -> Outcome | Refused | Invalid:
    """Return the ring as ``wish`` would make it, or why it cannot."""
    problem = _value_problem(wish)
    if problem:
        return Invalid(problem)
    contradiction = _contradiction(ring, wish)
    if contradiction is not None:
        return contradiction
    nodes = _nodes_after(ring, wish)
    if ring.strategy == "continuous":
        return _continuous(ring, nodes)
    before = assigned(state, ring)
    after = before[:]
    moves = rearrange(after, _loads(ring.nodes), seats(nodes), ring.replicas)
    if moves or before == after:
        loads = _loads(ring.nodes)
        for vnode, slot in moves.items():
            loads[before[vnode]] -= 1
            loads[slot] = loads.get(slot, 0) + 1
    else:  # nobody's before
        loads = dict(Counter(after))
    return Outcome(_with(ring, nodes, loads, ()), _ranges(before, moves), before, after)


def _continuous(ring: State, nodes: tuple[Node, ...]) -> Outcome:
    layout = continuous(ring.size, [node.name for node in nodes])
    loads = {node.slot: end - start for node, (_, start, end) in zip(nodes, layout, strict=True)}
    slots = {node.name: node.slot for node in (*ring.nodes, *nodes)}
    ranges = sorted(
        (start, end, slots[source], slots[target])
        for source, targets in relocations(ring.layout, layout).items()
        for target, spans in targets.items()
        for start, end in spans
    )
    return Outcome(_with(ring, nodes, loads, layout), ranges)


def _with(ring: State, nodes: tuple[Node, ...], loads: dict[int, int], layout: Layout) -> State:
    present = {node.slot for node in nodes}
    leaving = [node for node in ring.leaving if node.slot not in present]
    leaving += [replace(node, load=0) for node in ring.nodes if node.slot not in present]
    return replace(
        ring,
        layout=layout,
        nodes=tuple(replace(node, load=loads.get(node.slot, 0)) for node in nodes),
        leaving=tuple(leaving),
    )


def _loads(nodes: Iterable[Node]) -> dict[int, int]:
    return {node.slot: node.load for node in nodes}


def _ranges(before: Owners, moves: Moves) -> Ranges:
    found: Ranges = []
    for vnode in sorted(moves):
        source, target = before[vnode], moves[vnode]
        if found and found[-1][1:] == (vnode, source, target):
            found[-1] = (found[-1][0], vnode + 1, source, target)
        else:
            found.append((vnode, vnode + 1, source, target))
    return found


def digest(outcome: Outcome) -> str:
    """Return a hash of what the change comes to."""
    hashed = hashlib.blake2b(digest_size=8)
    for node in outcome.ring.nodes:
        hashed.update(f"{node.slot} {node.weight} {node.load} {node.zone} {node.name}\n".encode())
    for start, end, _, target in outcome.ranges:
        hashed.update(_MOVE.pack(start, end, target))
    return hashed.hexdigest()


def plan(ring: State, wish: Wish, outcome: Outcome) -> Plan:
    """Return what ``outcome`` comes to, for people to look at."""
    names = {node.slot: node.name for node in (*ring.known(), *outcome.ring.nodes)}
    loads = _loads(ring.nodes)
    spoiled = _spoiled(ring, outcome)
    minimum = fewest_moves(ring.size, seats(outcome.ring.nodes), loads)
    return Plan(
        revision=ring.revision,
        wish=wish,
        digest=digest(outcome),
        moves=outcome.moves,
        minimum=minimum,
        loads_before={node.name: node.load for node in ring.nodes},
        loads_after={node.name: node.load for node in outcome.ring.nodes},
        violations_before=spoiled[0],
        violations_after=spoiled[1],
        relocations=tuple(
            (start, end, names[source], names[target])
            for start, end, source, target in outcome.ranges
        ),
    )


def _spoiled(ring: State, outcome: Outcome) -> tuple[int, int]:
    replicas = ring.replicas
    if replicas == 1:
        return 0, 0
    before = outcome.before or of_layout(ring)
    after = outcome.after or of_layout(outcome.ring)
    return windows_spoiled(before, replicas), windows_spoiled(after, replicas)
