"""What nobody caught: whether the process may live on, decided in one place.

Twisted logs an exception that escapes from a callback and goes on.  What the callback was to see to
is then left undone, perhaps for ever: a timer that sets itself again no longer does.  So:

- What belongs to one connection ends with it.  Twisted closes a connection whose protocol raises,
  and the doors (``uring.api``) serve one client each: such an error is logged, and nothing else.
- Anything else that passed through uring's own code (a timer, a call from a thread, a Deferred
  whose error nobody took) stops the node, with the reason: what is half dead looks alive.
- What never was in uring's code, such as a time-out within autobahn, is logged.

The core needs none of this: what it raises stops the node at once (Node._guarded).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer

import uring

_PACKAGE = str(Path(uring.__file__).parent)
_OF_ONE_CLIENT = (f"{_PACKAGE}/api/", f"{_PACKAGE}/client/")
_SHARED = frozenset({"twisted.internet.base", "twisted.internet.defer"})
"""Who logs what escaped from timers, calls from threads, and Deferreds.  What escapes from a
connection is logged elsewhere (``log.err``), after which the connection is closed."""


def is_shared(failure: Failure) -> bool:
    """Tell whether an error passed through code that serves more than one client."""
    tb = failure.getTracebackObject()
    files = [] if tb is None else [frame.filename for frame in traceback.extract_tb(tb)]
    ours = [name for name in files if name.startswith(f"{_PACKAGE}/")]
    return any(not name.startswith(_OF_ONE_CLIENT) for name in ours)


@implementer(ILogObserver)
@define(eq=False)
class UnhandledErrors:
    """Watches the log for errors that nobody caught."""

    fail_stop: Callable[[str], None]
    """Called in whatever thread, once, with the reason."""
    _stopped: bool = field(default=False, init=False)

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        failure: Any = event.get("log_failure")
        if self._stopped or failure is None or event.get("log_namespace") not in _SHARED:
            return
        if isinstance(failure, Failure) and is_shared(failure):
            self._stopped = True
            what = event.get("log_format") or "a Deferred's error that nobody took"
            self.fail_stop(f"unhandled error ({what}): {failure.getErrorMessage()}")
