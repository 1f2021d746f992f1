"""The socket's conversation by plain calls, and once over a real socket."""

from __future__ import annotations

import gc
import json
from typing import Any, cast

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from uring.client import Client, WebSocketSession
from uring.client import websocket as websocket_module
from uring.errors import Conflict, OutcomeUnknown, Overloaded, Unavailable


class SessionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.sent: list[Any] = []
        self.clock = Clock()
        self.hung_up = 0
        self.session = WebSocketSession(
            self.clock, lambda text: self.sent.append(json.loads(text)), self.hang_up, 10.0
        )

    def hang_up(self) -> None:
        self.hung_up += 1
        self.session.connection_lost("bye")

    def receive(self, message: Any) -> None:
        self.session.text_received(json.dumps(message).encode())

    def event(self, number: int) -> None:
        self.receive({"Msg": {"channel": "kv", "msg": {"Put": {"n": number}}}})


class RequestTests(SessionTestCase):
    """Requests and replies."""

    def test_replies_out_of_order(self) -> None:
        """Replies are told apart by their rid, whatever their order."""
        one = self.session.request("Get", key="a")
        two = self.session.request("Get", key="b")
        rids = [message["Get"]["rid"] for message in self.sent]
        self.receive({"rid": rids[1], "code": 200, "data": "B"})
        self.receive({"rid": rids[0], "code": 200, "data": "A"})
        self.assertEqual(self.successResultOf(one).data, "A")
        self.assertEqual(self.successResultOf(two).data, "B")

    def test_as(self) -> None:
        """A command of another protocol is wrapped in As."""
        self.session.request_as("MRing", "SetSize", size=8).addErrback(lambda _: None)
        self.assertEqual(
            self.sent, [{"As": {"protocol": "MRing", "cmd": {"SetSize": {"rid": 1, "size": 8}}}}]
        )

    def test_select(self) -> None:
        """A selection is over once it is confirmed."""
        selecting = Deferred.fromCoroutine(self.session.select("KV"))
        self.assertNoResult(selecting)
        self.receive({"Selected": {"rid": 1, "protocol": "KV"}})
        self.successResultOf(selecting)

    def test_refusal(self) -> None:
        """A refusal is raised with its text."""
        asking = Deferred.fromCoroutine(self.session.execute_as("KV", "Put", key="a", store="b"))
        self.receive({"rid": 1, "code": 409, "data": None, "error": {"message": "not so"}})
        self.assertEqual(str(self.failureResultOf(asking, Conflict).value), "not so")

    def test_missing_key(self) -> None:
        """A key that is not there is None."""
        getting = Deferred.fromCoroutine(self.session.get("a"))
        self.receive({"rid": 1, "code": 404, "data": None})
        self.assertIsNone(self.successResultOf(getting))

    def test_batch(self) -> None:
        """Several commands go in one message, and their replies come together, refusals too."""
        asking = self.session.batch([("Put", {"key": "a", "store": "b"}), ("Get", {"key": "c"})])
        self.assertEqual(
            self.sent,
            [[{"Put": {"rid": 1, "key": "a", "store": "b"}}, {"Get": {"rid": 2, "key": "c"}}]],
        )
        refusal = {"rid": 2, "code": 503, "data": None, "error": {"detail": "no leader"}}
        self.receive([{"rid": 1, "code": 201, "data": None}, refusal])
        replies = self.successResultOf(asking)
        self.assertEqual([reply.code for reply in replies], [201, 503])
        self.assertRaises(Unavailable, replies[1].expect, 200)

    def test_batch_without_an_end(self) -> None:
        """A batch whose connection is lost ends as unknown; none and too many are not sent."""
        asking = self.session.batch([("Get", {"key": "a"}), ("Get", {"key": "b"})])
        self.assertRaises(ValueError, self.session.batch, [])
        self.assertRaises(ValueError, self.session.batch, [("Get", {"key": "a"})] * 1025)
        self.assertEqual(len(self.sent), 1)
        self.session.connection_lost("gone")
        self.failureResultOf(asking, OutcomeUnknown)

    def test_time_out(self) -> None:
        """A request without a reply ends as unknown, and its late reply is ignored."""
        asking = self.session.request("Put", key="a", store="b")
        self.clock.advance(10.1)
        self.failureResultOf(asking, OutcomeUnknown)
        self.receive({"rid": 1, "code": 201, "data": None})

    def test_lost_connection(self) -> None:
        """What waits when the connection goes ends as unknown; afterwards nothing is sent."""
        asking = self.session.request("Put", key="a", store="b")
        self.session.connection_lost("gone")
        self.failureResultOf(asking, OutcomeUnknown)
        self.assertRaises(Unavailable, self.session.request, "Get", key="a")
        self.assertEqual(len(self.sent), 1)

    def test_nonsense_from_the_server(self) -> None:
        """What is no message of uring is passed over."""
        asking = self.session.request("Get", key="a")
        self.session.text_received(b"{")
        nonsense: list[Any] = [1, [], {}, {"rid": 99}, {"rid": None, "error": {}}, {"Msg": 3}]
        for message in nonsense:
            self.receive(message)
        self.assertNoResult(asking)
        self.receive({"rid": 1, "code": 200, "data": "x"})
        self.assertEqual(self.successResultOf(asking).data, "x")

    def test_close(self) -> None:
        """Closing hangs up once, and is over when the connection is."""
        for _ in range(2):
            self.successResultOf(Deferred.fromCoroutine(self.session.close()))
        self.assertEqual(self.hung_up, 1)


