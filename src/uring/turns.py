"""Sharing the one thread among clients: how much they do before peers and timers get it again.

Whoever has much to ask is served a slice, then the next one; who has had none yet goes before.
Nothing is refused: what waits is not read from its socket, and the client's kernel makes it wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field

TURN_SECONDS = 0.01
"""For all clients before the reactor looks after everything else: a tenth of a heartbeat."""
WAITING_SECONDS = TURN_SECONDS / 2
"""Of it for those who have been waiting; the rest is for those who come."""
SLICE_SECONDS = 0.001
"""For one client where others wait: some 30 small requests."""


@define(eq=False)
class Turns:
    """Measures what is done for clients.

    ``if turns.enter(): try: ... finally: turns.leave()`` is around the work for one client, which
    looks at :attr:`is_over` now and then: if it is, or ``enter`` says no, the rest is for
    :meth:`later`.
    """

    _clock: Any
    _spent: float = field(default=0.0, init=False)
    """Seconds since the reactor last looked after everything else."""
    _depth: int = field(default=0, init=False)
    _began: float = field(default=0.0, init=False)
    _end: float = field(default=0.0, init=False)
    """Of the slice that has begun."""
    _new: deque[Callable[[], None]] = field(factory=deque, init=False)
    """Those who wait for their first slice,"""
    _waiting: deque[Callable[[], None]] = field(factory=deque, init=False)
    """and those who need more than one."""
    _is_called: bool = field(default=False, init=False)

    def enter(self) -> bool:
        """Begin to work for a client, within other such work or not; False: it has to wait."""
        now = self._clock.seconds()
        if not self._depth:
            left = TURN_SECONDS - self._spent
            if left <= 0:
                return False
            self._began = now
            self._end = now + (min(left, SLICE_SECONDS) if self._waiting or self._new else left)
        elif now >= self._end:
            return False
        self._depth += 1
        return True

    def leave(self) -> None:
        """End what :meth:`enter` began."""
        self._depth -= 1
        if not self._depth:
            self._spent += self._clock.seconds() - self._began
            if self._spent >= TURN_SECONDS:
                self._call()

    @property
    def is_over(self) -> bool:
        """True when this client has had its slice."""
        return bool(self._clock.seconds() >= self._end)

    def later(self, go_on: Callable[[], None], is_new: bool) -> None:
        """Call ``go_on`` when it is this client's turn (again)."""
        (self._new if is_new else self._waiting).append(go_on)
        self._call()

    def _call(self) -> None:
        if not self._is_called:
            self._is_called = True
            self._clock.callLater(0, self._next)

    def _next(self) -> None:
        """The reactor has looked after everything else: let those who wait go on."""
        self._is_called = False
        self._spent = 0.0
        for queue in (self._new, self._waiting):
            for _ in range(len(queue)):  # who is not done is behind them
                if self._spent >= WAITING_SECONDS:
                    break
                queue.popleft()()
        if self._new or self._waiting:
            self._call()
