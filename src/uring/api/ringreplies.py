"""What the ring answers, as status codes and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uring.errors import Conflict, NotFound, PreconditionFailed, Unavailable
from uring.machines.ring.commands import (
    Abandoned,
    Handoff,
    Handoffs,
    Joined,
    Limits,
    Plan,
    Refused,
    RingPage,
    Vnode,
)

_ERRORS = {
    "no size": PreconditionFailed.code,
    "unknown": NotFound.code,
    "conflict": Conflict.code,
    "busy": Unavailable.code,
}


def page(found: RingPage, form: str) -> Any:
    """Return some nodes of the ring; of the form "vnodes" a plain list, as it always was."""
    if form == "vnodes":
        return [
            {"id": part.id, "vnodes": [v for first, end in part.ranges for v in range(first, end)]}
            for part in found.parts
        ]
    return {
        "revision": found.revision,
        "size": found.size,
        "strategy": found.strategy,
        "replicas": found.replicas,
        "count": found.nodes,
        "nodes": [
            {
                "id": part.id,
                "weight": part.weight,
                "zone": part.zone or None,
                "load": part.load,
                "ranges": [[first, end - 1] for first, end in part.ranges],
            }
            for part in found.parts
        ],
    }


def plan(found: Plan, form: str) -> dict[str, Any]:
    """Return a plan; its field of that name is what can be committed."""
    moves: dict[str, Any] = {}
    for first, end, source, target in found.relocations:
        targets = moves.setdefault(source, {"destinations": {}})["destinations"]
        listed = targets.setdefault(target, [])
        if form == "ranges":
            listed.append([first, end - 1])
        else:
            listed.extend(range(first, end))
    return {
        "revision": found.revision,
        "moves": found.moves,
        "minimum": found.minimum,
        "loads": {"before": found.loads_before, "after": found.loads_after},
        "violations": {"before": found.violations_before, "after": found.violations_after},
        "relocations": moves,
        "plan": {
            "revision": found.revision,
            "digest": found.digest,
            "add": [
                {"name": each.name, "weight": each.weight, "zone": each.zone}
                for each in found.wish.add
            ],
            "remove": list(found.wish.remove),
            "weights": dict(found.wish.weights),
            "zones": dict(found.wish.zones),
        },
    }


def handoff(found: Handoff) -> dict[str, Any]:
    """Return where a vnode stands."""
    shown: dict[str, Any] = {
        "vnode": found.vnode,
        "state": found.state,
        "owner": found.owner,
        "target": found.target,
    }
    if found.state != "owned":
        shown["address"] = found.address
    if found.began:
        shown["began"] = found.began
    return shown


def handoffs(found: Handoffs) -> dict[str, Any]:
    """Return the hand-offs that are not finished, and who takes part."""
    return {
        "revision": found.revision,
        "limits": limits(found.limits),
        "nodes": [
            {"node": each.node, "address": each.address, "alive": each.alive}
            for each in found.sessions
        ],
        "waiting": found.waiting,
        "handoffs": list(map(handoff, found.items)),
    }


def limits(found: Limits) -> dict[str, int]:
    """Return the limits."""
    return {"per_node": found.per_node, "in_all": found.in_all}


def refused(found: Refused) -> tuple[int, Any, str]:
    """Return the code and the words of a refusal."""
    return _ERRORS[found.kind], None, found.reason


OUTCOMES: dict[type, Callable[[Any], tuple[int, Any, str]]] = {
    Refused: refused,
    Joined: lambda found: (
        200,
        {"lease": found.lease, "ttl": found.ttl_ms / 1000, "revision": found.revision},
        "",
    ),
    Handoff: lambda found: (200, handoff(found), ""),
    Handoffs: lambda found: (200, handoffs(found), ""),
    Vnode: lambda found: (
        200,
        {**handoff(found.handoff), "replicas": list(found.replicas)},
        "",
    ),
    Abandoned: lambda found: (200, {"vnodes": found.vnodes}, ""),
    Limits: lambda found: (200, limits(found), ""),
}
"""Code, data, and what went wrong, of what only the ring answers."""


def spelled(found: Any, args: Any) -> Any:
    """Return what depends on the form that was asked for, spelled; anything else as it is."""
    if isinstance(found, RingPage):
        return page(found, args.format)
    if isinstance(found, Plan):
        return plan(found, args.format)
    return found
