"""The whole language of the WebSocket, over a real one."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.support.http import SiteTestCase, masked
from uring.api.limits import Limits
from uring.errors import OutcomeUnknown, Unavailable


class ControlTests(SiteTestCase):
    """What works in every state."""

    async def test_select(self) -> None:
        """Each protocol can be selected, again and again."""
        socket = await self.websocket(None)
        for rid, name in enumerate(("KV", "MRing", "URing", "Status", "Version", "KV")):
            reply = await socket.ask({"Select": {"rid": rid, "protocol": name}})
            self.assertEqual(reply, {"Selected": {"rid": rid, "protocol": name}})

    async def test_nothing_selected(self) -> None:
        """A command before a protocol is selected is answered by how to select one."""
        socket = await self.websocket(None)
        reply = await socket.ask({"Get": {"rid": 1, "key": "k"}})
        self.assertEqual((reply["rid"], reply["code"], reply["data"]), (1, 400, None))
        self.assertIn("Select", reply["error"]["detail"])

    async def test_status_and_version(self) -> None:
        """Status and Version are control messages and protocols of their own."""
        socket = await self.websocket(None)
        status = {"rid": 7, "code": 200, "data": self.gateway.status()}
        version = {"rid": 8, "code": 200, "data": "1.2.3"}
        self.assertEqual(await socket.ask({"Status": {"rid": 7}}), status)
        self.assertEqual(await socket.ask({"Version": {"rid": 8}}), version)
        await socket.ask({"Select": {"rid": 1, "protocol": "Status"}})
        self.assertEqual(await socket.ask({"Get": {"rid": 7}}), status)
        await socket.ask({"Select": {"rid": 1, "protocol": "Version"}})
        self.assertEqual(await socket.ask({"Get": {"rid": 8}}), version)

    async def test_as(self) -> None:
        """As runs one command of another protocol and leaves the selection alone."""
        socket = await self.websocket("MRing")
        put = {"As": {"protocol": "KV", "cmd": {"Put": {"rid": 1, "key": "k", "store": "v"}}}}
        self.assertEqual(await socket.ask(put), {"rid": 1, "code": 201, "data": None})
        get = {"As": {"protocol": "KV", "cmd": {"Get": {"rid": 2, "key": "k"}}}}
        self.assertEqual(await socket.ask(get), {"rid": 2, "code": 200, "data": "v"})
        reply = await socket.ask({"GetSize": {"rid": 3}})
        self.assertEqual(reply, {"rid": 3, "code": 404, "data": None})


class KvTests(SiteTestCase):
    """The protocol KV."""

    async def test_life_of_a_key(self) -> None:
        """Get, Put, Delete and Cas answer with codes and values as documented."""
        socket = await self.websocket()
        for message, code, data in (
            ({"Get": {"rid": 1, "key": "snot"}}, 404, None),
            ({"Put": {"rid": 2, "key": "snot", "store": "badger"}}, 201, None),
            ({"Put": {"rid": 3, "key": "snot", "store": 'bad"ger'}}, 201, "badger"),
            ({"Get": {"rid": 4, "key": "snot"}}, 200, 'bad"ger'),
            ({"Get": {"rid": 5, "key": "snot", "consistency": "stale"}}, 200, 'bad"ger'),
            ({"Cas": {"rid": 6, "key": "snot", "check": "x", "store": "y"}}, 409, 'bad"ger'),
            ({"Cas": {"rid": 7, "key": "snot", "check": 'bad"ger', "store": "y"}}, 201, "set"),
            ({"Cas": {"rid": 8, "key": "new", "store": "n"}}, 201, "set"),
            ({"Cas": {"rid": 9, "key": "new", "check": None, "store": "n"}}, 409, "n"),
            ({"Delete": {"rid": 10, "key": "snot"}}, 200, "y"),
            ({"Delete": {"rid": -11, "key": "snot"}}, 404, None),
            ({"Get": {"rid": 2**64 - 1, "key": "snot"}}, 404, None),
        ):
            reply = await socket.ask(message)
            (args,) = message.values()
            self.assertEqual(reply, {"rid": args["rid"], "code": code, "data": data})

    async def test_values_of_all_kinds(self) -> None:
        """Any text comes back as it was stored."""
        socket = await self.websocket()
        for value in ("", "\0", "🐍é\u202e", '\\"\n\t\u2028', "x" * 70_000):
            await socket.ask({"Put": {"rid": 1, "key": "k\0/é", "store": value}})
            reply = await socket.ask({"Get": {"rid": 2, "key": "k\0/é"}})
            self.assertEqual(reply["data"], value)

    async def test_replies_come_when_they_can(self) -> None:
        """A reply does not wait for that of an earlier command."""
        socket = await self.websocket()
        self.gateway.holding = True
        socket.send({"Put": {"rid": 1, "key": "k", "store": "v"}})
        reply = await socket.ask({"Version": {"rid": 2}})
        self.assertEqual(reply["rid"], 2)
        self.gateway.release()
        self.assertEqual((await socket.receive(3))[-1], {"rid": 1, "code": 201, "data": None})

    async def test_errors_of_the_node(self) -> None:
        """What the node cannot do is an error reply with the code of REST."""
        socket = await self.websocket()
        for error, code in ((Unavailable("no leader"), 503), (OutcomeUnknown("unknown"), 504)):
            self.gateway.error = error
            for message in (
                {"Put": {"rid": 1, "key": "k", "store": "v"}},
                {"Get": {"rid": 1, "key": "k"}},
                {"Delete": {"rid": 1, "key": "k"}},
            ):
                reply = await socket.ask(message)
                self.assertEqual((reply["rid"], reply["code"], reply["data"]), (1, code, None))
                self.assertEqual(reply["error"]["detail"], str(error))

    async def test_many_in_one_write(self) -> None:
        """A thousand commands sent at once are all answered, each under its own rid."""
        socket = await self.websocket()
        puts = [{"Put": {"rid": n, "key": f"k{n % 7}", "store": str(n)}} for n in range(1000)]
        for put in puts:
            socket.send(put)
        replies = (await socket.receive(1001))[1:]
        self.assertEqual([reply["rid"] for reply in replies], list(range(1000)))
        self.assertEqual({reply["code"] for reply in replies}, {201})


class RingTests(SiteTestCase):
    """The protocol MRing."""

    async def test_life_of_a_ring(self) -> None:
        """Size, nodes and removal answer with codes and rings as documented."""
        socket = await self.websocket("MRing")
        one = [{"id": "n1", "vnodes": [0, 1, 2, 3]}]
        two = [{"id": "n1", "vnodes": [0, 1]}, {"id": "n2", "vnodes": [2, 3]}]
        for message, code, data in (
            ({"GetSize": {"rid": 1}}, 404, None),
            ({"AddNode": {"rid": 1, "node": "n1"}}, 412, None),
            ({"GetNodes": {"rid": 1}}, 412, None),
            ({"SetSize": {"rid": 1, "size": 4}}, 200, 4),
            ({"SetSize": {"rid": 1, "size": 4}}, 200, 4),
            ({"SetSize": {"rid": 1, "size": 5}}, 409, 4),
            ({"GetSize": {"rid": 1}}, 200, 4),
            ({"GetNodes": {"rid": 1}}, 200, []),
            ({"AddNode": {"rid": 1, "node": "n1"}}, 200, one),
            ({"AddNode": {"rid": 1, "node": "n2"}}, 200, two),
            ({"GetNodes": {"rid": 1}}, 200, two),
            ({"RemoveNode": {"rid": 1, "node": "n2"}}, 200, one),
            ({"RemoveNode": {"rid": 1, "node": "n2"}}, 404, None),
            ({"RemoveNode": {"rid": 1, "node": "n1"}}, 200, []),
        ):
            reply = await socket.ask(message)
            self.assertEqual((reply["code"], reply["data"]), (code, data), message)


class MemberTests(SiteTestCase):
    """The protocol URing."""

    async def test_members(self) -> None:
        """Members are shown, added, removed and made leaders."""
        socket = await self.websocket("URing")
        for message, code in (
            ({"AddNode": {"rid": 1, "id": 2}}, 409),
            ({"AddNode": {"rid": 1, "id": 2, "address": "127.0.0.1:8082"}}, 200),
            ({"GetNode": {"rid": 1, "id": 2}}, 200),
            ({"TransferLeader": {"rid": 1, "id": 2}}, 200),
            ({"RemoveNode": {"rid": 1, "id": 2}}, 200),
            ({"GetNode": {"rid": 1, "id": 2}}, 404),
            ({"RemoveNode": {"rid": 1, "id": 2, "force": True}}, 404),
            ({"AddNode": {"rid": 1, "id": 0}}, 400),
            ({"GetNode": {"rid": 1, "id": 0}}, 400),
            ({"GetNode": {"rid": 1, "id": 2, "address": "127.0.0.1:8082"}}, 400),
            ({"TransferLeader": {"rid": 1, "id": 1, "address": "nowhere"}}, 400),
        ):
            reply = await socket.ask(message)
            self.assertEqual((reply["rid"], reply["code"]), (1, code), message)
        self.assertEqual(self.gateway.leader, 2)
        nodes = await socket.ask({"GetNodes": {"rid": 1}})
        self.assertEqual(nodes["data"], [{"id": 1, "address": "127.0.0.1:8081"}])


class SubscriptionTests(SiteTestCase):
    """Subscribe and Unsubscribe."""

    async def test_changes_of_the_channel(self) -> None:
        """A subscriber gets the changes of its channel, and no other ones, in order."""
        listener, writer = await self.websocket(None), await self.websocket()
        subscribed = await listener.ask({"Subscribe": {"rid": 1, "channel": "kv"}})
        self.assertEqual(subscribed, {"Subscribed": {"rid": 1, "channel": "kv", "revision": 0}})
        await writer.ask({"Put": {"rid": 1, "key": "snot", "store": "badger"}})
        await writer.ask({"As": {"protocol": "MRing", "cmd": {"SetSize": {"rid": 1, "size": 4}}}})
        await writer.ask({"Delete": {"rid": 1, "key": "snot"}})
        messages = (await listener.receive(3))[1:]
        put = {"Put": {"scope": 0, "key": "snot", "new": "badger", "old": None}}
        delete = {"Delete": {"scope": 0, "key": "snot", "old": "badger"}}
        self.assertEqual(
            messages,
            [
                {"Msg": {"channel": "kv", "revision": revision, "msg": event}}
                for revision, event in ((1, put), (3, delete))
            ],
        )

    async def test_without_a_rid_there_is_no_reply(self) -> None:
        """The original's Subscribe has no rid, and what comes first is a change."""
        listener, writer = await self.websocket(None), await self.websocket()
        listener.send({"Subscribe": {"channel": "kv"}})
        await listener.ask({"Version": {"rid": 1}})
        await writer.ask({"Put": {"rid": 1, "key": "k", "store": "v"}})
        self.assertIn("Msg", (await listener.receive(2))[1])

    async def test_twice_is_once(self) -> None:
        """Subscribing again changes nothing; unsubscribing ends it."""
        listener, writer = await self.websocket(None), await self.websocket()
        for rid in (1, 2):
            await listener.ask({"Subscribe": {"rid": rid, "channel": "kv"}})
        await writer.ask({"Put": {"rid": 1, "key": "k", "store": "v"}})
        await listener.receive(3)
        unsubscribed = await listener.ask({"Unsubscribe": {"rid": 3, "channel": "kv"}})
        self.assertEqual(unsubscribed, {"Unsubscribed": {"rid": 3, "channel": "kv"}})
        await writer.ask({"Put": {"rid": 1, "key": "k", "store": "w"}})
        await listener.ask({"Version": {"rid": 4}})
        self.assertEqual(len([each for each in listener.texts if "Msg" in each]), 1)

    async def test_a_closed_socket_no_longer_listens(self) -> None:
        """When a subscriber goes nothing is left of it."""
        listener = await self.websocket(None)
        await listener.ask({"Subscribe": {"rid": 1, "channel": "uring"}})
        self.assertEqual(self.gateway.hub.count("uring"), 1)
        listener.raw.write(masked(b"\x03\xe8", 0x88))
        await listener.raw.until_closed()
        self.gateway.hub.publish_local({"StateChange": {}})
        self.assertEqual(self.gateway.hub.count("uring"), 0)

    async def test_unknown_channel(self) -> None:
        """An unknown channel is answered by the known ones."""
        socket = await self.websocket(None)
        for name in ("Subscribe", "Unsubscribe"):
            reply = await socket.ask({name: {"rid": 1, "channel": "nope"}})
            self.assertEqual((reply["rid"], reply["code"]), (1, 400))


