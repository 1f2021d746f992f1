"""What each command, query and watch needs of a token: one table, and nothing for what is not in it
but an admin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from uring.errors import Forbidden
from uring.machines.commands import (
    AddNode,
    Cas,
    Delete,
    Get,
    GetLease,
    GetNodes,
    GetOp,
    GetSize,
    Grant,
    KeepAlive,
    List,
    Look,
    Once,
    Put,
    RemoveNode,
    Revoke,
    SetSize,
    Token,
    Txn,
)
from uring.machines.ring.commands import (
    BeginHandoff,
    CancelHandoff,
    CommitPlan,
    FinishHandoff,
    GetHandoffs,
    GetPlan,
    GetRing,
    GetVnode,
    JoinRing,
)
from uring.watch import Watch

_LEVELS = {"read": 0, "write": 1, "admin": 2}


@frozen
class Need:
    """A role, and of which keys.  ``everywhere``: a token with prefixes will not do."""

    role: str
    keys: tuple[str, ...] = ()
    everywhere: bool = False


READ, ADMIN = Need("read"), Need("admin")
_WRITE, _CHANGE_RING = Need("write"), Need("write", everywhere=True)


def _txn(command: Txn) -> Need:
    ops = (*command.then, *command.otherwise)
    keys = tuple({each.key: None for each in (*command.compares, *ops)})
    return Need("read" if all(isinstance(op, GetOp) for op in ops) else "write", keys)


def _once(command: Once) -> Need:
    # That it was done is kept, whatever it was.
    return Need("write", need(command.command).keys)


def _watch(watch: Watch) -> Need:
    return Need("read", (watch.prefix,)) if watch.channel == "kv" else READ


_NEEDS: dict[type, Callable[[Any], Need]] = {
    **dict.fromkeys((Put, Delete, Cas), lambda command: Need("write", (command.key,))),
    **dict.fromkeys((Get, Look), lambda query: Need("read", (query.key,))),
    List: lambda query: Need("read", (query.prefix,)),
    Watch: _watch,
    Txn: _txn,
    Once: _once,
    # The keys of a lease are known when it has been looked at: see uring.api.guard.
    **dict.fromkeys((Grant, KeepAlive, Revoke), lambda command: _WRITE),
    GetLease: lambda query: READ,
    **dict.fromkeys(
        (
            SetSize,
            AddNode,
            RemoveNode,
            CommitPlan,
            JoinRing,
            BeginHandoff,
            FinishHandoff,
            CancelHandoff,
        ),
        lambda command: _CHANGE_RING,
    ),
    **dict.fromkeys(
        (GetSize, GetNodes, GetVnode, GetRing, GetPlan, GetHandoffs), lambda query: READ
    ),
}


def need(asked: Any) -> Need:
    """Return what ``asked`` needs."""
    found = _NEEDS.get(type(asked))
    return ADMIN if found is None else found(asked)


def refusal(token: Token, needed: Need) -> Forbidden | None:
    """Return why ``token`` will not do, None if it will."""
    if _LEVELS[token.role] < _LEVELS[needed.role]:
        return Forbidden(
            f"this needs a token of role {needed.role}; this one has the role {token.role}"
        )
    if needed.everywhere and token.prefixes:
        return Forbidden("this needs a token without prefixes; this one has some")
    return outside(token, needed.keys)


def outside(token: Token, keys: Iterable[str]) -> Forbidden | None:
    """Return why ``token`` is not for one of ``keys`` (or all that begin with it)."""
    if not token.prefixes:
        return None
    for key in keys:
        if not key.startswith(token.prefixes):
            where = ", ".join(repr(prefix[:64]) for prefix in token.prefixes)
            return Forbidden(
                f"this token is for keys that begin with {where}, not for {key[:64]!r}"
            )
    return None
