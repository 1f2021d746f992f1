"""Results and errors as status codes and JSON: the only place that knows both."""

from __future__ import annotations

from typing import Any

import orjson

from uring.errors import (
    BadRequest,
    Conflict,
    NotFound,
    Overloaded,
    PreconditionFailed,
    UringError,
)
from uring.machines.commands import Invalid, Old, Result, Ring, RingSize, Swapped

TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    426: "Upgrade Required",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Outcome Unknown",
    507: "Insufficient Storage",
}


def dumps(value: Any) -> bytes:
    """Return ``value`` as JSON."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def problem(code: int, detail: str, **more: Any) -> bytes:
    """Return a problem details object (RFC 9457)."""
    title = TITLES.get(code, "Error")
    return dumps({"type": "about:blank", "title": title, "status": code, "detail": detail, **more})


def ring(result: Ring) -> list[dict[str, Any]]:
    """Return the ring as clients see it."""
    return [{"id": node.id, "vnodes": list(node.vnodes)} for node in result.nodes]


def outcome(result: Result | UringError, created: bool = False) -> tuple[int, Any, str]:
    """Return the code, the data and, if it is an error, what went wrong.

    ``created`` says that storing was asked for: an old value is then no news but a courtesy.
    """
    if isinstance(result, UringError):
        return result.code, None, str(result)
    if isinstance(result, Old):
        if created:
            return 201, result.value, ""
        return (404, None, "no such key") if result.value is None else (200, result.value, "")
    if isinstance(result, Swapped):
        if result.stored:
            return 201, "set", ""
        return Conflict.code, result.current, "the key holds another value"
    if isinstance(result, RingSize):
        if result.ok:
            return 200, result.size, ""
        return Conflict.code, result.size, "the ring has another size already"
    if isinstance(result, Invalid):
        return BadRequest.code, None, result.reason
    if result.problem == "no size":
        return PreconditionFailed.code, None, "the ring has no size yet; set it first"
    if result.problem is not None:
        return NotFound.code, ring(result), result.problem
    return 200, ring(result), ""


def retry_after(error: UringError) -> int | None:
    """Return the seconds after which it is worth trying again, where that can be said."""
    if isinstance(error, Overloaded):
        return error.retry_after
    return 1 if error.code == 503 else None
