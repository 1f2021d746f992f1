"""The WebSocket's conversation by plain calls, and the bounds that need no socket to be seen."""

from __future__ import annotations

import time
from typing import Any

import orjson
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.gateway import FakeGateway
from tests.support.http import SiteTestCase, masked
from uring.api import decode
from uring.api.limits import Limits
from uring.api.session import Session
from uring.errors import BadRequest, OutcomeUnknown, Unavailable
from uring.machines.commands import Command


class SessionTestCase(SynchronousTestCase):
    """A session whose replies are kept in a list."""

    def setUp(self) -> None:
        self.gateway = FakeGateway()
        self.sent: list[Any] = []
        self.busy: list[bool] = []
        self.session = Session(
            self.gateway,
            evolve(Limits(), in_flight=4),
            "1.2.3",
            lambda reply: self.sent.append(orjson.loads(reply)),
            self.busy.append,
        )

    def ask(self, message: Any) -> Any:
        """Return the one reply to ``message``."""
        self.sent.clear()
        self.session.received(message if isinstance(message, bytes) else orjson.dumps(message))
        self.assertEqual(len(self.sent), 1)
        return self.sent[0]

    def select(self, protocol: str) -> None:
        self.ask({"Select": {"rid": 0, "protocol": protocol}})


class ConversationTests(SessionTestCase):
    """What is said, and what is answered."""

    def test_select_first(self) -> None:
        """A command without a selected protocol is told to select one, and changes nothing."""
        reply = self.ask({"Put": {"rid": 7, "key": "k", "store": "v"}})
        self.assertEqual((reply["rid"], reply["code"]), (7, 400))
        self.assertIn("select a protocol first", reply["error"]["detail"])
        self.assertEqual(self.gateway.applied, 0)

    def test_both_ways_of_reading_agree(self) -> None:
        """A message is answered alike whether the short or the long way takes it."""
        self.select("KV")
        for text in (
            b'{"Put":{"rid":1,"key":"snot","store":"badger"}}',
            b'{"Put":{"rid":1,"key":"sn\\u006ft","store":"badger"}}',
        ):
            self.ask({"Delete": {"rid": 9, "key": "snot"}})
            self.assertEqual(self.ask(text), {"rid": 1, "code": 201, "data": None})
            self.assertEqual(self.ask(text), {"rid": 1, "code": 201, "data": "badger"})

    def test_as_does_not_select(self) -> None:
        """As refuses to hold a Select: the selection stays what it was."""
        self.select("KV")
        inner = {"Select": {"rid": 2, "protocol": "MRing"}}
        reply = self.ask({"As": {"protocol": "KV", "cmd": inner}})
        self.assertEqual((reply["rid"], reply["code"]), (2, 400))
        self.assertEqual(self.ask({"Get": {"rid": 3, "key": "k"}})["code"], 404)

    def test_members(self) -> None:
        """Members are listed with their addresses."""
        self.select("URing")
        data = [{"id": 1, "address": "127.0.0.1:8081"}]
        reply = self.ask({"Members": {"rid": 1}})
        self.assertEqual(reply, {"rid": 1, "code": 200, "data": data})

    def test_addresses_of_members(self) -> None:
        """An address that is none is refused before the cluster hears of it."""
        self.select("URing")
        for address in ("", "host", ":1", "host:", "host:0", "host:65536", "a b:1", "h\n:1"):
            reply = self.ask({"AddNode": {"rid": 1, "id": 2, "address": address}})
            self.assertEqual(reply["code"], 400, address)
        self.assertEqual(list(self.gateway.known), [1])
        reply = self.ask({"AddNode": {"rid": 1, "id": 2, "address": "[::1]:8082"}})
        self.assertEqual(reply["code"], 200)

    def test_what_no_log_can_carry(self) -> None:
        """Sizes beyond any ring, and values that no key can hold, do not reach the node."""
        self.select("MRing")
        for size in (0, -1, 2**24 + 1, 2**63, 10**19):
            self.assertEqual(self.ask({"SetSize": {"rid": 1, "size": size}})["code"], 400, size)
        reply = self.ask({"SetSize": {"rid": 1, "size": 8, "strategy": "x" * 1000}})
        self.assertEqual(reply["code"], 400)
        cas = {"rid": 1, "key": "k", "check": "c" * (2**20 + 1), "store": "v"}
        self.assertEqual(self.ask({"As": {"protocol": "KV", "cmd": {"Cas": cas}}})["code"], 400)
        self.assertEqual(self.gateway.applied, 0)

    def test_errors_of_the_node(self) -> None:
        """No leader is 503; a time-out is 504 and says that the outcome is unknown."""
        self.select("KV")
        self.gateway.error = Unavailable("no leader")
        self.assertEqual(self.ask({"Put": {"rid": 1, "key": "k", "store": "v"}})["code"], 503)
        self.gateway.error = OutcomeUnknown("outcome unknown: not applied in time")
        reply = self.ask({"Delete": {"rid": 1, "key": "k"}})
        self.assertEqual(reply["code"], 504)
        self.assertIn("outcome unknown", reply["error"]["detail"])

    def test_a_fault_of_ours(self) -> None:
        """What breaks inside is answered with 500 and logged once; the session goes on."""
        self.select("KV")

        def broken(command: Command, done: Any) -> None:
            raise RuntimeError("broken")

        self.patch(FakeGateway, "submit", lambda gateway, command, done: broken(command, done))
        reply = self.ask({"Delete": {"rid": 1, "key": "k"}})
        self.assertEqual((reply["rid"], reply["code"]), (1, 500))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.ask({"Version": {"rid": 2}})["data"], "1.2.3")


