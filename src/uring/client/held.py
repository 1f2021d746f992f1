"""A lease that is renewed as long as somebody needs it, and who is told when it may be over."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorCore
from twisted.internet.task import deferLater
from twisted.logger import Logger

from uring.client.services import ServiceClient
from uring.errors import NotFound, UringError

RENEWALS = 3
"""Renewals in the time of a lease: two may fail."""
MARGIN = 0.1
"""The share of a lease's time that its holder does without: clocks may differ by a twentieth, and
who is told that the lease may be over needs time to stop."""
TTL_SECONDS_MIN, TTL_SECONDS_MAX = 1.0, 30 * 24 * 3600.0
"""What a node grants."""

_log = Logger(namespace="uring.client")


def steady(reactor: Any) -> Callable[[], float]:
    """Return what tells seconds that nobody sets back, and that pass while the machine sleeps.

    A reactor's own are those of the wall clock.  What is no real reactor (a Clock) is believed.
    """
    if not IReactorCore.providedBy(reactor):
        seconds: Callable[[], float] = reactor.seconds
        return seconds
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return lambda: time.clock_gettime(clock)


@define(eq=False)
class HeldLease:
    """One lease of ``ttl`` seconds: :meth:`begin` it once, and :meth:`end` it.

    From the moment before a grant or a renewal was asked for, the lease has its whole time at
    whichever node leads; ``lost`` is called with the reason a tenth of that time before it is over.
    """

    calls: ServiceClient
    reactor: Any
    ttl: float
    lost: Callable[[str], None]
    id: int = field(default=0, init=False)
    _seconds: Callable[[], float] = field(init=False)
    _sure_until: float = field(default=0.0, init=False)
    _over: bool = field(default=True, init=False)
    _waiting: Deferred[Any] | None = field(default=None, init=False)
    """What the renewals wait for: their pause, or an answer."""
    _alarm: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._seconds = steady(self.reactor)

    @property
    def is_sure(self) -> bool:
        """Whether the lease cannot be over yet, whatever has happened since it was renewed."""
        return not self._over and self._seconds() < self._sure_until

    async def begin(self) -> None:
        """Be granted the lease, and renew it from now on.  Raises UringError."""
        asked = self._seconds()
        self.id = await self.calls.grant(self.ttl)
        self._over = False
        self._renewed(asked)
        Deferred.fromCoroutine(self._renew()).addErrback(self._broken)

    async def end(self) -> None:
        """Renew no more, and end the lease with all its keys.  Raises UringError: it ends then when
        its time is over."""
        self.stop()
        if self.id:
            # Not found: it was over, or an attempt whose answer was lost had ended it.
            with suppress(NotFound):
                await self.calls.revoke(self.id)

    def give_up(self, reason: str) -> None:
        """Take the lease as lost, unless it is over anyway."""
        if not self._over:
            self.stop()
            self.lost(reason)

    def stop(self) -> None:
        """Renew no more: the lease ends by itself."""
        self._over = True
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def _renewed(self, asked: float) -> None:
        self._sure_until = max(self._sure_until, asked + self.ttl * (1 - MARGIN))
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        left = self._sure_until - self._seconds()
        self._alarm = self.reactor.callLater(max(0.0, left), self._look)

    def _look(self) -> None:
        """Tell when the time is up; the reactor's clock may be another one, so look again."""
        left = self._sure_until - self._seconds()
        if left > 0:
            self._alarm = self.reactor.callLater(left, self._look)
        else:
            self.give_up(f"the lease was not renewed for {self.ttl * (1 - MARGIN):g} s")

    async def _renew(self) -> None:
        pause = self.ttl / RENEWALS
        while not self._over:
            await self._wait(deferLater(self.reactor, pause))
            asked = self._seconds()
            try:
                await self._wait(Deferred.fromCoroutine(self.calls.keep_alive(self.id)))
            except NotFound:
                self.give_up("the lease is over, or was revoked")
            except UringError as error:
                _log.info("a lease is not renewed: {error}", error=error)
                pause = self.ttl / RENEWALS / 4
            else:
                pause = self.ttl / RENEWALS
                if not self._over:
                    self._renewed(asked)

    async def _wait(self, what: Deferred[Any]) -> None:
        self._waiting = what
        try:
            await what
        finally:
            if self._waiting is what:
                self._waiting = None

    def _broken(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            _log.failure("a lease is not renewed any more", failure=failure)
            self.give_up(f"renewing it failed: {failure.value}")
