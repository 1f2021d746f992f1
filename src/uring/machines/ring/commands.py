"""What may be asked of the ring beyond its size, adding and removing: see machines.commands.

Plans, hand-offs, and the nodes that take part in them.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Joining(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A node that is to be added."""

    name: str
    weight: int = 1
    zone: str = ""


class Wish(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a plan is to change, all at once."""

    add: tuple[Joining, ...] = ()
    remove: tuple[str, ...] = ()
    weights: tuple[tuple[str, int], ...] = ()
    zones: tuple[tuple[str, str], ...] = ()


class CommitPlan(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mC"):
    """Do what was planned at ``revision``, if that is what comes of it; answers :class:`Ring`.

    ``digest`` is that of the moves that the plan has shown.
    """

    revision: int
    wish: Wish
    digest: str


class JoinRing(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mJ"):
    """A node says that it is there and takes part in hand-offs; answers :class:`Joined`.

    It is added to the ring if it is not in it.  ``instance`` tells lives of the same node, which
    may follow each other at once, from others of its name.
    """

    node: str
    instance: str
    address: str
    ttl_ms: int
    weight: int = 1
    zone: str = ""


class BeginHandoff(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mB"):
    """The owner begins to hand ``vnode`` off; answers :class:`Handoff`."""

    vnode: int
    lease: int


class FinishHandoff(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mF"):
    """The target has all of ``vnode``: it owns it from now on; answers :class:`Handoff`.

    ``began`` is what the beginning was answered with.
    """

    vnode: int
    lease: int
    began: int


class CancelHandoff(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mX"):
    """The hand-off of ``vnode`` that began so is pending again; answers :class:`Handoff`."""

    vnode: int
    lease: int
    began: int


class AbandonNode(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mA"):
    """``node`` will not come back: what it was to hand off is owned by the targets at once.

    Answers :class:`Abandoned`.
    """

    node: str


class LimitHandoffs(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mL"):
    """Set how many hand-offs there may be at a time; answers :class:`Limits`."""

    per_node: int
    in_all: int


HandoffCommand: TypeAlias = (
    JoinRing | BeginHandoff | FinishHandoff | CancelHandoff | AbandonNode | LimitHandoffs
)


class Refused(Struct, frozen=True):
    """Nothing was done.  ``kind``: "no size", "unknown", "conflict", or "busy" (try again)."""

    kind: str
    reason: str


class Joined(Struct, frozen=True):
    """The node takes part as long as it renews ``lease``."""

    lease: int
    ttl_ms: int
    revision: int


class Handoff(Struct, frozen=True):
    """Where a vnode stands.  ``state`` is "pending", "transferring", or "owned".

    ``began`` is the revision at which the transfer began, 0 if none is under way.
    """

    vnode: int
    state: str
    owner: str | None
    target: str | None
    began: int = 0
    address: str = ""
    """Where the target can be reached, if it takes part."""


class Abandoned(Struct, frozen=True):
    """So many vnodes have changed their owner."""

    vnodes: int


class Limits(Struct, frozen=True):
    """Hand-offs at a time."""

    per_node: int
    in_all: int


RingResult: TypeAlias = Refused | Joined | Handoff | Abandoned | Limits


class GetVnode(Struct, frozen=True):
    """Read one vnode; answers :class:`Vnode` or :class:`Refused`."""

    vnode: int


class Vnode(Struct, frozen=True):
    """One vnode, and the nodes that hold its replicas."""

    handoff: Handoff
    replicas: tuple[str, ...]


class GetRing(Struct, frozen=True):
    """Read ``count`` nodes of the ring at most, from place ``start`` on; answers a RingPage."""

    start: int
    count: int


class RingPart(Struct, frozen=True):
    """A node and what is assigned to it: ranges (first, last + 1), ascending."""

    id: str
    weight: int
    zone: str
    load: int
    ranges: tuple[tuple[int, int], ...]


class RingPage(Struct, frozen=True):
    """Nodes in the order of adding; ``nodes`` is how many the ring has."""

    revision: int
    size: int
    strategy: str
    replicas: int
    nodes: int
    parts: tuple[RingPart, ...]


class GetPlan(Struct, frozen=True):
    """Work a plan out; answers :class:`Plan` or :class:`Refused` or Invalid."""

    wish: Wish


class Plan(Struct, frozen=True):
    """What would come of a wish.  Nothing is changed."""

    revision: int
    wish: Wish
    digest: str
    moves: int
    minimum: int
    """The fewest moves that lead to loads by weight."""
    loads_before: dict[str, int]
    loads_after: dict[str, int]
    violations_before: int
    """Vnodes that have a node twice among their replicas."""
    violations_after: int
    relocations: tuple[tuple[int, int, str, str], ...]
    """(first, last + 1, from, to), ascending."""


class GetHandoffs(Struct, frozen=True):
    """Read hand-offs from vnode ``start`` on, of ``source`` if it is named."""

    source: str
    start: int
    count: int


class Session(Struct, frozen=True):
    """A node that takes part; ``alive`` while it renews its lease."""

    node: str
    address: str
    lease: int
    alive: bool


class Handoffs(Struct, frozen=True):
    """Vnodes that are not owned by whom they are assigned to."""

    revision: int
    limits: Limits
    sessions: tuple[Session, ...]
    waiting: int
    """How many there are in all."""
    items: tuple[Handoff, ...]


RingQuery: TypeAlias = GetVnode | GetRing | GetPlan | GetHandoffs
