"""What may be asked of the replicated machines, what they answer, and what then changed.

Commands travel through the log, so their tags and fields never change: what needs more is a new
command, of a level of its own (machines/levels.py).  A field that was added would be in every one
that is written, also where it has its default.  Fields that a node does not know make an entry
undecodable for it: to skip them would mean to apply half a command, and how deep a skipped value
may nest depends on the stack, which replicas do not share.  Values only: validation is at the doors
and, without raising, again in the machines.  Those that hold texts only are not tracked by the
garbage collector (``gc=False``): they cannot be part of a cycle, and there are very many.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from uring.machines.ring.commands import (
    CommitPlan,
    HandoffCommand,
    RingQuery,
    RingResult,
)
from uring.machines.values import Found


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


class PutOp(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="p"):
    """In a transaction: store ``value``, hanging on ``lease`` if that is not 0."""

    key: str
    value: bytes
    lease: int = 0


class DeleteOp(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="d"):
    """In a transaction: remove ``key``."""

    key: str


class GetOp(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="g"):
    """In a transaction: read ``key`` as it is at that place in it."""

    key: str


Op: TypeAlias = PutOp | DeleteOp | GetOp


class Compare(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What must hold of ``key``: its ``target`` against ``operand``.

    Targets: "revision" of the last change, revision "created", "lease" (integers; 0 where the key
    does not exist), and "value" (bytes; never holds where the key does not exist, except that it is
    then unequal to anything).  Operators: "=", "!=", "<", ">".
    """

    key: str
    target: str
    operator: str
    operand: int | bytes


class Txn(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="T"):
    """Do ``then`` if every one of ``compares`` holds, else ``otherwise``; answers :class:`TxnDone`.

    All of it or, where a command is invalid, nothing of it.
    """

    compares: list[Compare]
    then: list[Op]
    otherwise: list[Op] = []


class Grant(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="G"):
    """Make a lease of ``ttl_ms`` milliseconds; answers :class:`Lease`."""

    ttl_ms: int


class KeepAlive(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="K"):
    """Let ``lease`` begin again with its whole time; answers :class:`Lease`."""

    lease: int


class Revoke(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="V"):
    """End ``lease`` and remove its keys; answers :class:`Lease`."""

    lease: int


class Expire(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="E"):
    """The leader's word that ``lease`` was not renewed since its ``renewals``-th time.

    Answers :class:`Lease`.  A renewal that was applied first wins: then nothing happens.
    """

    lease: int
    renewals: int


class Once(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="O"):
    """Apply ``command`` unless one with the same ``key`` was, and answer as it was answered then.

    Another command under a key in use answers :class:`Reused`.
    """

    key: str
    command: Put | Delete | Cas | Txn


class SetSize(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="S"):
    """Give the ring its size, once; answers :class:`RingSize`.

    ``strategy`` has the default of the first version; the doors name the one that is usual now.
    ``replicas`` is how many neighbouring vnodes should be owned by distinct nodes.
    """

    size: int
    strategy: str = "continuous"
    replicas: int = 1


class AddNode(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="A"):
    """Add a node to the ring; answers :class:`Ring`."""

    node: str
    weight: int = 1
    zone: str = ""


class RemoveNode(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="R"):
    """Remove a node from the ring; answers :class:`Ring`."""

    node: str


class AddToken(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="tA"):
    """Add a token, whose secret only its owner knows; answers :class:`Token`.

    ``digest`` is the SHA-256 of the secret, ``by`` the id of the token of who asks, if it has any.
    Without ``prefixes`` it is for all keys.
    """

    id: str
    digest: bytes
    role: str
    prefixes: tuple[str, ...]
    name: str
    by: str = ""


class RemoveToken(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="tR"):
    """Remove a token; answers :class:`TokenGone`."""

    id: str
    by: str = ""


class RecoverToken(
    Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="tX", gc=False
):
    """Add a token of role admin in nobody's name; answers :class:`Token`.

    The word of who can write in a node's data directory, and never of a client.  Repeated, it
    changes nothing.
    """

    id: str
    digest: bytes


LeaseCommand: TypeAlias = Grant | KeepAlive | Revoke | Expire
RingCommand: TypeAlias = SetSize | AddNode | RemoveNode | CommitPlan | HandoffCommand
TokenCommand: TypeAlias = AddToken | RemoveToken | RecoverToken
Command: TypeAlias = Put | Delete | Cas | Txn | LeaseCommand | Once | RingCommand | TokenCommand


class Old(Struct, frozen=True, gc=False):
    """The value a key had before, or None; bytes where it is no UTF-8."""

    value: str | bytes | None


class Swapped(Struct, frozen=True, gc=False):
    """Whether a compare-and-swap stored; ``current`` is the value found when it did not."""

    stored: bool
    current: str | bytes | None = None


class TxnDone(Struct, frozen=True):
    """Whether the comparisons held, and what each operation of the branch taken found.

    A put or delete found what was there before.  ``revision`` is that of the state afterwards.
    """

    succeeded: bool
    revision: int
    results: tuple[Found | None, ...]


class Lease(Struct, frozen=True, gc=False):
    """A lease after a command; with ``alive`` False there is none of that id (any more)."""

    id: int
    ttl_ms: int
    alive: bool
    renewals: int = 0


class Reused(Struct, frozen=True):
    """The idempotency key was used for another command."""


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


class Token(Struct, frozen=True):
    """A token, without its secret.  ``created`` is the revision at that time."""

    id: str
    digest: bytes
    role: str
    prefixes: tuple[str, ...]
    name: str
    created: int


class TokenGone(Struct, frozen=True):
    """The token was removed."""

    id: str


class Invalid(Struct, frozen=True):
    """A command that a machine cannot take (it should have been refused at the door)."""

    reason: str


Result: TypeAlias = (
    Old
    | Swapped
    | TxnDone
    | Lease
    | Reused
    | RingSize
    | Ring
    | RingResult
    | Token
    | TokenGone
    | Invalid
)


class Get(Struct, frozen=True, gc=False):
    """Read one key; answers ``str | bytes | None``: bytes where the value is no UTF-8."""

    key: str


class Look(Struct, frozen=True, gc=False):
    """Read one key with all that is known of it; answers ``Found | None``."""

    key: str


class List(Struct, frozen=True, gc=False):
    """Read keys that begin with ``prefix``, in the order of their UTF-8; answers :class:`Page`.

    Those after ``after`` if that is not empty; at most ``count``, and no more after ``size`` bytes
    of keys and values.
    """

    prefix: str
    after: str
    count: int
    size: int


class Page(Struct, frozen=True):
    """Keys as they are at ``revision``; ``more`` if others follow."""

    revision: int
    items: tuple[Found, ...]
    more: bool


class GetLease(Struct, frozen=True, gc=False):
    """Read a lease; answers :class:`Lease` and the keys that hang on it, as a pair."""

    lease: int


class GetHolder(Struct, frozen=True, gc=False):
    """Read which node of the ring a lease is for; answers its name, or None."""

    lease: int


class GetTokens(Struct, frozen=True):
    """Read all tokens; answers a list of :class:`Token`."""


class GetSize(Struct, frozen=True):
    """Read the ring's size; answers ``int | None``."""


class GetNodes(Struct, frozen=True):
    """Read the ring; answers :class:`Ring` (problem "no size" when it has none)."""


Query: TypeAlias = (
    Get | Look | List | GetLease | GetHolder | GetTokens | GetSize | GetNodes | RingQuery
)
