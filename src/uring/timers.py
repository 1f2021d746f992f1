"""Timers that a step of the wall clock cannot move."""

from __future__ import annotations

import time
from typing import Any


def use_monotonic_time(reactor: Any) -> None:
    """Let ``reactor`` count by the monotonic clock, calls that are already scheduled included.

    Twisted schedules by ``time.time``: when the wall clock is set back an hour, heartbeats and
    time-outs stop for that hour.  ``seconds`` is what the reactor asks both when it schedules and
    when it looks what is due, so replacing it on the instance moves both together.
    """
    if reactor.seconds is time.monotonic:
        return
    now = reactor.seconds()
    pending = [(call, call.getTime() - now) for call in reactor.getDelayedCalls()]
    reactor.seconds = time.monotonic
    for call, remaining in pending:
        call.seconds = time.monotonic
        call.reset(max(0.0, remaining))
