"""A disk thread whose jobs take simulated time, stall, and end where the process ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from tests.sim.world import Life

Job = tuple[Callable[[], Any], Callable[[Any], None]]


@define(eq=False)
class SimDisk:
    """Has the interface of ``uring.store.disk.DiskThread``."""

    life: Life
    name: str
    random: Random
    last_duration: float = 0.0
    _jobs: deque[Job] = field(factory=deque)
    _since: float | None = None
    """By the node's clock, when the running job began."""
    _free_at: float = 0.0

    def submit(self, fn: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Queue a job."""
        self._jobs.append((fn, done))
        if len(self._jobs) == 1:
            self._begin()

    @property
    def is_quick(self) -> bool:
        """Sometimes, when nothing is under way and no fault makes it slow."""
        faults = self.life.world.faults
        idle = not self._jobs and not faults.disk_delay(self.life, self.random)
        return idle and self.random.random() < 0.5

    def run_now(self, fn: Callable[[], Any]) -> Any:
        """Do a job in no time."""
        try:
            return fn()
        except Exception:
            return Failure()

    @property
    def pending(self) -> int:
        """Jobs that were not reported yet."""
        return len(self._jobs)

    def busy_since(self) -> float | None:
        """Return when the running job began, or None."""
        return self._since

    def stop(self) -> Deferred[None]:
        """Nothing to do: the life ends with the process."""
        return succeed(None)

    def _duration(self) -> float:
        faults = self.life.world.faults
        seconds = self.random.expovariate(1 / 0.002)
        return seconds + faults.disk_delay(self.life, self.random)

    def _begin(self) -> None:
        self._since = self.life.clock.seconds()
        seconds = self._duration()
        written = seconds * self.random.random()
        self.life.later(written, f"disk {self.name}: write", lambda: self._run(seconds - written))

    def _run(self, remaining: float) -> None:
        """Do the job; between this and the report the process may end."""
        fn = self._jobs[0][0]
        try:
            result = fn()
        except Exception:
            result = Failure()
        self.life.later(remaining, f"disk {self.name}: report", lambda: self._report(result))

    def _report(self, result: Any) -> None:
        done = self._jobs.popleft()[1]
        self._since = None
        if self._jobs:
            self._begin()
        done(result)
