"""A bounded load over WebSockets, and what it took."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from uring.client import Client, WebSocketSession
from uring.client.websocket import first_error
from uring.errors import UringError

_STEP = math.log(1.01)
"""Times are told apart by a hundredth: a bounded number of counters, however long a run is."""
_UNIT = 1e-6
PAUSE_SECONDS = 0.1
"""After a refusal, or a connection that is lost."""
SHARES = (50.0, 90.0, 99.0, 99.9)


@define
class Latencies:
    """How long requests took."""

    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    _buckets: Counter[int] = field(factory=Counter)

    def add(self, seconds: float) -> None:
        """Count one request."""
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        self._buckets[int(math.log(max(seconds, _UNIT) / _UNIT) / _STEP)] += 1

    def percentile(self, share: float) -> float:
        """Return within how many seconds ``share`` percent were answered; 0 if there were none."""
        wanted, seen = self.count * share / 100, 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(self.longest, _UNIT * math.exp((bucket + 1) * _STEP))
        return 0.0

    def shown(self) -> dict[str, float]:
        """Return the figures, in milliseconds."""
        figures = {f"p{share:g}_ms": self.percentile(share) for share in SHARES}
        figures["mean_ms"] = self.total / max(1, self.count)
        figures["max_ms"] = self.longest
        return {"count": self.count, **{k: round(1000 * v, 3) for k, v in figures.items()}}


@define
class Load:
    """What is asked of a cluster: at most ``count`` requests, for at most ``seconds``."""

    reactor: Any
    prefix: str
    window: int
    size: int
    reads: float
    """The share of reads, from 0 to 1."""
    keys: int
    count: int | None
    seconds: float | None
    patience: float
    chance: random.Random = field(factory=random.Random)
    reading: Latencies = field(factory=Latencies, init=False)
    writing: Latencies = field(factory=Latencies, init=False)
    errors: Counter[str] = field(factory=Counter, init=False)
    begun: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    stopped: bool = field(default=False, init=False)
    took: float = field(default=0.0, init=False)
    _began: float = field(default=0.0, init=False)
    _last: float = field(default=0.0, init=False)
    """When anything was last answered."""

    def share_done(self) -> float:
        """Return how much of the load is behind us, from 0 to 1."""
        shares = [0.0]
        if self.count is not None:
            shares.append(self.done / self.count)
        if self.seconds is not None and self._began:
            shares.append((self.reactor.seconds() - self._began) / self.seconds)
        return min(1.0, max(shares))

    async def run(self, clients: list[Client]) -> None:
        """Send everything.  Raises UringError when no node has served for ``patience`` seconds."""
        self._began = self._last = self.reactor.seconds()
        try:
            work = [Deferred.fromCoroutine(self._client(each)) for each in clients]
            await gatherResults(work, consumeErrors=True).addErrback(first_error)
        finally:
            self.stopped = True
            self.took = self.reactor.seconds() - self._began

    def _is_over(self) -> bool:
        over = self.stopped or (self.count is not None and self.begun >= self.count)
        if self.seconds is not None and self.reactor.seconds() - self._began >= self.seconds:
            return True
        return over

    async def _client(self, client: Client) -> None:
        while not self._is_over():
            try:
                socket = await client.connect_websocket()
                await socket.select("KV")
            except UringError as error:
                self.errors[type(error).__name__] += 1
                if self.reactor.seconds() - self._last > self.patience:
                    self.stopped = True
                    raise
                client.move_on()
                await deferLater(self.reactor, PAUSE_SECONDS)
                continue
            lanes = [Deferred.fromCoroutine(self._lane(socket)) for _ in range(self.window)]
            await gatherResults(lanes, consumeErrors=True).addErrback(first_error)
            await socket.close()
            client.move_on()

    async def _lane(self, socket: WebSocketSession) -> None:
        """Send one request after the other, each once the last one is answered."""
        seconds, chance = self.reactor.seconds, self.chance
        value = "x" * self.size
        while not self._is_over() and not socket.closed.called:
            self.begun += 1
            key = f"{self.prefix}{chance.randrange(self.keys)}"
            is_read = chance.random() < self.reads
            began = seconds()
            try:
                if is_read:
                    reply = await socket.request("Get", key=key)
                else:
                    reply = await socket.request("Put", key=key, store=value)
            except UringError as error:
                self.errors[type(error).__name__] += 1
                continue
            self.done += 1
            if reply.code in (200, 201) or (is_read and reply.code == 404):
                self._last = seconds()
                (self.reading if is_read else self.writing).add(self._last - began)
            else:
                self.errors[str(reply.code)] += 1
                if seconds() - self._last > self.patience:
                    self.stopped = True
                    reply.expect(200, 201)
                await deferLater(self.reactor, PAUSE_SECONDS)


async def clean(client: Client, prefix: str, told: Callable[[int], None] = lambda n: None) -> int:
    """Remove every key that begins with ``prefix``; return how many there were."""
    removed = 0
    while True:
        page = await client.page(prefix, None, 1000)
        if not page.items:
            return removed
        for reply in await client.batch([("Delete", {"key": each.key}) for each in page.items]):
            reply.expect(200, 404)
        removed += len(page.items)
        told(len(page.items))
