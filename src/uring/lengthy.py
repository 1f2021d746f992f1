"""What takes long is worked out in a thread, from the state as it was when that began.

Python's threads take turns, and one that computes without a pause gives the others theirs only
when its time is over: 5 ms, each time that they have waited for the kernel.  So the reactor, which
does that for every message, would hardly go on.  Here the turns are short as long as it lasts.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define, field
from twisted.python.failure import Failure

from uring.errors import Unavailable
from uring.machines.commands import Query
from uring.machines.table import Applied, Machines
from uring.raft.types import Entry
from uring.together import DoneAll

TURN_SECONDS = 0.0001
"""Of a thread that computes, while another one waits."""

_lock = threading.Lock()
_sharing = 0
_usual = 0.0


@contextmanager
def short_turns() -> Iterator[None]:
    """Let the threads of this process take short turns meanwhile."""
    global _sharing, _usual
    with _lock:
        if not _sharing:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(TURN_SECONDS)
        _sharing += 1
    try:
        yield
    finally:
        with _lock:
            _sharing -= 1
            if not _sharing:
                sys.setswitchinterval(_usual)


@define(eq=False)
class LengthyEntry:
    """Applies one entry of the log to a draft of the state; ``write`` is for a thread."""

    _machines: Machines
    entry: Entry
    draft: Any
    """A :class:`uring.store.transaction.ViewDraft` of the state that the entry finds."""
    applied: Applied | None = field(default=None, init=False)

    def write(self) -> None:
        """Apply it (in a thread); once only.  Raises StoreFailed."""
        try:
            with short_turns():
                self.applied = self._machines.apply(self.draft, self.entry.index, self.entry.data)
        finally:
            self.draft.close()


@define
class Answers:
    """Answers queries at once, or from a view of the state in a thread."""

    machines: Machines
    state: Any
    submit: Callable[[Callable[[], Any], Callable[[Any], None]], None]
    """Runs a job in the thread, then tells here what it returned, or a Failure."""

    def give(self, queries: Sequence[Query], done: DoneAll) -> None:
        """Answer ``queries`` from the state as it is now."""
        machines, state = self.machines, self.state
        if not machines.are_lengthy(state, queries):
            done([machines.query(state, query) for query in queries])
            return
        view = state.view()

        def look() -> list[Any]:
            try:
                with short_turns():
                    return [machines.query(view, query) for query in queries]
            finally:
                view.close()

        def looked(result: Any) -> None:
            if isinstance(result, Failure):  # the state was replaced meanwhile, or its disk failed
                error = Unavailable(f"the state could not be read: {result.getErrorMessage()}")
                result = [error] * len(queries)
            done(result)

        self.submit(look, looked)
