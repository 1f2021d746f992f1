"""Results and errors as status codes and JSON: the only place that knows both."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
import orjson
from msgspec import Struct

from uring.api.ringreplies import OUTCOMES
from uring.errors import (
    BadRequest,
    Conflict,
    NotFound,
    Overloaded,
    PreconditionFailed,
    TooManyFailures,
    UringError,
)
from uring.machines.commands import (
    Invalid,
    Lease,
    Old,
    Result,
    Reused,
    Ring,
    RingSize,
    Swapped,
    Token,
    TokenGone,
    TxnDone,
)
from uring.machines.ring.commands import Refused
from uring.machines.values import Found

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    426: "Upgrade Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Outcome Unknown",
    507: "Insufficient Storage",
}


_encode = msgspec.json.Encoder().encode

JSON = b"application/json"
PROBLEM = b"application/problem+json"
BYTES = b"application/octet-stream"
CHALLENGE = b'Bearer realm="uring"'
"""What a 401 says in WWW-Authenticate (RFC 6750)."""


class Answer(Struct, frozen=True, gc=False):
    """What a request is answered with over REST.

    ``retry_after`` is in seconds; ``etag`` the revision of the value that is shown; ``allow`` the
    methods that there are.
    """

    code: int
    body: bytes
    kind: bytes = JSON
    retry_after: int | None = None
    etag: int | None = None
    allow: bytes | None = None


def dumps(value: Any) -> bytes:
    """Return ``value`` as JSON."""
    return orjson.dumps(value, _spell, orjson.OPT_NON_STR_KEYS)


def _spell(value: Any) -> Any:
    """Return what stands in JSON for bytes that are no text."""
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} has no JSON")


def text_or_bytes(value: bytes) -> str | bytes:
    """Return ``value`` as text where it is UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def problem(code: int, detail: str, **more: Any) -> bytes:
    """Return a problem details object (RFC 9457)."""
    title = TITLES.get(code, "Error")
    return dumps({"type": "about:blank", "title": title, "status": code, "detail": detail, **more})


def reply(rid: int, code: int, data: Any) -> bytes:
    """Return the WebSocket's reply to a command."""
    return dumps({"rid": rid, "code": code, "data": data})


def error(rid: int | None, code: int, detail: str) -> bytes:
    """Return the WebSocket's reply that refuses a command."""
    shown = {"code": code, "title": TITLES.get(code, "Error"), "detail": detail}
    return dumps({"rid": rid, "code": code, "data": None, "error": shown})


def ring(result: Ring) -> list[dict[str, Any]]:
    """Return the ring as clients see it."""
    return [{"id": node.id, "vnodes": list(node.vnodes)} for node in result.nodes]


def found(item: Found | None) -> dict[str, Any] | None:
    """Return a key with everything that is known of it."""
    if item is None:
        return None
    shown: dict[str, Any] = {
        "key": item.key,
        "value": text_or_bytes(item.value),
        "created": item.created,
        "revision": item.revision,
    }
    if item.lease:
        shown["lease"] = item.lease
    return shown


def token(result: Token) -> dict[str, Any]:
    """Return a token; its secret is nowhere to be found."""
    return {
        "id": result.id,
        "name": result.name,
        "role": result.role,
        "prefixes": list(result.prefixes),
        "created": result.created,
    }


def lease(result: Lease) -> dict[str, Any]:
    """Return a lease; its time is in seconds, as clients say it."""
    return {"id": result.id, "ttl": result.ttl_ms / 1000}


Outcome: TypeAlias = tuple[int, Any, str]


def outcome(result: Result | UringError, created: bool = False) -> Outcome:
    """Return the code, the data and, if it is an error, what went wrong.

    ``created`` says that storing was asked for: an old value is then no news but a courtesy.
    """
    if isinstance(result, UringError):
        return result.code, None, str(result)
    if created and isinstance(result, Old):
        return 201, result.value, ""
    return _OUTCOMES[type(result)](result)


def _old(result: Old) -> Outcome:
    return (404, None, "no such key") if result.value is None else (200, result.value, "")


def _swapped(result: Swapped) -> Outcome:
    if result.stored:
        return 201, "set", ""
    return Conflict.code, result.current, "the key holds another value"


