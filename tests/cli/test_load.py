"""The load of the bench: bounded, counted, given up when nobody serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from uring.cli.load import Latencies, Load, clean
from uring.client import Item, Page, Reply
from uring.errors import OutcomeUnknown, Unavailable


@define(eq=False)
class FakeSocket:
    """Answers as it is told."""

    answer: Callable[[str], Deferred[Reply]]
    sent: list[str] = field(factory=list)
    closed: Deferred[None] = field(factory=Deferred)

    async def select(self, protocol: str) -> None:
        assert protocol == "KV"

    def request(self, command: str, **fields: Any) -> Deferred[Reply]:
        self.sent.append(command)
        return self.answer(command)

    async def close(self) -> None:
        if not self.closed.called:
            self.closed.callback(None)


@define(eq=False)
class FakeClient:
    """Connects, if it is told to."""

    socket: FakeSocket
    is_there: bool = True
    keys: list[str] = field(factory=list)
    moved: int = 0

    async def connect_websocket(self) -> Any:
        if not self.is_there:
            raise Unavailable("nobody there")
        return self.socket

    def move_on(self) -> None:
        self.moved += 1

    async def page(self, prefix: str, cursor: str | None, limit: int) -> Page:
        found = [each for each in self.keys if each.startswith(prefix)][:2]
        return Page(tuple(Item(each, "", 1, 1) for each in found), 1, None)

    async def batch(self, commands: list[tuple[str, dict[str, str]]]) -> list[Reply]:
        for name, fields in commands:
            assert name == "Delete"
            self.keys.remove(fields["key"])
        return [Reply(None, 200, None) for _ in commands]


class LatencyTests(SynchronousTestCase):
    def test_percentiles(self) -> None:
        """Within a hundredth of the truth, and never beyond the slowest."""
        latencies = Latencies()
        self.assertEqual(latencies.shown()["p50_ms"], 0)
        for milliseconds in range(1, 1001):
            latencies.add(milliseconds / 1000)
        for share, expected in ((50, 0.5), (99, 0.99), (100, 1.0)):
            self.assertApproximates(latencies.percentile(share), expected, 0.011 * expected)
        self.assertEqual(latencies.shown()["max_ms"], 1000)
        latencies.add(0.0)
        self.assertEqual(latencies.count, 1001)


class LoadTests(SynchronousTestCase):
    def load(self, **changed: Any) -> Load:
        self.clock = Clock()
        options: dict[str, Any] = {
            "window": 4,
            "size": 10,
            "reads": 0.5,
            "keys": 10,
            "count": 100,
            "seconds": None,
            "patience": 5.0,
        }
        return Load(self.clock, "bench/", **{**options, **changed})

    def run_load(self, load: Load, *clients: FakeClient) -> Deferred[None]:
        return Deferred.fromCoroutine(load.run(list(clients)))  # type: ignore[arg-type]

    def test_count(self) -> None:
        """Exactly so many requests are sent, shared by all clients."""
        load = self.load()
        sockets = [FakeSocket(lambda command: succeed(Reply(1, 200, None))) for _ in range(3)]
        self.successResultOf(self.run_load(load, *map(FakeClient, sockets)))
        self.assertEqual(sum(len(each.sent) for each in sockets), 100)
        self.assertEqual(load.reading.count + load.writing.count, 100)
        self.assertEqual(load.share_done(), 1.0)

    def test_window(self) -> None:
        """No client has more requests under way than its window; time ends the load, too."""
        load = self.load(count=None, seconds=10.0, reads=0.0)
        waiting: list[Deferred[Reply]] = []

        def hold(command: str) -> Deferred[Reply]:
            waiting.append(Deferred())
            return waiting[-1]

        done = self.run_load(load, FakeClient(FakeSocket(hold)))
        self.assertEqual(len(waiting), 4)
        self.clock.advance(1.0)
        waiting.pop(0).callback(Reply(1, 201, None))
        self.assertEqual(len(waiting), 4)
        self.clock.advance(9.0)
        for each in list(waiting):
            each.callback(Reply(1, 201, None))
        self.successResultOf(done)
        self.assertEqual((load.writing.count, load.reading.count), (5, 0))

    def test_refusals(self) -> None:
        """Refusals and lost replies are counted apart, and do not end the load."""
        load = self.load(count=4, window=1)
        answers = [
            Deferred(),
            succeed(Reply(1, 503, None)),
            succeed(Reply(1, 200, None)),
            succeed(Reply(1, 200, None)),
        ]
        answers[0].errback(OutcomeUnknown("no reply"))
        socket = FakeSocket(lambda command: answers.pop(0))
        done = self.run_load(load, FakeClient(socket))
        self.clock.advance(1.0)
        self.successResultOf(done)
        self.assertEqual(load.errors, {"OutcomeUnknown": 1, "503": 1})
        self.assertEqual(load.reading.count + load.writing.count, 2)

    def test_nobody_serves(self) -> None:
        """When nobody has served for as long as patience lasts, the load is given up."""
        load = self.load(patience=2.0)
        client = FakeClient(FakeSocket(lambda command: Deferred()), is_there=False)
        done = self.run_load(load, client)
        for _ in range(30):
            self.clock.advance(0.1)
        self.failureResultOf(done, Unavailable)
        self.assertGreater(client.moved, 5)

    def test_clean(self) -> None:
        """Every key with the prefix goes, page by page, and no other."""
        keys = ["bench/1", "bench/2", "bench/3", "other"]
        client = FakeClient(FakeSocket(lambda command: Deferred()), keys=keys)
        removed = self.successResultOf(
            Deferred.fromCoroutine(clean(client, "bench/"))  # type: ignore[arg-type]
        )
        self.assertEqual((removed, client.keys), (3, ["other"]))
