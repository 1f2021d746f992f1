"""What services need beside put and get: revisions, lists, transactions, leases."""

from __future__ import annotations

import uuid
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from attrs import frozen

from uring.client.answers import ProtocolError
from uring.client.transport import Answer, Request, Transport

Value = str | bytes
"""A text, or bytes that are none."""


@frozen
class Item:
    """One key as it is: ``revision`` is that of its last change; ``lease`` is 0 without one."""

    key: str
    value: Value
    created: int
    revision: int
    lease: int = 0


@frozen
class Page:
    """Some keys, as they are at ``revision``; ``cursor`` asks for those that follow, if any do."""

    items: tuple[Item, ...]
    revision: int
    cursor: str | None


@frozen
class TxnResult:
    """Whether the comparisons held, and what each operation of the branch taken found."""

    succeeded: bool
    revision: int
    results: tuple[Item | None, ...]


class ServiceClient:
    """These calls; :class:`uring.client.Client` adds its own.

    With ``repeat`` every write carries an idempotency key, so that it is sent again, to another
    node if need be, when its outcome is unknown; OutcomeUnknown is then raised only when the
    client's patience is over.
    """

    def __init__(self, transport: Transport, repeat: bool) -> None:
        self._transport = transport
        self._repeat = repeat

    async def look(self, key: str, *, stale: bool = False) -> Item | None:
        """Return ``key`` with its revisions, None if there is none; ``stale`` as for ``get``."""
        query = "?detail=true&consistency=stale" if stale else "?detail=true"
        answer = await self._ask("GET", path("kv", key) + query)
        return None if answer.expect(200, 404).code == 404 else item(answer.json)

    async def store(
        self,
        key: str,
        value: Value,
        *,
        revision: int | None = None,
        absent: bool = False,
        lease: int = 0,
    ) -> int:
        """Store ``value`` and return its revision.

        Only over the change of ``revision``, or only if ``absent``; raises PreconditionFailed when
        that is not so.  The key goes when ``lease`` ends.
        """
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        if absent:
            headers["If-None-Match"] = "*"
        data = value.encode() if isinstance(value, str) else value
        query = f"?lease={lease}" if lease else ""
        answer = await self._send("PUT", path("kv", key) + query, data, headers)
        return int(field(answer.expect(200, 201), "revision"))

    async def remove(self, key: str, *, revision: int | None = None) -> Value | None:
        """Remove ``key`` and return what it held, None if there was none.

        Only the change of ``revision``; raises PreconditionFailed when there is another.
        """
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        answer = await self._send("DELETE", path("kv", key), None, headers)
        if answer.expect(200, 404).code == 404:
            return None
        return value_of(field(answer, "value"))

    async def page(self, prefix: str = "", cursor: str | None = None, limit: int = 100) -> Page:
        """Return up to ``limit`` (1 to 1000) keys that begin with ``prefix``, in order."""
        query = {"prefix": prefix, "limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        found = (await self._ask("GET", f"/kv?{urlencode(query)}")).expect(200).json
        try:
            items = tuple(item(each) for each in found["items"])
            return Page(items, int(found["revision"]), found.get("cursor"))
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"no list of keys: {found!r:.200}") from error

    async def keys(self, prefix: str = "") -> AsyncIterator[Item]:
        """Iterate over all keys that begin with ``prefix``, in order, page by page."""
        cursor: str | None = None
        while True:
            page = await self.page(prefix, cursor, 1000)
            for each in page.items:
                yield each
            cursor = page.cursor
            if cursor is None:
                return

    async def txn(
        self,
        compare: Sequence[Mapping[str, Any]] = (),
        then: Sequence[Mapping[str, Any]] = (),
        otherwise: Sequence[Mapping[str, Any]] = (),
    ) -> TxnResult:
        """Do ``then`` if every comparison holds, ``otherwise`` if not; see :func:`compare`,
        :func:`put_op`, :func:`get_op`, :func:`delete_op`."""
        body = {"compare": list(compare), "then": list(then), "else": list(otherwise)}
        found = (await self._ask("POST", "/txn", body)).expect(200).json
        try:
            results = tuple(None if each is None else item(each) for each in found["results"])
            return TxnResult(bool(found["succeeded"]), int(found["revision"]), results)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"no answer to a transaction: {found!r:.200}") from error

    async def grant(self, ttl: float) -> int:
        """Make a lease of ``ttl`` seconds (from 1) and return its id."""
        return int(field((await self._ask("POST", "/lease", {"ttl": ttl})).expect(201), "id"))

    async def keep_alive(self, lease: int) -> float:
        """Begin the time of ``lease`` again, and return it in seconds; raises NotFound if over."""
        answer = await self._ask("POST", f"/lease/{int(lease)}")
        return float(field(answer.expect(200), "ttl"))

    async def revoke(self, lease: int) -> None:
        """End ``lease`` and remove its keys; raises NotFound if it is over already."""
        (await self._ask("DELETE", f"/lease/{int(lease)}")).expect(200)

    async def lease_keys(self, lease: int) -> list[str]:
        """Return the keys that hang on ``lease``; raises NotFound if it is over."""
        return list(field((await self._ask("GET", f"/lease/{int(lease)}")).expect(200), "keys"))

    async def _ask(self, method: str, target: str, body: Any = None) -> Answer:
        """Send one request with a JSON body or none; return its answer, whatever its code."""
        if body is None:
            return await self._send(method, target, None, {})
        headers = {"Content-Type": "application/json"}
        return await self._send(method, target, orjson.dumps(body), headers)

    async def _send(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str]
    ) -> Answer:
        repeat = self._repeat and method != "GET"
        if repeat and target.startswith(("/kv/", "/txn")):
            headers["Idempotency-Key"] = uuid.uuid4().hex
        # What else there is has the same effect once and twice, or leaves a lease that ends.
        return await self._transport.ask(Request(method, target, body, headers, repeat))


