"""Hand-offs: a vnode goes from its owner to whom it is assigned, and always has one owner.

The ring that is shown says to whom each vnode is *assigned*, and changes at once.  Who *owns* it
is a book of its own (:mod:`pages`), in which every vnode has exactly one entry at every revision.
When a vnode is assigned anew, its owner stays the same if both sides take part in hand-offs; if
not, the new one owns it at once, as ever.  Nodes take part (:mod:`members`) from when they join
with a lease until they have left and own nothing, or are given up.

pending -> transferring -> owned.  A transfer is a record under ``mt`` and the vnode; it ends with
the lease of either side.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

from attrs import frozen
from msgspec.structs import replace

from uring.machines import leases
from uring.machines.base import Readable, Transaction
from uring.machines.commands import Grant, Invalid, Lease, Result
from uring.machines.events import HandoffMoved, NodeGone, NodeJoined
from uring.machines.limits import (
    HANDOFFS_MAX,
)
from uring.machines.ring.commands import (
    Abandoned,
    AbandonNode,
    BeginHandoff,
    CancelHandoff,
    FinishHandoff,
    Handoff,
    Joined,
    JoinRing,
    LimitHandoffs,
    Limits,
    Refused,
)
from uring.machines.ring.members import Member, alive, ended, enter, forget, member, named
from uring.machines.ring.pages import elsewhere, hand_over, look, write_owners
from uring.machines.ring.record import Node, State, load, store
from uring.machines.turn import Turn

_TRANSFER = b"mt"
_VNODE = struct.Struct(">I")
_BEGUN = struct.Struct(">HHQ")

NO_SIZE = Refused("no size", "the ring has no size yet; set it first")


@frozen
class Transfer:
    """One that is under way."""

    vnode: int
    source: int
    target: int
    began: int


def transfers(state: Readable) -> Iterator[Transfer]:
    """Yield what is under way; never more than the limit for all."""
    for key, record in state.iterate(_TRANSFER):
        source, target, began = _BEGUN.unpack(record)
        yield Transfer(_VNODE.unpack(key[len(_TRANSFER) :])[0], source, target, began)


def transfer(state: Readable, vnode: int) -> Transfer | None:
    """Return what is under way for ``vnode``."""
    record = state.get(_TRANSFER + _VNODE.pack(vnode))
    return None if record is None else Transfer(vnode, *_BEGUN.unpack(record))


def shown(state: Readable, ring: State, vnode: int) -> Handoff:
    """Return where ``vnode`` stands."""
    owner, target = look(state, ring, vnode)
    return _shown(state, ring, vnode, owner, target)


def _shown(state: Readable, ring: State, vnode: int, owner: int, target: int) -> Handoff:
    from_, to = ring.slotted(owner), ring.slotted(target)
    owned_by = None if from_ is None else from_.name
    goes_to = None if to is None else to.name
    if owner == target:
        return Handoff(vnode, "owned", owned_by, goes_to)
    under_way = transfer(state, vnode)
    taker = None if goes_to is None else member(state, goes_to)
    return Handoff(
        vnode,
        "pending" if under_way is None else "transferring",
        owned_by,
        goes_to,
        0 if under_way is None else under_way.began,
        "" if taker is None else taker.address,
    )


# -- nodes that take part ------------------------------------------------------------------------


def join(transaction: Transaction, command: JoinRing, turn: Turn) -> Result:
    """Let a node of the ring take part; :func:`refusal` was asked before."""
    granted = leases.grant(transaction, Grant(command.ttl_ms), turn)
    if not isinstance(granted, Lease):
        return granted
    before = member(transaction, command.node)
    if before is not None:
        old = leases.load(transaction, before.lease)
        if old.alive:
            lease_ended(transaction, old.id, turn)
            leases.end(transaction, old, turn)
    enter(transaction, command.node, Member(granted.id, command.instance, command.address))
    ring = load(transaction)
    if ring is not None and before is None:
        store(transaction, replace(ring, sessions=ring.sessions + 1))
    turn.revision += 1
    turn.events.append(NodeJoined(command.node, command.address, granted.id))
    return Joined(granted.id, granted.ttl_ms, turn.revision)


def lease_ended(transaction: Transaction, lease: int, turn: Turn) -> None:
    """Take note that a lease is over: the transfers of the node that held it are pending again."""
    name = ended(transaction, lease)
    if name is None:
        return
    ring = load(transaction)
    node = None if ring is None else ring.lookup(name)
    vnodes = []
    if node is not None:
        for each in list(transfers(transaction)):
            if node.slot in (each.source, each.target):
                transaction.delete(_TRANSFER + _VNODE.pack(each.vnode))
                vnodes.append(each.vnode)
    turn.revision += 1
    turn.events.append(NodeGone(name, vnodes))


# -- what a change of the ring leaves to be handed off ------------------------------------------


def reassign(
    transaction: Transaction,
    after: State,
    owners: dict[int, int],
    moved: dict[int, tuple[int, int]],
    turn: Turn,
) -> State:
    """Take note of what was assigned anew; ``moved`` is vnode -> (from slot, to slot).

    ``owners`` are those that differed from who was assigned before (:func:`pages.elsewhere`), and
    the pages of ``after`` have been written.  Returns the record that is to be stored.
    """
    if not after.sessions:
        return replace(after, leaving=())
    takes_part = {node.slot for node in after.known() if member(transaction, node.name) is not None}
    for vnode, (source, target) in moved.items():
        owner = owners.pop(vnode, source)
        if owner != target and owner in takes_part and target in takes_part:
            owners[vnode] = owner
    if not after.nodes:
        owners.clear()  # nobody is left to take them over
    write_owners(transaction, after, owners)
    for each in list(transfers(transaction)):
        if owners.get(each.vnode) != each.source or each.vnode in moved:
            transaction.delete(_TRANSFER + _VNODE.pack(each.vnode))
    counts = Counter(owners.values())
    after = replace(
        after, leaving=tuple(replace(node, load=counts[node.slot]) for node in after.leaving)
    )
    for node in after.leaving:
        if not node.load:
            after = forget(transaction, after, node, turn)
    return after


# -- one hand-off ---------------------------------------------------------------------------------


def begin(transaction: Transaction, command: BeginHandoff, turn: Turn) -> Result:
    """Begin a transfer, if the limits allow."""
    asked = _asked(transaction, command.vnode, command.lease)
    if isinstance(asked, Refused | Invalid):
        return asked
    ring, source, target = asked
    if source.slot == target.slot:
        return shown(transaction, ring, command.vnode)
    under_way = transfer(transaction, command.vnode)
    if under_way is not None:
        return shown(transaction, ring, command.vnode)
    if alive(transaction, target.name) is None:
        return Refused(
            "busy", f"{target.name!r}, which is to own it, is not there; try again later"
        )
    many = list(transfers(transaction))
    for node in (source, target):
        of_node = sum(node.slot in (each.source, each.target) for each in many)
        if of_node >= ring.per_node:
            return Refused(
                "busy", f"{node.name!r} is in {of_node} hand-offs already; try again later"
            )
    if len(many) >= ring.in_all:
        return Refused("busy", f"there are {len(many)} hand-offs already; try again later")
    turn.revision += 1
    record = _BEGUN.pack(source.slot, target.slot, turn.revision)
    transaction.put(_TRANSFER + _VNODE.pack(command.vnode), record)
    return _moved(transaction, ring, command.vnode, turn)


def finish(transaction: Transaction, command: FinishHandoff, turn: Turn) -> Result:
    """Let the target own the vnode."""
    asked = _under_way(transaction, command)
    if isinstance(asked, Handoff | Refused | Invalid):
        return asked
    ring, source = asked
    transaction.delete(_TRANSFER + _VNODE.pack(command.vnode))
    hand_over(transaction, ring, command.vnode)
    turn.revision += 1
    result = _moved(transaction, ring, command.vnode, turn, source.name)
    if any(node.slot == source.slot for node in ring.leaving):
        store(transaction, _one_less(transaction, ring, source, turn))
    return result


def _one_less(transaction: Transaction, ring: State, source: Node, turn: Turn) -> State:
    """Count down what a node that has left still owns."""
    if source.load <= 1:
        return forget(transaction, ring, source, turn)
    leaving = tuple(
        replace(node, load=node.load - 1) if node.slot == source.slot else node
        for node in ring.leaving
    )
    return replace(ring, leaving=leaving)


def cancel(transaction: Transaction, command: CancelHandoff, turn: Turn) -> Result:
    """Let the transfer be pending again."""
    asked = _under_way(transaction, command)
    if isinstance(asked, Handoff | Refused | Invalid):
        return asked
    ring, _ = asked
    transaction.delete(_TRANSFER + _VNODE.pack(command.vnode))
    turn.revision += 1
    return _moved(transaction, ring, command.vnode, turn)


def _moved(
    transaction: Transaction, ring: State, vnode: int, turn: Turn, source: str | None = None
) -> Handoff:
    found = shown(transaction, ring, vnode)
    turn.events.append(
        HandoffMoved(vnode, found.state, source or found.owner or "", found.target or "")
    )
    return found


def _asked(
    transaction: Transaction, vnode: int, lease: int
) -> tuple[State, Node, Node] | Refused | Invalid:
    """Return the ring and the nodes that own ``vnode`` and are to; ``lease`` is the owner's."""
    ring = load(transaction)
    if ring is None:
        return NO_SIZE
    if not 0 <= vnode < ring.size:
        return Refused("unknown", f"the ring has vnodes from 0 to {ring.size - 1}")
    name = named(transaction, lease)
    if name is None:
        return Refused("conflict", "the lease is over; join again")
    source, target = map(ring.slotted, look(transaction, ring, vnode))
    if source is None or target is None:
        return Refused("conflict", "the ring has no nodes")
    if source.name != name:
        return Refused("conflict", f"{name!r} does not own vnode {vnode}, but {source.name!r} does")
    return ring, source, target


