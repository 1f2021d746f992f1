"""What a WebSocket is told without having asked for each: events, and where a watch stands."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from uring.api.description.answers import (
    Count,
    Destinations,
    Revision,
    RingNode,
    Roles,
    Size,
    Value,
)
from uring.api.fields import Protocol, Rid

Channels: TypeAlias = Literal["kv", "mring", "uring"]


class Selected(Struct):
    """The protocol is selected."""

    rid: Rid
    protocol: Protocol


# -- where a watch stands -------------------------------------------------------------------------


class About(Struct):
    """Which subscription it is."""

    rid: Rid
    channel: Channels
    prefix: str | UnsetType = UNSET


class Subscribed(About, kw_only=True):
    """Comes first; the node's state is at ``revision``."""

    revision: Revision


class Unsubscribed(About):
    """The subscription is over, as was asked."""


class Compacted(About, kw_only=True):
    """What was asked for is older than the first that is kept: a snapshot follows."""

    revision: Revision
    oldest: Revision


class Snapshot(About, kw_only=True):
    """A piece of what there is at ``revision``; after the last one come the changes."""

    revision: Revision
    items: list[Any]
    last: bool


class Progress(About, kw_only=True):
    """Everything up to ``revision`` has been told."""

    revision: Revision


class Ended(About, kw_only=True):
    """The subscription is over; resume from ``from``, here or elsewhere."""

    code: Count
    reason: str
    resume: Revision | UnsetType = msgspec.field(name="from", default=UNSET)


MARKS: tuple[type[Struct], ...] = (Subscribed, Unsubscribed, Compacted, Snapshot, Progress, Ended)


# -- changes of keys ------------------------------------------------------------------------------


class KeyStored(Struct):
    """A key was stored."""

    scope: Literal[0]
    key: str
    new: Value
    old: Value | None


class KeyRemoved(Struct):
    """A key was removed."""

    scope: Literal[0]
    key: str
    old: Value | None


class SwapConflict(KeyStored):
    """A compare-and-swap found something else; nothing was changed."""

    check: Value | None


# -- changes of the ring --------------------------------------------------------------------------


class RingSized(Size):
    """The ring has got its size."""

    strategy: str


class _Moved(Struct, kw_only=True):
    strategy: str
    next: list[RingNode] | None
    relocations: dict[str, Destinations]


class NodeMoved(_Moved, kw_only=True):
    """A node was added or removed; ``next`` is null where the ring is in too many pieces."""

    node: str


class RingChanged(_Moved, kw_only=True):
    """A plan was committed."""

    added: list[str]
    removed: list[str]


class NodeJoined(Struct):
    """A node of the ring takes part in hand-offs from now on."""

    node: str
    address: str


class NodeGone(Struct):
    """The lease of a node is over, or it was given up."""

    node: str
    vnodes: list[Count]


class HandoffMoved(Struct):
    """A hand-off has begun, is pending again, or is finished."""

    vnode: Count
    state: str
    source: str | None
    target: str | None


# -- what happens to a node -----------------------------------------------------------------------


class RoleChanged(Struct):
    """A node plays another part."""

    node: int
    prev_state: Roles
    next_state: Roles


class MembersChanged(Struct):
    """A node was added; the members from now on."""

    node: int
    members: list[int]


EVENTS: dict[str, dict[str, type[Struct]]] = {
    "kv": {
        "Put": KeyStored,
        "Cas": KeyStored,
        "CasConflict": SwapConflict,
        "Delete": KeyRemoved,
    },
    "mring": {
        "SetSize": RingSized,
        "NodeAdded": NodeMoved,
        "NodeRemoved": NodeMoved,
        "RingChanged": RingChanged,
        "NodeJoined": NodeJoined,
        "NodeGone": NodeGone,
        "NodeAbandoned": NodeGone,
        "Handoff": HandoffMoved,
    },
    "uring": {"StateChange": RoleChanged, "AddNode": MembersChanged},
}
"""Every event, by its channel and the name that it has on the wire."""
