"""The managed ring: its size, its nodes in the order of adding, and who owns what."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from msgspec.structs import replace

from uring.machines.base import Readable, Transaction
from uring.machines.commands import (
    AddNode,
    Invalid,
    RemoveNode,
    Result,
    Ring,
    RingCommand,
    RingNode,
    RingSize,
    SetSize,
)
from uring.machines.events import RANGE, RUN, RingChanged, RingMoved, RingSized
from uring.machines.limits import REPLICAS_MAX, RING_SIZE_MAX
from uring.machines.ring import change, handoffs, members, pages
from uring.machines.ring.commands import (
    AbandonNode,
    BeginHandoff,
    CancelHandoff,
    CommitPlan,
    FinishHandoff,
    Joined,
    Joining,
    JoinRing,
    LimitHandoffs,
    Refused,
    Wish,
)
from uring.machines.ring.record import State, load, store
from uring.machines.ring.seats import NOBODY, pieces, runs
from uring.machines.turn import Turn

STRATEGIES = ("continuous", "minimal")
_RUNS_MAX = 1 << 16
"""Runs of vnodes that an event of the ring keeps; beyond, subscribers read the ring."""


def size(state: Readable) -> int | None:
    """Return the ring's size in vnodes, or None."""
    ring = load(state)
    return None if ring is None else ring.size


def nodes(state: Readable) -> Ring:
    """Return the whole ring; its problem is "no size" when it has none."""
    ring = load(state)
    return Ring((), "no size") if ring is None else Ring(_shown(state, ring))


def apply(transaction: Transaction, command: RingCommand, turn: Turn) -> Result:
    """Apply ``command``; what changed is noted in ``turn``.

    Where nobody waits for the answer its ring is left empty.
    """
    if isinstance(command, SetSize):
        return _set_size(transaction, command, turn)
    if isinstance(command, AddNode | RemoveNode):
        return _one_step(transaction, command, turn)
    result: Result = _OTHERS[type(command)](transaction, command, turn)
    return result


def _set_size(transaction: Transaction, command: SetSize, turn: Turn) -> Result:
    if not 1 <= command.size <= RING_SIZE_MAX:
        return Invalid(f"the size must be from 1 to {RING_SIZE_MAX}")
    if command.strategy not in STRATEGIES:
        return Invalid(f"unknown strategy; known are {', '.join(STRATEGIES)}")
    if not 1 <= command.replicas <= min(command.size, REPLICAS_MAX):
        return Invalid(f"replicas are from 1 to {REPLICAS_MAX}, and no more than there are vnodes")
    ring = load(transaction)
    if ring is not None:
        return RingSize(ring.size == command.size, ring.size)
    turn.revision += 1
    ring = State(command.size, command.strategy, (), command.replicas, turn.revision)
    store(transaction, ring)
    turn.events.append(RingSized(command.size, command.strategy))
    return RingSize(True, command.size)


def _one_step(transaction: Transaction, command: AddNode | RemoveNode, turn: Turn) -> Result:
    problem = change.name_problem(command.node)
    if problem:
        return Invalid(problem)
    ring = load(transaction)
    if ring is None:
        return Ring((), "no size")
    adding = type(command) is AddNode
    if adding == (ring.named(command.node) is not None):
        return Ring(_answer(transaction, ring, turn), None if adding else "unknown node")
    if isinstance(command, AddNode):
        wish = Wish(add=(Joining(command.node, command.weight, command.zone),))
    else:
        wish = Wish(remove=(command.node,))
    return _change(transaction, ring, wish, turn, planned=False)


def _commit(transaction: Transaction, command: CommitPlan, turn: Turn) -> Result:
    ring = load(transaction)
    if ring is None:
        return handoffs.NO_SIZE
    if ring.revision != command.revision:
        return Refused("conflict", "the ring has changed since the plan was made; make a new one")
    return _change(transaction, ring, command.wish, turn, planned=True, digest=command.digest)


def _change(
    transaction: Transaction,
    ring: State,
    wish: Wish,
    turn: Turn,
    planned: bool,
    digest: str | None = None,
) -> Result:
    outcome = change.work_out(transaction, ring, wish)
    if isinstance(outcome, Refused | Invalid):
        return outcome
    if digest is not None and digest != change.digest(outcome):
        return Refused("conflict", "something else would come of it than was planned; plan again")
    after = _keep(transaction, ring, outcome, turn)
    turn.events.append(_event(ring, after, wish, outcome, planned))
    return Ring(_answer(transaction, after, turn))


