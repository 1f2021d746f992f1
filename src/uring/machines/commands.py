"""What may be asked of the replicated machines, what they answer, and what then changed.

Commands travel through the log, so their tags and the order of their fields never change; a new
field is added at the end, with a default.  Fields that a node does not know make an entry
undecodable for it: to skip them would mean to apply half a command, and how deep a skipped value
may nest depends on the stack, which replicas do not share.  Values only: validation is at the doors
and, without raising, again in the machines.  Those that hold texts only are not tracked by the
garbage collector (``gc=False``): they cannot be part of a cycle, and there are very many.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Put(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="P", gc=False):
    """Store ``value`` under ``key``; answers :class:`Old`."""

    key: str
    value: str


class Delete(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="D", gc=False):
    """Remove ``key``; answers :class:`Old`."""

    key: str


class Cas(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="C", gc=False):
    """Store ``value`` if ``key`` holds ``check`` (None: does not exist); answers :class:`Swapped`.

    ``lenient`` is the rule of the old path /data/{key}/cas: a missing key is created whatever
    ``check`` says, and a value that already equals ``value`` counts as stored.
    """

    key: str
    check: str | None
    value: str
    lenient: bool = False


class SetSize(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="S"):
    """Give the ring its size, once; answers :class:`RingSize`."""

    size: int
    strategy: str = "continuous"


class AddNode(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="A"):
    """Add a node to the ring; answers :class:`Ring`."""

    node: str


class RemoveNode(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="R"):
    """Remove a node from the ring; answers :class:`Ring`."""

    node: str


Command: TypeAlias = Put | Delete | Cas | SetSize | AddNode | RemoveNode


class Old(Struct, frozen=True, gc=False):
    """The value a key had before, or None."""

    value: str | None


class Swapped(Struct, frozen=True, gc=False):
    """Whether a compare-and-swap stored; ``current`` is the value found when it did not."""

    stored: bool
    current: str | None = None


class RingSize(Struct, frozen=True):
    """``ok`` is False when the ring had another size already; ``size`` is the size it has."""

    ok: bool
    size: int


class RingNode(Struct, frozen=True):
    """One node of the ring and the vnodes it owns, ascending."""

    id: str
    vnodes: tuple[int, ...]


class Ring(Struct, frozen=True):
    """The whole ring after a command, in the order of adding.

    ``problem`` is None, "no size" (nothing was done, set the size first), or "unknown node".
    """

    nodes: tuple[RingNode, ...]
    problem: str | None = None


class Invalid(Struct, frozen=True):
    """A command that a machine cannot take (it should have been refused at the door)."""

    reason: str


Result: TypeAlias = Old | Swapped | RingSize | Ring | Invalid


class Get(Struct, frozen=True, gc=False):
    """Read one key; answers ``str | None``."""

    key: str


class GetSize(Struct, frozen=True):
    """Read the ring's size; answers ``int | None``."""


class GetNodes(Struct, frozen=True):
    """Read the ring; answers :class:`Ring` (problem "no size" when it has none)."""


Query: TypeAlias = Get | GetSize | GetNodes


class Change(Struct, frozen=True):
    """One applied change, for subscribers: ``{"Put": {...}}`` as JSON-ready builtins.

    ``event`` has exactly the shape that goes into ``{"Msg": {"channel": ..., "msg": event}}``.
    """

    channel: str
    revision: int
    event: dict[str, object]