class SubscriptionTests(SessionTestCase):
    """Events."""

    def test_iteration(self) -> None:
        """Events come in order, those that waited and those that come later, until the end."""
        got: list[int] = []

        async def read() -> None:
            async for event in self.session.subscribe("kv"):
                got.append(event["Put"]["n"])

        reading = Deferred.fromCoroutine(read())
        self.assertEqual(self.sent, [{"Subscribe": {"channel": "kv"}}])
        for number in range(3):
            self.event(number)
        self.assertEqual(got, [0, 1, 2])
        self.session.connection_lost("gone")
        self.successResultOf(reading)

    def test_one_subscription_on_the_wire(self) -> None:
        """Two listeners of a channel share one subscription, and one's failure is its own."""
        got: list[Any] = []

        def broken(event: Any) -> None:
            raise ValueError("broken")

        self.session.listen("kv", broken)
        self.session.listen("kv", got.append)
        self.event(1)
        self.assertEqual(len(self.sent), 1)
        self.assertEqual(got, [{"Put": {"n": 1}}])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_overrun(self) -> None:
        """A reader that is too far behind gets what was kept, then is told."""
        self.patch(websocket_module, "EVENTS_WAITING_MAX", 2)
        subscription = self.session.subscribe("kv")
        for number in range(4):
            self.event(number)
        got: list[int] = []

        async def read() -> None:
            async for event in subscription:
                got.append(event["Put"]["n"])

        self.failureResultOf(Deferred.fromCoroutine(read()), Overloaded)
        self.assertEqual(got, [0, 1])


class Echo(WebSocketServerProtocol):  # type: ignore[misc]
    """Answers every command with its key."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        command = json.loads(payload)["As"]["cmd"]["Get"]
        reply = {"rid": command["rid"], "code": 200, "data": command["key"]}
        self.sendMessage(json.dumps(reply).encode())


def listen(factory: Any) -> Any:
    """Listen on a free port of loopback."""
    return cast(Any, reactor).listenTCP(0, factory, interface="127.0.0.1")


class ConnectionTests(TestCase):
    """A real socket on loopback."""

    async def test_conversation(self) -> None:
        """A session opens, is answered, and closes."""
        factory = WebSocketServerFactory()
        factory.protocol = Echo
        port = listen(factory)
        self.addCleanup(port.stopListening)
        session = await Client(f"127.0.0.1:{port.getHost().port}").connect_websocket()
        self.assertEqual(await session.get("beep"), "beep")
        await session.close()
        self.assertTrue(session.closed.called)

    async def test_request_while_the_connection_closes(self) -> None:
        """Between goodbye and the end nothing is sent any more: Unavailable, and nobody waits."""
        factory = WebSocketServerFactory()
        factory.protocol = Echo
        port = listen(factory)
        self.addCleanup(port.stopListening)
        session = await Client(f"127.0.0.1:{port.getHost().port}").connect_websocket()
        closing = Deferred.fromCoroutine(session.close())
        commands = [("Get", {"key": "a"}), ("Get", {"key": "b"})]
        self.assertRaises(Unavailable, session.request, "Get", key="a")
        self.assertRaises(Unavailable, session.request_as, "KV", "Get", key="a")
        self.assertRaises(Unavailable, session.batch, commands)
        self.assertRaises(Unavailable, session.subscribe, "kv")
        await closing
        # A reply that nobody waits for would be logged as an unhandled error now.
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_nobody_there(self) -> None:
        """Where nobody listens the session is Unavailable."""
        port = listen(WebSocketServerFactory())
        number = port.getHost().port
        await port.stopListening()
        with self.assertRaises(Unavailable):
            await Client(f"127.0.0.1:{number}").connect_websocket()
