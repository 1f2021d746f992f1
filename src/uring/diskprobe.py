"""What a small synced write takes, measured when somebody asks: a disk that is idle tells nothing.

The file is written and synced as LevelDB does with its log, beside it, and removed afterwards.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from uring.errors import Unavailable

NAME = "PROBE"
WRITES = 5
BYTES = 4096
SECONDS_MAX = 1.0
"""No further write is begun after so long."""
KEPT_SECONDS = 1.0
"""Whoever asks so soon after another gets the same answer."""


def measure(directory: str | os.PathLike[str], clock: Callable[[], float]) -> list[float]:
    """Return the seconds that each of some synced writes in ``directory`` took.  Raises OSError."""
    path = Path(directory) / NAME
    found: list[float] = []
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while len(found) < WRITES and sum(found) < SECONDS_MAX:
            before = clock()
            os.pwrite(handle, bytes(BYTES), len(found) * BYTES)
            os.fdatasync(handle)
            found.append(clock() - before)
    finally:
        os.close(handle)
        path.unlink(missing_ok=True)
    return found


@define(eq=False)
class DiskProbe:
    """Measures the disk of one node: one measurement at a time, for all who ask meanwhile."""

    directory: Path
    submit: Callable[[Callable[[], Any], Callable[[Any], None]], None]
    """Runs its first argument in a thread that nobody waits for, then the second with what came of
    it."""
    seconds: Callable[[], float]
    clock: Callable[[], float] = time.perf_counter
    _waiting: list[Deferred[dict[str, Any]]] = field(factory=list, init=False)
    _last: dict[str, Any] = field(factory=dict, init=False)
    _at: float = field(default=float("-inf"), init=False)

    def ask(self) -> Deferred[dict[str, Any]]:
        """Fire with ``{"writes_ms": [...]}``; Unavailable if nothing could be written."""
        answer: Deferred[dict[str, Any]] = Deferred()
        if self.seconds() - self._at < KEPT_SECONDS:
            answer.callback(self._last)
            return answer
        self._waiting.append(answer)
        if len(self._waiting) == 1:
            self.submit(lambda: measure(self.directory, self.clock), self._measured)
        return answer

    def _measured(self, found: list[float] | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        if isinstance(found, Failure):
            why = f"nothing can be written to {self.directory}: {found.getErrorMessage()}"
            for answer in waiting:
                answer.errback(Unavailable(why))
            return
        self._last = {"writes_ms": [round(each * 1000, 3) for each in found]}
        self._at = self.seconds()
        for answer in waiting:
            answer.callback(self._last)
