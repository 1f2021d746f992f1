"""Figures that a node keeps of itself: plain numbers, cheap to write, read when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque

from attrs import define, field

SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    5.0,
)
"""Bounds of times, in seconds: from a fast disk's sync to a request's time-out."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
"""Bounds of numbers of things in a batch."""
RECENT_SECONDS = 60.0


@define
class Histogram:
    """How many values fell below each of ``bounds``; the last count is of those beyond them all."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = field(default=0.0, init=False)
    """The sum of all values."""

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@define
class Peak:
    """The largest value ever, and the largest of the last minute or two."""

    ever: float = 0.0
    _minutes: deque[float] = field(factory=lambda: deque((0.0, 0.0), maxlen=2), init=False)
    _began: float = field(default=0.0, init=False)

    def observe(self, value: float, now: float) -> None:
        """Take note of ``value`` at ``now`` (seconds)."""
        if now - self._began >= RECENT_SECONDS:
            self._minutes.append(0.0)
            self._began = now
        self._minutes[-1] = max(self._minutes[-1], value)
        self.ever = max(self.ever, value)

    @property
    def recent(self) -> float:
        """The largest value of the last one to two minutes."""
        return max(self._minutes)


@define
class Mean:
    """The mean of the values of the last one to two minutes."""

    _minutes: deque[tuple[int, float]] = field(
        factory=lambda: deque(((0, 0.0), (0, 0.0)), maxlen=2), init=False
    )
    """How many there were, and their sum."""
    _began: float = field(default=0.0, init=False)

    def observe(self, value: float, now: float) -> None:
        """Take note of ``value`` at ``now`` (seconds)."""
        self._pass(now)
        count, total = self._minutes[-1]
        self._minutes[-1] = count + 1, total + value

    def recent(self, now: float) -> tuple[int, float]:
        """Return how many values there were, and their mean (0 of none)."""
        self._pass(now)
        count = sum(each[0] for each in self._minutes)
        return count, sum(each[1] for each in self._minutes) / max(1, count)

    def _pass(self, now: float) -> None:
        if now - self._began >= RECENT_SECONDS:
            if now - self._began >= 2 * RECENT_SECONDS:
                self._minutes.append((0, 0.0))
            self._minutes.append((0, 0.0))
            self._began = now


@define
class Measures:
    """What one node counted since it started."""

    log_write: Histogram = field(factory=lambda: Histogram(SECONDS))
    """Writing and syncing one batch of the log."""
    log_write_mean: Mean = field(factory=Mean)
    batch_entries: Histogram = field(factory=lambda: Histogram(SIZES))
    """Entries in one such batch."""
    commit: Histogram = field(factory=lambda: Histogram(SECONDS))
    """From proposing a batch of this node's clients to having applied it."""
    apply: Histogram = field(factory=lambda: Histogram(SECONDS))
    """Applying what was committed, in one reactor turn."""
    reactor_delay: Histogram = field(factory=lambda: Histogram(SECONDS))
    """How late the tick came: whatever held the reactor held everything else as well."""
    longest_delay: Peak = field(factory=Peak)
    commands: int = 0
    """Commands applied, whoever sent them."""
    entries: int = 0
    """Entries applied."""
    leader_changes: int = 0
    answers: Counter[int] = field(factory=Counter)
    """HTTP answers by status code."""
    messages: int = 0
    """WebSocket messages received."""
    backups: int = 0
    """Periodic backups that are complete,"""
    backup_failures: int = 0
    """and attempts at one that failed."""
