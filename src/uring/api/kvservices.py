"""The KV protocol beside Get, Put, Delete, Cas: fields of its commands, and their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from uring.api import decode, fields, pages, replies, txn
from uring.errors import UringError
from uring.machines.commands import Command, GetLease, Grant, KeepAlive, Look, Query, Revoke


class ListBody(Struct, forbid_unknown_fields=True, frozen=True):
    prefix: fields.Prefix = ""
    cursor: fields.Cursor = ""
    limit: fields.Count = pages.COUNT_DEFAULT


class GrantBody(Struct, forbid_unknown_fields=True, frozen=True):
    ttl: fields.Seconds


class LeaseBody(Struct, forbid_unknown_fields=True, frozen=True):
    lease: fields.Lease


def _lease(body: LeaseBody) -> int:
    return txn.check_lease(body.lease)


COMMANDS: dict[str, tuple[type[Struct], Callable[[Any], Command]]] = {
    "Txn": (txn.TxnBody, txn.command),
    "Grant": (GrantBody, lambda body: Grant(txn.ttl_ms(body.ttl))),
    "KeepAlive": (LeaseBody, lambda body: KeepAlive(_lease(body))),
    "Revoke": (LeaseBody, lambda body: Revoke(_lease(body))),
}

QUERIES: dict[str, tuple[type[Struct], Callable[[Any], Query]]] = {
    "Look": (txn.KeyBody, lambda body: Look(decode.check_key(body.key))),
    "List": (ListBody, lambda body: pages.query(body.prefix, body.cursor, body.limit)),
    "Lease": (LeaseBody, lambda body: GetLease(_lease(body))),
}

_SHOWN: dict[str, Callable[[Any], Any]] = {
    "Look": replies.found,
    "List": pages.shown,
    "Lease": lambda pair: {**replies.lease(pair[0]), "keys": pair[1]} if pair[0].alive else None,
}


def answer(name: str, rid: int, found: Any) -> bytes:
    """Return the reply to the query ``name``; null and 404 where there is nothing."""
    if isinstance(found, UringError):
        return replies.error(rid, found.code, str(found))
    shown = _SHOWN[name](found)
    return replies.reply(rid, 404 if shown is None else 200, shown)
