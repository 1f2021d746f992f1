"""Watching over both doors: from a revision, with a snapshot, by prefix; and what is refused."""

from __future__ import annotations

from typing import Any

import orjson
from attrs import evolve

from tests.support.http import RawClient, SiteTestCase, parse
from uring.api.limits import Limits
from uring.machines.commands import Cas, Command, Put, SetSize
from uring.watch.hub import WAIT_SECONDS


class WatchTestCase(SiteTestCase):
    def do(self, *commands: Command) -> None:
        for command in commands:
            self.gateway.submit(command, lambda result: None)

    def puts(self, first: int, last: int) -> None:
        self.do(*[Put(f"k{number}", str(number)) for number in range(first, last + 1)])

    def forget(self, **bounds: int) -> None:
        """Keep only a few changes."""
        self.gateway.hub.history.store.entries_max = 16

    def sweep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.gateway.hub.sweep()


class SocketTests(WatchTestCase):
    async def test_from(self) -> None:
        """Changes from a revision on, then whatever comes."""
        self.puts(1, 5)
        socket = await self.websocket(None)
        reply = await socket.ask({"Subscribe": {"rid": 7, "channel": "kv", "from": 3}})
        self.assertEqual(reply, {"Subscribed": {"rid": 7, "channel": "kv", "revision": 5}})
        await socket.receive(4)
        self.puts(6, 6)
        messages = [each["Msg"] for each in (await socket.receive(5))[1:]]
        self.assertEqual([message["revision"] for message in messages], [3, 4, 5, 6])
        put = {"Put": {"scope": 0, "key": "k6", "new": "6", "old": None}}
        self.assertEqual(messages[-1], {"channel": "kv", "revision": 6, "msg": put})

    async def test_compacted(self) -> None:
        """Older than what is kept: a snapshot, and the changes after it."""
        self.forget()
        self.puts(1, 60)
        socket = await self.websocket(None)
        await socket.ask(
            {"Subscribe": {"rid": 7, "channel": "kv", "from": 3, "prefix": "k1", "progress": 0}}
        )
        compacted, snapshot = (await socket.receive(3))[1:]
        about = {"rid": 7, "channel": "kv", "prefix": "k1", "revision": 60}
        oldest = self.gateway.hub.history.oldest
        self.assertEqual(compacted, {"Compacted": {**about, "oldest": oldest}})
        items = snapshot["Snapshot"].pop("items")
        self.assertEqual(snapshot, {"Snapshot": {**about, "last": True}})
        self.assertEqual(len(items), 11)
        self.assertEqual(items[0], {"key": "k1", "value": "1", "created": 1, "revision": 1})
        self.puts(61, 100)
        self.do(Put("k1", "x"))
        self.assertEqual((await socket.receive(4))[3]["Msg"]["revision"], 100)

    async def test_snapshot(self) -> None:
        """A watch can begin with all there is; of the ring, too."""
        self.do(SetSize(8), Put("a", "1"))
        socket = await self.websocket(None)
        for rid, channel in ((1, "kv"), (2, "mring")):
            socket.send({"Subscribe": {"rid": rid, "channel": channel, "snapshot": True}})
        found = {
            each["Snapshot"]["channel"]: each["Snapshot"]["items"]
            for each in await socket.receive(4)
            if "Snapshot" in each
        }
        self.assertEqual(found["mring"], [{"size": 8}])
        self.assertEqual(found["kv"][0]["revision"], 2)

    async def test_prefixes(self) -> None:
        """One connection may watch several prefixes, and end them one by one or all together."""
        socket = await self.websocket(None)
        for rid, prefix in enumerate(("a", "b", "c")):
            await socket.ask({"Subscribe": {"rid": rid, "channel": "kv", "prefix": prefix}})
        reply = await socket.ask({"Unsubscribe": {"rid": 9, "channel": "kv", "prefix": "b"}})
        self.assertEqual(reply, {"Unsubscribed": {"rid": 9, "channel": "kv", "prefix": "b"}})
        self.do(Put("a", "1"), Put("b", "1"), Put("c", "1"))
        revisions = [each["Msg"]["revision"] for each in (await socket.receive(6))[4:]]
        self.assertEqual(revisions, [1, 3])
        await socket.ask({"Unsubscribe": {"rid": 9, "channel": "kv"}})
        self.assertEqual(self.gateway.hub.count("kv"), 0)
        reply = await socket.ask({"Unsubscribe": {"rid": 9, "channel": "kv"}})
        self.assertEqual(reply["code"], 404)

    async def test_marks(self) -> None:
        """Who gave a rid is told how far things are while nothing happens; others are not."""
        told, quiet = await self.websocket(None), await self.websocket(None)
        await told.ask({"Subscribe": {"rid": 1, "channel": "kv", "progress": 2}})
        quiet.send({"Subscribe": {"channel": "kv"}})
        await quiet.ask({"Version": {"rid": 1}})
        self.sweep(2.5)
        mark = (await told.receive(2))[1]
        self.assertEqual(mark, {"Progress": {"rid": 1, "channel": "kv", "revision": 0}})
        self.assertEqual(len((await quiet.ask({"Version": {"rid": 2}})) or ()), 3)

    async def test_ended(self) -> None:
        """Who cannot be told any more learns why, and where to resume."""
        socket = await self.websocket(None)
        await socket.ask({"Subscribe": {"rid": 1, "channel": "kv", "from": 50}})
        await socket.ask({"Version": {"rid": 2}})
        self.sweep(WAIT_SECONDS + 1)
        ended = (await socket.receive(3))[2]["Ended"]
        self.assertEqual((ended["rid"], ended["code"], ended["from"]), (1, 503, 50))
        self.assertEqual((await socket.ask({"Version": {"rid": 3}}))["code"], 200)

    async def test_ended_as_the_original_knows_it(self) -> None:
        """Without a rid there is no such message: the connection is closed with the reason."""
        socket = await self.websocket(None)
        socket.send({"Subscribe": {"channel": "kv"}})
        await socket.ask({"Version": {"rid": 1}})
        self.gateway.hub.stop()
        await socket.raw.until_closed()
        self.assertEqual(socket.close_code, 1008)

    async def test_again(self) -> None:
        """Subscribing again begins anew where it is told to."""
        self.puts(1, 3)
        socket = await self.websocket(None)
        await socket.ask({"Subscribe": {"rid": 1, "channel": "kv"}})
        await socket.ask({"Subscribe": {"rid": 2, "channel": "kv", "from": 2}})
        messages = (await socket.receive(4))[2:]
        self.assertEqual([each["Msg"]["revision"] for each in messages], [2, 3])
        self.assertEqual(self.gateway.hub.count("kv"), 1)

    async def test_refused(self) -> None:
        """What cannot be watched is answered, and the socket stays open."""
        socket = await self.websocket(None)
        for args in (
            {"channel": "kv", "from": -1},
            {"channel": "kv", "from": 2**63},
            {"channel": "kv", "from": "3"},
            {"channel": "kv", "from": 3, "snapshot": True},
            {"channel": "kv", "progress": 0.1},
            {"channel": "kv", "progress": -1},
            {"channel": "kv", "prefix": 3},
            {"channel": "kv", "prefix": "a" * 4097},
            {"channel": "mring", "prefix": "a"},
            {"channel": "uring", "from": 3},
            {"channel": "kv", "until": 3},
        ):
            reply = await socket.ask({"Subscribe": {"rid": 1, **args}})
            self.assertEqual((reply["rid"], reply["code"]), (1, 400), args)
        reply = await socket.ask({"Subscribe": {"channel": "kv", "from": 3}})
        self.assertIn("rid", str(reply["error"]))
        reply = await socket.ask({"Subscribe": {"channel": "kv", "progress": 0.1}})
        self.assertIn("progress", str(reply["error"]))
        self.assertEqual(self.gateway.hub.count("kv"), 0)

    async def test_bound(self) -> None:
        """A connection has so many subscriptions and no more."""
        socket = await self.websocket(None)
        for number in range(65):
            reply = await socket.ask(
                {"Subscribe": {"rid": number, "channel": "kv", "prefix": f"p{number}"}}
            )
        self.assertEqual((reply["code"], self.gateway.hub.count("kv")), (400, 64))


