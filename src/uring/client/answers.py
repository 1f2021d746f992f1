"""What a client is answered, and how a refusal becomes an exception."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from uring.errors import (
    BadRequest,
    Conflict,
    DiskFull,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    TooManyFailures,
    Unauthorized,
    Unavailable,
    UringError,
)


@frozen
class Swap:
    """Whether a compare-and-swap stored; ``current`` is the value found when it did not."""

    stored: bool
    current: str | None = None


@frozen
class RingNode:
    """One node of the ring and the vnodes it owns."""

    id: str
    vnodes: tuple[int, ...]


_BY_CODE: dict[int, type[UringError]] = {
    kind.code: kind
    for kind in (
        BadRequest,
        NotFound,
        Conflict,
        PreconditionFailed,
        Unavailable,
        OutcomeUnknown,
        DiskFull,
        Unauthorized,
        Forbidden,
        TooManyFailures,
    )
}


class ProtocolError(UringError):
    """The server's answer is not one that uring gives; the request may have taken effect."""

    definite = False
    code = 502


def error_for(code: int, text: str, retry_after: bool = False) -> UringError:
    """Return the exception for a status code; ``retry_after``: the answer named a time to wait."""
    if code == 503 and retry_after:
        return Overloaded(text)
    if code in _BY_CODE:
        return _BY_CODE[code](text)
    if 400 <= code < 500:
        # Refused at the door (413, 415, 421 ...): it never went any further.
        return BadRequest(f"{code}: {text}")
    return ProtocolError(f"{code}: {text}")


def describe(problem: Any, fallback: str) -> str:
    """Return the text of RFC 9457 problem details, of an error reply of the socket, or itself."""
    if isinstance(problem, str) and problem.strip():
        return f"{fallback}: {' '.join(problem.split())[:200]}"
    if isinstance(problem, Mapping):
        for name in ("detail", "message", "reason", "title", "error"):
            found = problem.get(name)
            if isinstance(found, str):
                return found
            if isinstance(found, Mapping):
                return describe(found, fallback)
    return fallback


def ring(answer: Any) -> list[RingNode]:
    """Return the nodes of a ring as a server shows it, in the order of adding.

    Raises ProtocolError when it is no ring.
    """
    try:
        return [RingNode(str(node["id"]), tuple(map(int, node["vnodes"]))) for node in answer]
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"not a ring: {answer!r}") from error


@frozen
class Reply:
    """One reply: ``code`` as in HTTP, ``data`` as the protocol says, ``error`` if refused."""

    rid: int | None
    code: int
    data: Any
    error: dict[str, Any] | None = None

    def expect(self, *codes: int) -> Reply:
        """Return self when the code is one of ``codes``, raise UringError when not."""
        if self.code in codes:
            return self
        raise error_for(self.code, describe(self.error, f"code {self.code}"))


BATCH_COMMANDS_MAX = 1024
"""What a node takes in one message."""


def check_batch(commands: Sequence[object]) -> None:
    """Raise ValueError unless a node takes that many commands at once."""
    if not 0 < len(commands) <= BATCH_COMMANDS_MAX:
        raise ValueError(f"a batch holds 1 to {BATCH_COMMANDS_MAX} commands, not {len(commands)}")
