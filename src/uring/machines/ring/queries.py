"""What can be read of the ring, apart from the whole of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from uring.machines.base import Readable
from uring.machines.commands import Invalid
from uring.machines.ring import change, handoffs, members, pages
from uring.machines.ring.commands import (
    GetHandoffs,
    GetPlan,
    GetRing,
    GetVnode,
    Handoff,
    Handoffs,
    Limits,
    Plan,
    Refused,
    RingPage,
    RingPart,
    Session,
    Vnode,
)
from uring.machines.ring.record import State, load
from uring.machines.ring.seats import runs


def _vnode(state: Readable, ring: State, query: GetVnode) -> Vnode | Refused:
    if not 0 <= query.vnode < ring.size:
        return Refused("unknown", f"the ring has vnodes from 0 to {ring.size - 1}")
    slots = pages.replicas_of(state, ring, query.vnode)
    nodes = dict.fromkeys(node.name for node in map(ring.slotted, slots) if node is not None)
    return Vnode(handoffs.shown(state, ring, query.vnode), tuple(nodes))


def _ring(state: Readable, ring: State, query: GetRing) -> RingPage:
    """Return some nodes with what is assigned to them, in ranges."""
    nodes = ring.nodes[query.start : query.start + query.count]
    found: dict[int, list[tuple[int, int]]] = {node.slot: [] for node in nodes}
    if nodes:
        for slot, start, end in runs(pages.assigned(state, ring)):
            if slot in found:
                found[slot].append((start, end))
    parts = tuple(
        RingPart(node.name, node.weight, node.zone, node.load, tuple(found[node.slot]))
        for node in nodes
    )
    return RingPage(ring.revision, ring.size, ring.strategy, ring.replicas, len(ring.nodes), parts)


def _plan(state: Readable, ring: State, query: GetPlan) -> Plan | Refused | Invalid:
    outcome = change.work_out(state, ring, query.wish)
    if isinstance(outcome, Refused | Invalid):
        return outcome
    return change.plan(ring, query.wish, outcome)


def _handoffs(state: Readable, ring: State, query: GetHandoffs) -> Handoffs:
    owners = pages.elsewhere(state, ring) if ring.sessions else {}
    sources = {node.slot for node in ring.known() if query.source in ("", node.name)}
    wanted = (v for v in sorted(owners) if v >= query.start and owners[v] in sources)
    items: tuple[Handoff, ...] = tuple(
        handoffs.shown(state, ring, vnode) for vnode in islice(wanted, query.count)
    )
    sessions = []
    for node in ring.known():
        member = members.member(state, node.name)
        if member is not None:
            alive = members.alive(state, node.name) is not None
            sessions.append(Session(node.name, member.address, member.lease, alive))
    limits = Limits(ring.per_node, ring.in_all)
    return Handoffs(ring.revision, limits, tuple(sessions), len(owners), items)


_ANSWERS: dict[type, Callable[[Readable, State, Any], Any]] = {
    GetVnode: _vnode,
    GetRing: _ring,
    GetPlan: _plan,
    GetHandoffs: _handoffs,
}


def answer(state: Readable, query: Any) -> Any:
    """Answer a query about the ring; :class:`Refused` as long as it has no size."""
    ring = load(state)
    return handoffs.NO_SIZE if ring is None else _ANSWERS[type(query)](state, ring, query)