class BoundTests(SiteTestCase):
    """Clients that take too much."""

    limits = evolve(Limits(), in_flight=8, backlog_bytes=100_000)

    async def test_commands_in_flight_are_bounded(self) -> None:
        """Beyond the bound a socket is not read from, until answers leave; nothing is lost."""
        self.gateway.holding = True
        socket = await self.websocket()
        for number in range(200):
            socket.send({"Put": {"rid": number, "key": "k", "store": "v" * 5000}})
        other = await self.websocket()
        await other.ask({"Version": {"rid": 1}})
        while len(self.gateway.held) < 8:
            await other.ask({"Version": {"rid": 1}})
        self.assertLess(len(self.gateway.held), 200)
        while len(socket.texts) < 201:
            self.gateway.release()
            await other.ask({"Version": {"rid": 1}})
        self.assertEqual([reply["rid"] for reply in socket.texts[1:]], list(range(200)))

    async def test_slow_subscriber(self) -> None:
        """One that stops reading holds up nobody and is sent nothing; then it misses nothing."""
        listener, other = await self.websocket(None), await self.websocket()
        await listener.ask({"Subscribe": {"rid": 1, "channel": "kv"}})
        transport: Any = listener.raw.transport
        transport.pauseProducing()
        (protocol,) = (
            each
            for each in self.site.websockets.open
            if each.session and each.session.subscriptions._open
        )
        count = 0
        while not protocol._full:
            self.assertLess(count, 5000, "the backlog grows without bound")
            await other.ask({"Put": {"rid": count, "key": "k", "store": "v" * 10_000}})
            count += 1
        for _ in range(20):
            await other.ask({"Put": {"rid": count, "key": "k", "store": "v" * 10_000}})
            count += 1
        self.assertLess(protocol._held, self.limits.backlog_bytes)
        transport.resumeProducing()
        await listener.receive(count + 1)
        revisions = [text["Msg"]["revision"] for text in listener.texts if "Msg" in text]
        self.assertEqual(revisions, [*range(1, count + 1)])
