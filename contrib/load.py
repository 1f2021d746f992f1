"""Writing all the time, to see for how long nothing can be written."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from uring.client import Client
from uring.errors import UringError

WRITE_SECONDS = 0.05
KEYS = 1000


class Load:
    """Writes all the time, and knows the longest time that no write succeeded."""

    def __init__(self, client: Client, reactor: Any, keys: int = KEYS) -> None:
        self.written = self.failed = 0
        self.longest = 0.0
        self._client, self._reactor, self._keys = client, reactor, keys
        self._last = reactor.seconds()
        self._work = Deferred.fromCoroutine(self._write())
        self._work.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def _write(self) -> None:
        while True:
            try:
                await self._client.put(f"fruit/{self.written % self._keys}", str(self.written))
            except UringError:
                self.failed += 1
            else:
                now = self._reactor.seconds()
                self.longest = max(self.longest, now - self._last)
                self._last = now
                self.written += 1
            await deferLater(self._reactor, WRITE_SECONDS)

    def stop(self) -> None:
        """Write no more."""
        self._work.cancel()

    def __str__(self) -> str:
        gap = max(self.longest, self._reactor.seconds() - self._last)
        return f"load: {self.written} written, {self.failed} failed, longest gap {gap:.2f} s"