def _under_way(
    transaction: Transaction, command: FinishHandoff | CancelHandoff
) -> tuple[State, Node] | Handoff | Refused | Invalid:
    asked = _asked(transaction, command.vnode, command.lease)
    if isinstance(asked, Refused | Invalid):
        return asked
    ring, source, _ = asked
    under_way = transfer(transaction, command.vnode)
    if under_way is None or under_way.began != command.began:
        return Refused("conflict", "that transfer is not under way any more; begin again")
    return ring, source


def abandon(transaction: Transaction, command: AbandonNode, turn: Turn) -> Result:
    """Give a node up that has gone for good: the targets own at once what it was to hand off."""
    ring = load(transaction)
    if ring is None:
        return NO_SIZE
    try:
        command.node.encode()
    except UnicodeEncodeError:
        return Invalid("text must be encodable as UTF-8")
    node = ring.lookup(command.node)
    if node is None:
        return Refused("unknown", f"{command.node!r} is no node of the ring")
    if alive(transaction, node.name) is not None:
        return Refused(
            "conflict", f"{node.name!r} holds a lease: it is there; wait for that to end"
        )
    owners = elsewhere(transaction, ring)
    given = [vnode for vnode, owner in owners.items() if owner == node.slot]
    if not given:
        return Abandoned(0)
    for vnode in given:
        del owners[vnode]
    write_owners(transaction, ring, owners)
    if any(each.slot == node.slot for each in ring.leaving):
        store(transaction, forget(transaction, ring, node, turn))
    turn.revision += 1
    turn.events.append(NodeGone(node.name, given, True))
    return Abandoned(len(given))


def limit(transaction: Transaction, command: LimitHandoffs, turn: Turn) -> Result:
    """Set the limits; what is under way goes on."""
    ring = load(transaction)
    if ring is None:
        return NO_SIZE
    if not (1 <= command.per_node <= HANDOFFS_MAX and 1 <= command.in_all <= HANDOFFS_MAX):
        return Invalid(f"limits are whole numbers from 1 to {HANDOFFS_MAX}")
    store(transaction, replace(ring, per_node=command.per_node, in_all=command.in_all))
    return Limits(command.per_node, command.in_all)
