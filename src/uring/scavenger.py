"""Giving memory back after a load: what Python and malloc keep for the next, that may never come.

Freed memory goes back to the system only by itself where nothing lies above it; and what refers to
itself waits for the garbage collector, which we let run seldom (``uring.service.GC_THRESHOLDS``).
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

SECONDS = 5.0
"""Between two looks at what this process uses of a processor."""
BUSY_SHARE = 0.25
"""Of one processor: from here on it is a load."""
FALLEN = 0.5
"""A load is over when less than this part of its peak is left."""
RELEASES = 24
"""After a load, one at each look: connections that nobody uses end within two minutes of it."""
COST_SHARE = 0.001
"""Of the time, for releasing: after one that took 0.1 s there is none for 100 s."""

_MALLOC_OPTIONS = {
    -8: 1,  # M_ARENA_MAX: one region for all threads
    -3: 128 << 10,  # M_MMAP_THRESHOLD: larger pieces go back as soon as they are free
    -1: 1 << 20,  # M_TRIM_THRESHOLD: so does the end of the heap, when as much of it is free
}
"""glibc's ``malloc.h``; what it knows under other numbers, or not at all, it does not change."""


@define
class Scavenger:
    """Releases memory in the quiet after a load.  All times are seconds."""

    _clock: Any
    _release: Callable[[], None]
    _used: Callable[[], float] = time.process_time
    """Returns the processor time of this process so far."""
    _cost: Callable[[], float] = time.perf_counter
    """By what the time of a release is measured."""
    _peak: float = field(default=0.0, init=False)
    _left: int = field(default=0, init=False)
    _not_before: float = field(default=0.0, init=False)
    _looked: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    """When, and what had been used until then."""
    _call: IDelayedCall | None = field(default=None, init=False)

    def start(self) -> None:
        """Look from now on."""
        self._looked = (self._clock.seconds(), self._used())
        self._call = self._clock.callLater(SECONDS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _look(self) -> None:
        self._call = self._clock.callLater(SECONDS, self._look)
        (before, used_before), self._looked = self._looked, (self._clock.seconds(), self._used())
        now, used = self._looked
        share = (used - used_before) / (now - before)
        if share >= max(BUSY_SHARE, FALLEN * self._peak):
            self._peak, self._left = max(self._peak, share), RELEASES
        elif self._left and now >= self._not_before:
            began = self._cost()
            self._release()
            self._not_before = now + (self._cost() - began) / COST_SHARE
            self._left -= 1
            self._peak = self._peak if self._left else 0.0


def prepare() -> None:
    """Let malloc keep little of what is free; to be called before there are other threads.

    By default every thread gets a region of its own, whose free memory is of no use to the others,
    and malloc keeps more for itself the larger the pieces are that it was asked for.
    """
    for option, value in _MALLOC_OPTIONS.items():
        _mallopt(option, value)


def settle() -> None:
    """Let the collector leave alone what is there once the node serves: modules, classes, routes.

    A collection of everything then takes as long as what came since, instead of 0.1 s.
    """
    gc.collect()
    gc.freeze()


def release() -> None:
    """Collect what refers to itself, then let malloc give back what is free: some ms for 100 MB."""
    gc.collect()
    _trim(0)


def _found(name: str) -> Callable[..., object]:
    try:
        return getattr(ctypes.CDLL(None), name)  # type: ignore[no-any-return]
    except (AttributeError, OSError, TypeError):  # other C libraries return memory in other ways
        return lambda *arguments: None


_trim = _found("malloc_trim")
_mallopt = _found("mallopt")