class FlowTests(SessionTestCase):
    """How much may wait, and who hears of an answer."""

    def test_busy(self) -> None:
        """The bound of waiting commands is told once, and once more when half are answered."""
        self.select("KV")
        self.gateway.holding = True
        for rid in range(6):
            self.session.received(b'{"Put":{"rid":%d,"key":"k","store":"v"}}' % rid)
        self.assertEqual((self.session.in_flight, self.busy), (6, [True]))
        self.gateway.release()
        self.assertEqual((self.session.in_flight, self.busy), (0, [True, False]))

    def test_a_closed_session_keeps_its_commands(self) -> None:
        """What was asked before the socket closed is still done; nobody is called back."""
        self.select("KV")
        self.gateway.holding = True
        for rid in range(4):
            self.session.received(b'{"Put":{"rid":%d,"key":"k","store":"v"}}' % rid)
        self.session.close()
        self.gateway.release()
        self.assertEqual(self.gateway.applied, 4)
        self.assertEqual(self.busy, [True])

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=80))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever the bytes, there is an answer or a change, and no exception."""
        session = Session(FakeGateway(), Limits(), "1", self.sent.append, self.busy.append)
        self.sent.clear()
        session.received(data)
        self.assertEqual(len(self.sent), 1)


class DecodeTests(SynchronousTestCase):
    """JSON that costs more than it can be worth."""

    def test_many_values(self) -> None:
        """Two megabytes of small values are refused long before anyone else would notice."""
        for text in (
            b"[" + b"1," * 1_000_000 + b"1]",
            b'{"a":[' + b'"",' * 600_000 + b'""]}',
            b"{" + b'"a":1,' * 300_000 + b'"a":1}',
            b"[" * 2_000_000,
            b'{"Put":' * 300_000,
            b'"' + b'\\"' * 1_000_000,
        ):
            start = time.process_time()
            self.assertRaises(BadRequest, decode.parse, text, 32)
            self.assertLess(time.process_time() - start, 5, text[:10])  # not its square

    def test_long_texts_and_much_space(self) -> None:
        """Neither long texts, whatever is in them, nor wide indentation is too much."""
        value = {"value": '{[,"\\' * 100_000}
        text = orjson.dumps(value).replace(b":", b" " * 5000 + b":" + b"\n" * 5000, 1)
        self.assertEqual(decode.parse(text, 32), value)


class SocketBoundTests(SiteTestCase):
    """Bounds that need a socket."""

    limits = evolve(Limits(), fragments=100, turn_bytes=50_000, backlog_bytes=100_000)

    async def test_empty_fragments(self) -> None:
        """A message in too many fragments is refused, however small they are."""
        socket = await self.websocket()
        socket.raw.write(masked(b"", 0x01) + masked(b"", 0x00) * 200)
        await socket.raw.until(lambda received: socket.close_code is not None)
        self.assertEqual(socket.close_code, 1008)
        await self.alive()

    async def test_much_for_one_turn(self) -> None:
        """A reader gets all its replies, though those of one turn exceed the backlog's bound."""
        socket = await self.websocket()
        value = "v" * 20_000
        await socket.ask({"Put": {"rid": 1, "key": "k", "store": value}})
        count = len(socket.texts)
        gets = (orjson.dumps({"Get": {"rid": rid, "key": "k"}}) for rid in range(8))
        socket.raw.write(b"".join(masked(get) for get in gets))
        texts = await socket.receive(count + 8)
        self.assertEqual([reply["data"] for reply in texts[count:]], [value] * 8)

    async def test_absolute_target_without_host(self) -> None:
        """A target that names another host is refused, also where no Host need be sent."""
        response = await self.raw(b"GET http://evil.example/version HTTP/1.0\r\n\r\n")
        self.assertEqual(response.code, 400)
        await self.alive()

    async def test_hanging_up_does_not_cancel_a_membership_change(self) -> None:
        """A change of members goes on without the client that asked for it."""
        cancelled: list[Any] = []
        change: Deferred[None] = Deferred(cancelled.append)
        asked: Deferred[None] = Deferred()

        def add(gateway: FakeGateway, node_id: int, address: str | None) -> Deferred[None]:
            asked.callback(None)
            return change

        self.patch(FakeGateway, "add_member", add)
        client = await self.connect()
        client.write(
            b"POST /node/2 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 0\r\n\r\n"
            % self.number
        )
        await asked
        (channel,) = self.site.channels
        gone = channel.requests[0].notifyFinish()
        assert client.transport is not None
        client.transport.loseConnection()
        await gone.addErrback(lambda failure: None)
        self.assertEqual(cancelled, [])
        change.callback(None)
        await self.alive()