def _keep(transaction: Transaction, ring: State, outcome: change.Outcome, turn: Turn) -> State:
    """Write what has come of a change, and count it."""
    owners = pages.elsewhere(transaction, ring) if ring.sessions else {}
    turn.revision += 1
    after = replace(outcome.ring, revision=turn.revision)
    moved = outcome.moved() if ring.sessions else {}
    if outcome.after is not None:
        whole = not outcome.ranges and outcome.before != outcome.after
        changed = None if whole else moved or outcome.moved()
        pages.write(transaction, outcome.after, changed)
    after = handoffs.reassign(transaction, after, owners, moved, turn)
    store(transaction, after)
    return after


def _event(
    ring: State, after: State, wish: Wish, outcome: change.Outcome, planned: bool
) -> RingChanged | RingMoved:
    added, removed = [each.name for each in wish.add], list(wish.remove)
    if after.strategy == "continuous" and not planned:
        (name,) = added or removed
        return RingChanged(name, bool(added), after.strategy, ring.layout, after.layout)
    gone = [node for node in ring.nodes if after.named(node.name) is None]
    places = {node.slot: place for place, node in enumerate((*after.nodes, *gone))}
    slots = outcome.after or pages.of_layout(after)
    kept = b""
    if after.nodes and pieces(slots) <= _RUNS_MAX:
        kept = b"".join(RUN.pack(start, places[slot]) for slot, start, _ in runs(slots))
        kept += RUN.pack(ring.size, 0)
    moves = b"".join(
        RANGE.pack(start, end, places[source], places[target])
        for start, end, source, target in outcome.ranges
    )
    names = [node.name for node in (*after.nodes, *gone)]
    return RingMoved(added, removed, planned, after.strategy, names, len(after.nodes), kept, moves)


def _join(transaction: Transaction, command: JoinRing, turn: Turn) -> Result:
    """Let a node take part, and add it to the ring if it is not there."""
    problem = change.name_problem(command.node)
    if problem:
        return Invalid(problem)
    ring = load(transaction)
    if ring is None:
        return handoffs.NO_SIZE
    refusal = members.refusal(transaction, command)
    if refusal is not None:
        return refusal
    wish = Wish(add=(Joining(command.node, command.weight, command.zone),))
    if ring.named(command.node) is not None:
        return handoffs.join(transaction, command, turn)
    outcome = change.work_out(transaction, ring, wish)
    if isinstance(outcome, Refused | Invalid):
        return outcome
    joined = handoffs.join(transaction, command, turn)
    now = load(transaction)
    if isinstance(joined, Joined) and now is not None:
        ring = replace(ring, sessions=now.sessions)
        outcome = evolve(outcome, ring=replace(outcome.ring, sessions=now.sessions))
        after = _keep(transaction, ring, outcome, turn)
        turn.events.append(_event(ring, after, wish, outcome, planned=False))
    return joined


def lease_ended(transaction: Transaction, lease: int, turn: Turn) -> None:
    """Take note that a lease is over, which a node of the ring may have held."""
    handoffs.lease_ended(transaction, lease, turn)


def _answer(state: Readable, ring: State, turn: Turn) -> tuple[RingNode, ...]:
    return _shown(state, ring) if turn.answered else ()


def _shown(state: Readable, ring: State) -> tuple[RingNode, ...]:
    if ring.strategy == "continuous":
        return tuple(RingNode(node, tuple(range(start, end))) for node, start, end in ring.layout)
    owned: dict[int, list[int]] = {node.slot: [] for node in ring.nodes}
    for slot, start, end in runs(pages.assigned(state, ring)):
        if slot != NOBODY:
            owned[slot].extend(range(start, end))
    return tuple(RingNode(node.name, tuple(owned[node.slot])) for node in ring.nodes)


_OTHERS: dict[type, Any] = {
    CommitPlan: _commit,
    JoinRing: _join,
    BeginHandoff: handoffs.begin,
    FinishHandoff: handoffs.finish,
    CancelHandoff: handoffs.cancel,
    AbandonNode: handoffs.abandon,
    LimitHandoffs: handoffs.limit,
}