class Events:
    """What came over a stream, taken apart."""

    def __init__(self, received: bytes) -> None:
        _, _, body = received.partition(b"\r\n\r\n")
        text = b""
        while body:
            size, separator, rest = body.partition(b"\r\n")
            if not separator or len(rest) < int(size, 16) + 2:
                break
            text += rest[: int(size, 16)]
            body = rest[int(size, 16) + 2 :]
        self.events = []
        for block in text.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            number = fields.get("id")
            self.events.append(
                (
                    fields.get("event", "message"),
                    None if number is None else int(number),
                    orjson.loads(fields["data"]),
                )
            )


class StreamTests(WatchTestCase):
    async def stream(self, query: str, *headers: str) -> RawClient:
        client = await self.connect()
        lines = "".join(f"{line}\r\n" for line in ("Host: localhost", *headers))
        client.write(f"GET /watch?{query} HTTP/1.1\r\n{lines}\r\n".encode())
        return client

    async def events(self, client: RawClient, count: int) -> list[tuple[str, int | None, Any]]:
        received = await client.until(lambda data: len(Events(data).events) >= count)
        return Events(received).events

    async def test_changes(self) -> None:
        """A stream begins with the revision, and has one event for each change."""
        self.puts(1, 3)
        client = await self.stream("channel=kv&from=2")
        await self.events(client, 3)
        self.do(Cas("k1", "x", "y"), Put("k4", "4"))
        events = await self.events(client, 5)
        self.assertIn(b"text/event-stream", client.received)
        self.assertEqual(events[0], ("subscribed", None, {"channel": "kv", "revision": 3}))
        self.assertEqual([number for _, number, _ in events], [None, 2, 3, None, 4])
        put = {"Put": {"scope": 0, "key": "k4", "new": "4", "old": None}}
        self.assertEqual(events[4][2], {"channel": "kv", "revision": 4, "msg": put})

    async def test_last_event_id(self) -> None:
        """A client that comes back goes on after what it saw last, whatever its URL says."""
        self.puts(1, 5)
        for query in ("channel=kv", "channel=kv&from=1", "channel=kv&snapshot=true"):
            client = await self.stream(query, "Last-Event-ID: 3")
            events = await self.events(client, 3)
            self.assertEqual([number for _, number, _ in events], [None, 4, 5])

    async def test_id_of_the_beginning(self) -> None:
        """Who began without a revision has an id to come back with before anything happens."""
        self.puts(1, 5)
        client = await self.stream("channel=kv")
        self.assertEqual((await self.events(client, 1))[0][1], 5)

    async def test_compacted(self) -> None:
        """A snapshot has the id to come back with at its end."""
        self.forget()
        self.puts(1, 60)
        client = await self.stream("channel=kv&from=1&prefix=k2")
        events = await self.events(client, 3)
        self.assertEqual([event for event, _, _ in events], ["subscribed", "compacted", "snapshot"])
        self.assertEqual([number for _, number, _ in events], [None, None, 60])
        self.assertEqual(len(events[2][2]["items"]), 11)

    async def test_marks(self) -> None:
        """Progress marks have the id as well."""
        client = await self.stream("channel=kv&prefix=nothing&progress=1")
        await self.events(client, 1)
        self.puts(1, 2)
        self.sweep(1.5)
        events = await self.events(client, 2)
        self.assertEqual(events[1], ("progress", 2, {"channel": "kv", "revision": 2}))

    async def test_gone(self) -> None:
        """When the client hangs up nothing is left."""
        client = await self.stream("channel=kv")
        await self.events(client, 1)
        self.assertEqual(self.gateway.hub.count("kv"), 1)
        assert client.transport is not None
        client.transport.loseConnection()
        await client.until_closed()
        while self.gateway.hub.count("kv"):
            await self.alive()

    async def test_ended(self) -> None:
        """When the node ends it, the stream says where to resume and is closed."""
        self.puts(1, 2)
        client = await self.stream("channel=kv", "Connection: close")
        await self.events(client, 1)
        self.gateway.hub.stop()
        await client.until_closed()
        _, _, data = Events(client.received).events[-1]
        self.assertEqual((data["from"], data["code"]), (3, 503))

    async def test_slow(self) -> None:
        """A stream that is not read is sent no more than fits, and misses nothing."""
        client = await self.stream("channel=kv")
        await self.events(client, 1)
        transport: Any = client.transport
        transport.pauseProducing()
        for number in range(1, 201):
            self.do(Put("k", "v" * 20_000))
            if number % 20 == 0:
                await self.alive()
        (subscription,) = self.gateway.hub._all
        self.assertIsNotNone(subscription.missing)
        transport.resumeProducing()
        marker = b'"revision":200,'
        received = await client.until(
            lambda data: data.endswith(b"\n\n\r\n") and marker in data[-50_000:]
        )
        numbers = [number for _, number, _ in Events(received).events[1:]]
        self.assertEqual(numbers, [*range(1, 201)])

    async def test_refused(self) -> None:
        """What cannot be watched is a problem, not a stream."""
        for query in (
            "",
            "channel=snot",
            "channel=kv&channel=kv",
            "channel=kv&from=x",
            "channel=kv&from=-1",
            "channel=kv&from=99999999999999999999",
            "channel=kv&snapshot=maybe",
            "channel=kv&progress=soon",
            "channel=kv&progress=nan",
            "channel=kv&progress=0.5",
            "channel=kv&prefix=%ff",
            "channel=mring&prefix=a",
            "channel=uring&from=1",
            "channel=kv&until=4",
        ):
            response = await self.request("GET", f"/watch?{query}")
            self.assertEqual(response.code, 400, query)
            self.assertTrue(response.json()["detail"], query)
        response = await self.request("GET", "/watch?channel=kv", Last_Event_ID="x")
        self.assertEqual(response.code, 400)
        self.gateway.stopping = True
        self.assertEqual((await self.request("GET", "/watch?channel=kv")).code, 503)

    async def test_head(self) -> None:
        """HEAD tells what GET would be, and ends."""
        client = await self.connect()
        client.write(b"HEAD /watch?channel=kv HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = await client.until(lambda data: b"\r\n\r\n" in data)
        self.assertEqual(parse(received).code, 200)
        self.assertEqual(self.gateway.hub.count("kv"), 0)


class BoundTests(WatchTestCase):
    limits = evolve(Limits(), subscriptions=2)

    async def test_another_after_one_was_ended(self) -> None:
        """Those that have ended do not count."""
        socket = await self.websocket(None)
        for prefix in ("a", "b"):
            await socket.ask({"Subscribe": {"rid": 1, "channel": "kv", "prefix": prefix}})
        await socket.ask({"Unsubscribe": {"rid": 1, "channel": "kv", "prefix": "a"}})
        reply = await socket.ask({"Subscribe": {"rid": 1, "channel": "kv", "prefix": "c"}})
        self.assertIn("Subscribed", reply)
