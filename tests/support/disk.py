"""A disk thread that does nothing until it is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure


@define(eq=False)
class ManualDisk:
    """Has the interface of ``uring.store.disk.DiskThread``; jobs run in order, when told."""

    last_duration: float = 0.0
    longest_duration: float = 0.0
    is_quick: bool = False
    """Whether :meth:`run_now` may be used."""
    _jobs: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = field(factory=deque)
    _error: BaseException | None = None
    _stopped: bool = False

    def submit(self, fn: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Queue a job.  Raises RuntimeError after stop."""
        if self._stopped:
            raise RuntimeError("the disk is stopped")
        self._jobs.append((fn, done))

    def run_now(self, fn: Callable[[], Any]) -> Any:
        """Run a job at once and return what came of it."""
        results: list[Any] = []
        self._jobs.appendleft((fn, results.append))
        self.run_one()
        return results[0]

    @property
    def pending(self) -> int:
        """Jobs that have not run yet."""
        return len(self._jobs)

    def busy_since(self) -> float | None:
        """Never busy: jobs take no time."""
        return None

    def fail_next(self, error: BaseException) -> None:
        """Let the next job fail with ``error`` instead of running."""
        self._error = error

    def run_one(self) -> None:
        """Run the oldest job and tell its caller."""
        fn, done = self._jobs.popleft()
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            result = fn()
        except BaseException:
            result = Failure()
        done(result)

    def run_all(self) -> None:
        """Run jobs until none is left, those included that jobs submit."""
        while self._jobs:
            self.run_one()

    def stop(self) -> Deferred[None]:
        """Run what is queued and take no more."""
        self._stopped = True
        self.run_all()
        return succeed(None)
