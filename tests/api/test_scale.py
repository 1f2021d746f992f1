"""Many connections: what is done for each of them is done a few at a time."""

from __future__ import annotations

import builtins
import gc
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.gateway import FakeGateway
from tests.support.http import SiteTestCase
from uring.api import websocket
from uring.api.channel import UringChannel
from uring.api.doors import Doors
from uring.api.limits import Limits
from uring.api.plain import PlainParser
from uring.api.request import UringRequest
from uring.api.websocket import SessionFactory, SessionProtocol
from uring.turns import Turns


class Receiver:
    """Stands for a connection that has something to send."""

    def __init__(self, sent: list[int], number: int, again: SessionFactory | None = None) -> None:
        self.sent, self.number, self.again = sent, number, again

    def _flush(self) -> None:
        self.sent.append(self.number)
        if self.again is not None:
            again, self.again = self.again, None
            again.flush_later(self)  # type: ignore[arg-type]


def make_factory(clock: Clock) -> SessionFactory:
    doors = Doors(FakeGateway(), Limits(), clock, lambda *about: cast(Any, (None, None)))
    return SessionFactory(doors, Limits(), clock, "1.2.3", Turns(clock))


class TurnTests(SynchronousTestCase):
    """What leaves in one turn."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = make_factory(self.clock)
        self.sent: list[int] = []

    def test_many_are_spread_over_turns(self) -> None:
        """No turn sends to more than some hundred connections; none is forgotten or overtaken."""
        count = 2 * websocket.FLUSHES_A_TURN + 10
        for number in range(count):
            again = self.factory if number == 5 else None
            self.factory.flush_later(Receiver(self.sent, number, again))  # type: ignore[arg-type]
        sizes = []
        while calls := self.clock.getDelayedCalls():
            before = len(self.sent)
            (call,) = calls  # Clock would run what is due at once in the same turn
            call.cancel()
            self.factory.flush()
            sizes.append(len(self.sent) - before)
        self.assertEqual(self.sent, [*range(count), 5])
        self.assertEqual(sizes, [websocket.FLUSHES_A_TURN, websocket.FLUSHES_A_TURN, 11])

    def test_the_extension(self) -> None:
        """Where autobahn's native extension is missing, a node says so once, at its start."""
        real = builtins.__import__

        def without(name: str, *args: Any, **more: Any) -> Any:
            if name == "autobahn.nvx":
                raise ImportError(name)
            return real(name, *args, **more)

        said: list[str] = []
        self.patch(websocket._log, "warn", said.append)
        make_factory(self.clock)
        self.assertEqual(said, [])
        self.patch(builtins, "__import__", without)
        make_factory(self.clock)
        self.assertEqual(len(said), 1)
        self.assertIn("native extension", said[0])


class PublishTests(SiteTestCase):
    """A change for more subscribers than one turn serves."""

    async def test_all_are_told(self) -> None:
        """Each subscriber gets each change, in order."""
        self.patch(websocket, "FLUSHES_A_TURN", 2)
        listeners = [await self.websocket(None) for _ in range(5)]
        for listener in listeners:
            await listener.ask({"Subscribe": {"rid": 1, "channel": "kv"}})
        writer = await self.websocket()
        for number in range(3):
            await writer.ask({"Put": {"rid": number, "key": "k", "store": str(number)}})
        for listener in listeners:
            told = (await listener.receive(4))[1:]
            stored = [each["Msg"]["msg"]["Put"]["new"] for each in told]
            self.assertEqual(stored, ["0", "1", "2"])


class GarbageTests(SiteTestCase):
    """What connections leave behind."""

    async def test_nothing_is_left_for_the_collector(self) -> None:
        """No connection leaves a cycle, whether it becomes a WebSocket, is used, or is closed."""
        await self._some()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await self._some()
            gc.collect()
            kinds = {type(each) for each in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        self.assertEqual(kinds & {UringChannel, UringRequest, PlainParser, SessionProtocol}, set())

    async def _some(self) -> None:
        await self.websocket()
        for extra in ({}, {"X_Slow": "1"}, {"Connection": "close"}):
            response = await self.request("GET", "/kv/k", **extra)
            self.assertEqual(response.code, 404)
