"""What a client may be told when a request does not end in an answer.

Every error says whether the request may still take effect: ``definite`` is True when it certainly
did not and never will, False when its outcome is unknown.
"""

from __future__ import annotations

from typing import ClassVar


class UringError(Exception):
    """A request that cannot be answered; the text is written for the client."""

    definite: ClassVar[bool] = True
    code: ClassVar[int] = 500
    """The status that REST and the WebSocket both answer with."""


class BadRequest(UringError):
    """The request can never be served as it stands."""

    code = 400


class Unauthorized(UringError):
    """Nobody knows who asks: no token was given, or one that does not exist."""

    code = 401


class Forbidden(UringError):
    """Who asks may not do that."""

    code = 403


class TooManyFailures(UringError):
    """Too many wrong tokens came from the same address."""

    code = 429

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        """``retry_after`` is in seconds."""
        super().__init__(reason)
        self.retry_after = retry_after


class NotFound(UringError):
    """What the request names does not exist."""

    code = 404


class Conflict(UringError):
    """The request contradicts the present state."""

    code = 409


class PreconditionFailed(UringError):
    """Something has to be set up first."""

    code = 412


class Unavailable(UringError):
    """No leader, not a member, or stopping: nothing was done, try again or elsewhere."""

    code = 503


class StillLearning(Unavailable):
    """A member was added and does not vote yet: it will once it has caught up, by itself."""

    code = 202


class Overloaded(Unavailable):
    """Too much is waiting: nothing was done, try again in ``retry_after`` seconds."""

    retry_after: ClassVar[int] = 1


class DiskFull(UringError):
    """Writes are refused until there is space again; nothing was done."""

    code = 507


class OutcomeUnknown(UringError):
    """The time-out struck, or the node stopped: the request may or may not take effect."""

    definite = False
    code = 504
