"""What the exit code says, so that scripts need not read what was printed."""

from __future__ import annotations

from uring.client import LockLost
from uring.errors import (
    BadRequest,
    Conflict,
    NotFound,
    PreconditionFailed,
    Unavailable,
    UringError,
)

OK = 0
NOT_FOUND = 1
BAD_USE = 2
"""As click has it for arguments it cannot take."""
CONFLICT = 3
UNAVAILABLE = 4
"""Nothing was done; it may work later."""
UNKNOWN = 5
"""It may or may not have been done: read before you try again."""
FAILED = 6
"""Anything else."""
LOST = 7
"""The lock was lost; the command that ran under it was ended."""
INTERRUPTED = 130
"""By a signal, as shells have it for Ctrl-C."""

FINDINGS = 8
"""The doctor has found something."""

_CODES: tuple[tuple[type[UringError], int], ...] = (
    (LockLost, LOST),
    (NotFound, NOT_FOUND),
    (BadRequest, BAD_USE),
    (Conflict, CONFLICT),
    (PreconditionFailed, CONFLICT),
    (Unavailable, UNAVAILABLE),
)

TABLE = """\b
Exit codes:
  0  done
  1  not found
  2  bad use
  3  conflict with the present state
  4  unavailable: nothing was done
  5  unknown outcome: read before you try again
  6  any other failure
  7  a lock was lost while it was held
  8  doctor: something is wrong"""


def code_of(error: UringError) -> int:
    """Return the exit code for ``error``."""
    if not error.definite:
        return UNKNOWN
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
