"""The ring at the doors: what may be asked, checked and turned into commands, and what is answered.

The same for REST, where these shapes are bodies, and for the WebSocket, where they have a ``rid``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from uring.api import decode, fields
from uring.errors import BadRequest
from uring.machines.commands import (
    AddNode,
    GetNodes,
    GetSize,
    KeepAlive,
    RemoveNode,
    SetSize,
)
from uring.machines.limits import (
    HANDOFFS_MAX,
    LEASE_TTL_MS_MAX,
    LEASE_TTL_MS_MIN,
    NODE_WEIGHT_MAX,
    REPLICAS_MAX,
    RING_NODES_MAX,
    RING_SIZE_MAX,
)
from uring.machines.ring.commands import (
    AbandonNode,
    BeginHandoff,
    CancelHandoff,
    CommitPlan,
    FinishHandoff,
    GetHandoffs,
    GetPlan,
    GetRing,
    GetVnode,
    Joining,
    JoinRing,
    LimitHandoffs,
    Wish,
)

USUAL_STRATEGY = "minimal"
PAGE_NODES = RING_NODES_MAX
HANDOFFS_PAGE = 100


class Nothing(Struct, forbid_unknown_fields=True):
    """No arguments."""


class SizeArgs(Struct, forbid_unknown_fields=True):
    """SetSize, and the body of POST /mring."""

    size: fields.RingSize
    strategy: fields.Strategy = USUAL_STRATEGY
    replicas: fields.Replicas = 1


class NodeArgs(Struct, forbid_unknown_fields=True):
    """AddNode, and the body of POST /mring/node."""

    node: fields.NodeName
    weight: fields.Weight = 1
    zone: fields.Zone = ""


class NameArgs(Struct, forbid_unknown_fields=True):
    """A node that is there already."""

    node: fields.NodeName


class PageArgs(Struct, forbid_unknown_fields=True):
    """GetNodes: some nodes of the ring, in some form."""

    format: fields.Form = "vnodes"
    start: fields.NodesStart = 0
    count: fields.NodesCount = PAGE_NODES


class Newcomer(Struct, forbid_unknown_fields=True):
    """A node in a plan; its name alone will do."""

    name: fields.NodeName
    weight: fields.Weight = 1
    zone: fields.Zone = ""


class PlanArgs(Struct, forbid_unknown_fields=True):
    """Plan, and the body of POST /mring/plan."""

    add: list[fields.NodeName | Newcomer] = []
    remove: list[fields.NodeName] = []
    weights: dict[fields.NodeName, fields.Weight] = {}
    zones: dict[fields.NodeName, fields.Zone] = {}
    format: fields.Form = "vnodes"


class Planned(Struct, forbid_unknown_fields=True):
    """A plan as it was answered."""

    revision: fields.Revision
    digest: fields.Digest
    add: list[fields.NodeName | Newcomer] = []
    remove: list[fields.NodeName] = []
    weights: dict[fields.NodeName, fields.Weight] = {}
    zones: dict[fields.NodeName, fields.Zone] = {}


class CommitArgs(Struct, forbid_unknown_fields=True):
    """Commit, and the body of POST /mring/commit."""

    plan: Planned


class VnodeArgs(Struct, forbid_unknown_fields=True):
    """GetVnode."""

    vnode: fields.Vnode


class HandoffsArgs(Struct, forbid_unknown_fields=True):
    """GetHandoffs: those that are not finished."""

    source: fields.Source = ""
    start: fields.HandoffsStart = 0
    count: fields.HandoffsCount = HANDOFFS_PAGE


class LimitArgs(Struct, forbid_unknown_fields=True):
    """Limit, and the body of POST /mring/handoff/limits."""

    per_node: fields.HandoffLimit
    in_all: fields.HandoffLimit


class JoinArgs(Struct, forbid_unknown_fields=True):
    """Join: a node says that it is there."""

    node: fields.NodeName
    instance: fields.Instance
    address: fields.RingAddress
    ttl: fields.Seconds = 10.0
    weight: fields.Weight = 1
    zone: fields.Zone = ""


class LeaseArgs(Struct, forbid_unknown_fields=True):
    """Renew."""

    lease: fields.Lease


class BeginArgs(Struct, forbid_unknown_fields=True):
    """BeginHandoff."""

    vnode: fields.Vnode
    lease: fields.Lease


class EndArgs(Struct, forbid_unknown_fields=True):
    """FinishHandoff and CancelHandoff."""

    vnode: fields.Vnode
    lease: fields.Lease
    began: fields.Began


# -- to commands ----------------------------------------------------------------------------------


def _whole(number: int, least: int, most: int, what: str) -> int:
    if not least <= number <= most:
        raise BadRequest(f"{what} must be a whole number from {least} to {most}")
    return number


def _id(number: int, what: str) -> int:
    return _whole(number, 0, (1 << 63) - 1, what)


def _weight(weight: int) -> int:
    return _whole(weight, 1, NODE_WEIGHT_MAX, "a weight")


def _zone(zone: str) -> str:
    return zone and decode.check_name(zone)


def set_size(args: SizeArgs) -> SetSize:
    """Return the command.  Raises BadRequest, as all of these do."""
    return SetSize(
        decode.check_size(args.size),
        decode.check_strategy(args.strategy),
        _whole(args.replicas, 1, REPLICAS_MAX, "replicas"),
    )


def add_node(args: NodeArgs) -> AddNode:
    """See :func:`set_size`."""
    return AddNode(decode.check_name(args.node), _weight(args.weight), _zone(args.zone))


def remove_node(args: NameArgs) -> RemoveNode:
    """See :func:`set_size`."""
    return RemoveNode(decode.check_name(args.node))


def get_nodes(args: PageArgs) -> GetNodes | GetRing:
    """See :func:`set_size`."""
    check_format(args.format)
    if args == PageArgs():
        return GetNodes()
    start = _whole(args.start, 0, RING_NODES_MAX, "start")
    return GetRing(start, _whole(args.count, 1, PAGE_NODES, "count"))


def check_format(form: str) -> str:
    """Return the name of a form if there is one."""
    if form not in ("vnodes", "ranges"):
        raise BadRequest("format must be vnodes or ranges")
    return form


def wish(args: PlanArgs | Planned) -> Wish:
    """See :func:`set_size`."""
    if len(args.add) + len(args.remove) > 2 * RING_NODES_MAX:
        raise BadRequest(f"a ring has at most {RING_NODES_MAX} nodes")
    add = []
    for each in args.add:
        each = Newcomer(each) if isinstance(each, str) else each
        add.append(Joining(decode.check_name(each.name), _weight(each.weight), _zone(each.zone)))
    return Wish(
        tuple(add),
        tuple(map(decode.check_name, args.remove)),
        tuple((decode.check_name(name), _weight(each)) for name, each in args.weights.items()),
        tuple((decode.check_name(name), _zone(each)) for name, each in args.zones.items()),
    )


def get_plan(args: PlanArgs) -> GetPlan:
    """See :func:`set_size`."""
    check_format(args.format)
    return GetPlan(wish(args))


def commit(args: CommitArgs) -> CommitPlan:
    """See :func:`set_size`."""
    plan = args.plan
    if len(plan.digest) > 64:
        raise BadRequest("that is no plan; send what POST /mring/plan answered as plan")
    return CommitPlan(_id(plan.revision, "revision"), wish(plan), plan.digest)


def get_vnode(args: VnodeArgs) -> GetVnode:
    """See :func:`set_size`."""
    return GetVnode(_whole(args.vnode, 0, RING_SIZE_MAX - 1, "vnode"))


def get_handoffs(args: HandoffsArgs) -> GetHandoffs:
    """See :func:`set_size`."""
    source = args.source and decode.check_name(args.source)
    start = _whole(args.start, 0, RING_SIZE_MAX, "start")
    return GetHandoffs(source, start, _whole(args.count, 1, 10 * HANDOFFS_PAGE, "count"))


def limit(args: LimitArgs) -> LimitHandoffs:
    """See :func:`set_size`."""
    return LimitHandoffs(
        _whole(args.per_node, 1, HANDOFFS_MAX, "per_node"),
        _whole(args.in_all, 1, HANDOFFS_MAX, "in_all"),
    )


def abandon(args: NameArgs) -> AbandonNode:
    """See :func:`set_size`."""
    return AbandonNode(decode.check_name(args.node))


def join(args: JoinArgs) -> JoinRing:
    """See :func:`set_size`."""
    # Of inf and nan no integer can be made.
    if not LEASE_TTL_MS_MIN <= args.ttl * 1000 <= LEASE_TTL_MS_MAX:
        least, most = LEASE_TTL_MS_MIN / 1000, LEASE_TTL_MS_MAX // 1000
        raise BadRequest(f"ttl is from {least:g} to {most} seconds")
    name = decode.check_name(args.node)
    weight, zone = _weight(args.weight), _zone(args.zone)
    return JoinRing(name, args.instance, args.address, int(args.ttl * 1000), weight, zone)


def renew(args: LeaseArgs) -> KeepAlive:
    """See :func:`set_size`."""
    return KeepAlive(_id(args.lease, "lease"))


def begin(args: BeginArgs) -> BeginHandoff:
    """See :func:`set_size`."""
    return BeginHandoff(get_vnode(VnodeArgs(args.vnode)).vnode, _id(args.lease, "lease"))


def finish(args: EndArgs) -> FinishHandoff:
    """See :func:`set_size`."""
    begun = begin(BeginArgs(args.vnode, args.lease))
    return FinishHandoff(begun.vnode, begun.lease, _id(args.began, "began"))


def cancel(args: EndArgs) -> CancelHandoff:
    """See :func:`set_size`."""
    done = finish(args)
    return CancelHandoff(done.vnode, done.lease, done.began)


COMMANDS: dict[str, tuple[type[Struct], Callable[[Any], Any]]] = {
    "SetSize": (SizeArgs, set_size),
    "AddNode": (NodeArgs, add_node),
    "RemoveNode": (NameArgs, remove_node),
    "Commit": (CommitArgs, commit),
    "Limit": (LimitArgs, limit),
    "Abandon": (NameArgs, abandon),
    "Join": (JoinArgs, join),
    "Renew": (LeaseArgs, renew),
    "BeginHandoff": (BeginArgs, begin),
    "FinishHandoff": (EndArgs, finish),
    "CancelHandoff": (EndArgs, cancel),
}
"""What changes the ring, by its name on the WebSocket."""

QUERIES: dict[str, tuple[type[Struct], Callable[[Any], Any]]] = {
    "GetSize": (Nothing, lambda args: GetSize()),
    "GetNodes": (PageArgs, get_nodes),
    "Plan": (PlanArgs, get_plan),
    "GetVnode": (VnodeArgs, get_vnode),
    "GetHandoffs": (HandoffsArgs, get_handoffs),
}
"""What reads it."""
