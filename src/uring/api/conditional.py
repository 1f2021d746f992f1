"""Requests about one key that say more than its value: conditions, a lease, an idempotency key.

ETags are revisions: ``If-Match: "17"`` writes only over the change of that revision,
``If-Match: *`` only over something, ``If-None-Match: *`` only over nothing (RFC 9110, 13.1).
``Idempotency-Key`` lets a client repeat a request whose outcome it does not know.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct
from twisted.web.http_headers import Headers

from uring.api import replies
from uring.api.replies import Answer
from uring.errors import BadRequest, NotFound
from uring.machines.commands import (
    Cas,
    Compare,
    Delete,
    DeleteOp,
    GetOp,
    Once,
    Op,
    Put,
    PutOp,
    Result,
    Txn,
    TxnDone,
)
from uring.machines.limits import ONCE_KEY_BYTES_MAX
from uring.machines.values import Found

_ETAG = re.compile(r'"([0-9]{1,19})"')
ABSENT = 0
"""The revision of what does not exist."""


class Conditions(Struct, frozen=True):
    """What a write depends on and what it brings along."""

    revision: int | None = None
    """That of the last change; :data:`ABSENT` if the key must not exist."""
    exists: bool = False
    """The key must exist, whatever its revision."""
    once: str | None = None
    lease: int = 0

    @property
    def compares(self) -> bool:
        """Whether the key is looked at first."""
        return self.revision is not None or self.exists


PLAIN = Conditions()


def conditions(headers: Headers, lease: int) -> Conditions:
    """Return what the headers of a write say.  Raises BadRequest."""
    once = _single(headers, b"idempotency-key")
    if once is not None and not 0 < len(once.encode()) <= ONCE_KEY_BYTES_MAX:
        raise BadRequest(f"an Idempotency-Key has 1 to {ONCE_KEY_BYTES_MAX} bytes")
    match, none_match = _single(headers, b"if-match"), _single(headers, b"if-none-match")
    if match is not None and none_match is not None:
        raise BadRequest("send If-Match or If-None-Match, not both")
    if none_match is not None:
        if none_match != "*":
            raise BadRequest('a write takes "If-None-Match: *" only: the key must not exist')
        return Conditions(ABSENT, False, once, lease)
    if match is None or match == "*":
        return Conditions(None, match == "*", once, lease)
    tag = _ETAG.fullmatch(match)
    if tag is None or not 0 < int(tag[1]) < 1 << 63:
        raise BadRequest('write If-Match: "17", with the one revision that the ETag showed, or *')
    return Conditions(int(tag[1]), False, once, lease)


def _single(headers: Headers, name: bytes) -> str | None:
    values = headers.getRawHeaders(name, [])
    if len(values) > 1:
        raise BadRequest(f"send {name.decode().title()} once")
    return values[0].decode("latin-1").strip() if values else None


def is_unchanged(headers: Headers, found: Found) -> bool:
    """Tell whether a reader has the value already: its If-None-Match names the revision."""
    known = headers.getRawHeaders(b"if-none-match", [])
    tags = {tag.strip() for value in known for tag in value.decode("latin-1").split(",")}
    return "*" in tags or f'"{found.revision}"' in tags


def put(key: str, value: bytes, wanted: Conditions) -> Txn | Once:
    """Return the command that stores ``value``."""
    return _command(key, PutOp(key, value, wanted.lease), wanted)


def delete(key: str, wanted: Conditions) -> Txn | Once:
    """Return the command that removes ``key``."""
    return _command(key, DeleteOp(key), wanted)


def _command(key: str, op: Op, wanted: Conditions) -> Txn | Once:
    compares = []
    if wanted.revision is not None:
        compares.append(Compare(key, "revision", "=", wanted.revision))
    elif wanted.exists:
        compares.append(Compare(key, "revision", ">", 0))
    return repeatable(Txn(compares, [op], [GetOp(key)]), wanted)


def repeatable(command: Any, wanted: Conditions) -> Any:
    """Return ``command`` under its idempotency key, if it has one."""
    kinds = Put | Delete | Cas | Txn
    return Once(wanted.once, command) if wanted.once and isinstance(command, kinds) else command


def stored(key: str, result: Result) -> Answer:
    """Return what a PUT is answered with."""
    if not isinstance(result, TxnDone):
        return _other(result)
    (found,) = result.results
    if not result.succeeded:
        return failed(key, found)
    body = replies.dumps({"key": key, "revision": result.revision})
    return Answer(201 if found is None else 200, body, etag=result.revision)


def posted(key: str, value: str, result: TxnDone) -> Answer:
    """Return what a POST with conditions or a lease is answered with."""
    (found,) = result.results
    if not result.succeeded:
        return failed(key, found)
    old = None if found is None else replies.text_or_bytes(found.value)
    body = replies.dumps({"key": key, "value": value, "old": old})
    return Answer(201, body, etag=result.revision)


def removed(key: str, result: Result) -> Answer:
    """Return what a DELETE with conditions is answered with."""
    if not isinstance(result, TxnDone):
        return _other(result)
    (found,) = result.results
    if not result.succeeded:
        return failed(key, found)
    if found is None:
        return replies.refused(NotFound("no such key"))
    return Answer(200, replies.dumps({"key": key, "value": replies.text_or_bytes(found.value)}))


def failed(key: str, found: Found | None) -> Answer:
    """Return the answer where a condition does not hold, with what is there instead."""
    detail = "the key does not exist" if found is None else "the key has changed, or exists already"
    revision = 0 if found is None else found.revision
    body = replies.problem(412, detail, key=key, revision=revision)
    return Answer(412, body, replies.PROBLEM, etag=revision or None)


def _other(result: Result) -> Answer:
    code, _, error = replies.outcome(result)
    return replies.trouble(code, error)
