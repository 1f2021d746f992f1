"""One thread that waits for the disk so that the reactor does not, unless that is cheaper."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Done = Callable[[Any], None]

QUICK_SECONDS = 0.002
"""A disk whose jobs take no longer than this may be waited for: handing a job to the thread and its
answer back costs about as much as the sync itself."""
_WEIGHT = 1 / 8
"""Of the newest job in the mean: after one of 20 ms the thread does the next few, after one of a
second the next thirty or so."""


@frozen
class _Job:
    run: Callable[[], Any]
    done: Done


def _new_thread(disk: DiskThread) -> threading.Thread:
    # A daemon: a disk that never answers must not keep a stopped process alive.
    return threading.Thread(target=disk._work, name=disk._name, daemon=True)


@define(eq=False)
class DiskThread:
    """Runs jobs one after the other in a thread of its own, in the order they were submitted.

    All methods are for the reactor thread.  ``clock`` returns monotonic seconds.
    """

    _reactor: Any
    _name: str = "disk"
    _clock: Callable[[], float] = time.monotonic
    last_duration: float = field(default=0.0, init=False)
    """Seconds that the last job took."""
    longest_duration: float = field(default=0.0, init=False)
    """Seconds that the slowest job took so far."""
    _mean: float = field(default=0.0, init=False)
    """Seconds that jobs took of late."""
    _started: float | None = field(default=None, init=False)
    _jobs: queue.SimpleQueue[_Job | None] = field(factory=queue.SimpleQueue, init=False)
    _pending: int = field(default=0, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _stopped: Deferred[None] | None = field(default=None, init=False)

    def submit(self, fn: Callable[[], Any], done: Done) -> None:
        """Run ``fn()`` in the thread, then ``done(result or Failure)`` in the reactor thread.

        Raises :exc:`RuntimeError` after :meth:`stop`.
        """
        if self._stopped is not None:
            raise RuntimeError("the disk thread is stopped")
        if self._thread is None:
            self._thread = _new_thread(self)
            self._thread.start()
        self._pending += 1
        self._jobs.put(_Job(fn, done))

    @property
    def is_quick(self) -> bool:
        """True while nothing is under way and the disk has been quick of late."""
        return self._pending == 0 and self._mean < QUICK_SECONDS and self._stopped is None

    def run_now(self, fn: Callable[[], Any]) -> Any:
        """Run ``fn()`` in the reactor thread and return its result or a Failure.

        Only for a short job while :attr:`is_quick` is true: the reactor waits for it.
        """
        started = self._started = self._clock()
        result = _outcome(fn)
        self._note(started)
        return result

    @property
    def pending(self) -> int:
        """Jobs submitted whose ``done`` has not been called yet."""
        return self._pending

    def busy_since(self) -> float | None:
        """Return when the running job began, by the clock, or None when idle."""
        return self._started

    def stop(self) -> Deferred[None]:
        """Take no more jobs; fires when those queued are done and the thread has ended."""
        if self._stopped is None:
            self._stopped = Deferred()
            if self._thread is None:
                self._stopped.callback(None)
            else:
                self._jobs.put(None)
        return self._stopped

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            started = self._started = self._clock()
            result = _outcome(job.run)
            self._note(started)
            self._reactor.callFromThread(self._finish, job, result)
        self._reactor.callFromThread(self._end)

    def _note(self, started: float) -> None:
        duration = self.last_duration = self._clock() - started
        self.longest_duration = max(self.longest_duration, duration)
        self._mean += (duration - self._mean) * _WEIGHT
        self._started = None

    def _finish(self, job: _Job, result: Any) -> None:
        self._pending -= 1
        job.done(result)

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.join()
        if self._stopped is not None:
            self._stopped.callback(None)


def _outcome(fn: Callable[[], Any]) -> Any:
    try:
        return fn()
    except BaseException:
        return Failure()