def _txn(result: TxnDone) -> Outcome:
    results = [found(each) for each in result.results]
    done = {"succeeded": result.succeeded, "revision": result.revision, "results": results}
    return 200, done, ""


def _lease(result: Lease) -> Outcome:
    if result.ttl_ms:
        return 200, lease(result), ""
    return NotFound.code, None, "there is no such lease; its time may be over"


def _ring_size(result: RingSize) -> Outcome:
    if result.ok:
        return 200, result.size, ""
    return Conflict.code, result.size, "the ring has another size already"


def _ring(result: Ring) -> Outcome:
    if result.problem == "no size":
        return PreconditionFailed.code, None, "the ring has no size yet; set it first"
    if result.problem is not None:
        return NotFound.code, ring(result), result.problem
    return 200, ring(result), ""


_OUTCOMES: dict[type, Callable[[Any], Outcome]] = {
    Old: _old,
    Swapped: _swapped,
    TxnDone: _txn,
    Lease: _lease,
    Reused: lambda result: (
        422,
        None,
        "this Idempotency-Key was used for another request; choose a new one",
    ),
    RingSize: _ring_size,
    Ring: _ring,
    Token: lambda result: (201, token(result), ""),
    TokenGone: lambda result: (200, {"id": result.id}, ""),
    Invalid: lambda result: (BadRequest.code, None, result.reason),
    **OUTCOMES,
}


ANSWERS: tuple[type, ...] = (UringError, *_OUTCOMES)
"""What :func:`outcome` takes."""


def shown(rid: int, result: Any) -> bytes:
    """Return the reply that tells ``result``."""
    code, data, why = outcome(result)
    refused = isinstance(result, UringError | Invalid | Refused)
    if refused or (isinstance(result, Ring) and result.problem):
        return error(rid, code, why)
    return reply(rid, code, data)


class _Reply(Struct, frozen=True, gc=False):
    """A reply with a text or nothing as its data: so it is encoded in half the time."""

    rid: int
    code: int
    data: str | None


def stored(rids: Sequence[int], results: Sequence[Any]) -> list[bytes]:
    """Return the replies that tell Puts' results."""
    told = []
    for rid, result in zip(rids, results, strict=True):
        if type(result) is not Old:
            told.append(shown(rid, result))
        elif type(result.value) is bytes:
            told.append(reply(rid, 201, result.value))
        else:
            told.append(_encode(_Reply(rid, 201, result.value)))  # type: ignore[arg-type]
    return told


def read(rids: Sequence[int], values: Sequence[Any]) -> list[bytes]:
    """Return the replies that tell what Gets have found."""
    told = []
    for rid, value in zip(rids, values, strict=True):
        if value is None:
            told.append(_encode(_Reply(rid, 404, None)))
        elif type(value) is str:
            told.append(_encode(_Reply(rid, 200, value)))
        elif type(value) is bytes:
            told.append(reply(rid, 200, value))
        else:
            told.append(error(rid, value.code, str(value)))
    return told


def retry_after(error: UringError) -> int | None:
    """Return the seconds after which it is worth trying again, where that can be said."""
    if isinstance(error, Overloaded | TooManyFailures):
        return error.retry_after
    return 1 if error.code == 503 else None


def trouble(code: int, detail: str, **more: Any) -> Answer:
    """Return a problem details object as an answer."""
    return Answer(code, problem(code, detail, **more), PROBLEM)


def not_allowed(allow: bytes, advice: str = "") -> Answer:
    """Return the answer where the path has no such method, but those that ``allow`` lists."""
    detail = f"this route takes {allow.decode()}" + (f"; {advice}" if advice else "")
    return Answer(405, problem(405, detail), PROBLEM, allow=allow)


def options(allow: bytes) -> Answer:
    """Return what OPTIONS is answered with."""
    return Answer(204, b"", allow=allow)


def refused(error: UringError) -> Answer:
    """Return ``error`` as an answer."""
    body = problem(error.code, str(error))
    return Answer(error.code, body, PROBLEM, retry_after(error))


INTERNAL = "an internal error; the node's log says more"
BROKEN = trouble(500, INTERNAL)
"""The answer where our own code failed."""