def path(*segments: str) -> str:
    """Return a path; each segment is escaped, slashes in keys included.

    Raises ValueError (UnicodeEncodeError) for a lone surrogate, which no URL can carry.
    """
    return "".join("/" + quote(segment, safe="") for segment in segments)


def field(answer: Answer, name: str) -> Any:
    """Return a field of a JSON answer; raises ProtocolError if it has none."""
    try:
        return answer.json[name]
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"an answer without {name!r}: {answer.json!r:.200}") from error


def value_of(found: Any) -> Value:
    """Return a value as it stands in JSON: a text, or bytes as base64."""
    return b64decode(found["base64"]) if isinstance(found, dict) else str(found)


def item(found: Any) -> Item:
    """Return a key as it stands in JSON.  Raises ProtocolError."""
    try:
        return Item(
            str(found["key"]),
            value_of(found["value"]),
            int(found["created"]),
            int(found["revision"]),
            int(found.get("lease", 0)),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"no key: {found!r:.200}") from error


def _spelled(value: Value) -> Any:
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode()}
    return value


def compare(key: str, target: str, to: Value | int, op: str = "=") -> dict[str, Any]:
    """Compare the "revision", revision "created", "lease" or "value" of ``key``; 0 if absent."""
    return {
        "key": key,
        "target": target,
        "op": op,
        "to": to if isinstance(to, int) else _spelled(to),
    }


def put_op(key: str, value: Value, lease: int = 0) -> dict[str, Any]:
    """Store ``value`` within a transaction."""
    return {"Put": {"key": key, "store": _spelled(value), "lease": lease}}


def get_op(key: str) -> dict[str, Any]:
    """Read ``key`` within a transaction."""
    return {"Get": {"key": key}}


def delete_op(key: str) -> dict[str, Any]:
    """Remove ``key`` within a transaction."""
    return {"Delete": {"key": key}}
