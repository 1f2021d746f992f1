"""Clients that want everything at once, where every look at the clock says that it is enough."""

from __future__ import annotations

import re
from typing import Any

from tests.support.http import SiteTestCase, complete, masked
from uring.turns import SLICE_SECONDS

HOST = b"Host: localhost\r\n"
CHUNKED = (
    b"POST /kv/c HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"value":"%s"}' % (b"v" * 2000))
    + b"0\r\n\r\n"
)
NOT_THERE, TAKEN, FOUND = 404, 201, 200


class Hasty:
    """A clock by which everything takes long."""

    def __init__(self, reactor: Any) -> None:
        self.reactor, self.now = reactor, 0.0
        self.calls = 0

    def seconds(self) -> float:
        self.now += SLICE_SECONDS / 2
        return self.now

    def callLater(self, delay: float, what: Any) -> Any:
        self.calls += 1
        return self.reactor.callLater(delay, what)


class TurnTests(SiteTestCase):
    """What is cut into slices is served all the same, in order and whole."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.hasty = Hasty(self.reactor)
        self.site.turns._clock = self.hasty

    async def test_pipelined(self) -> None:
        """Requests of every kind in pieces of every length are answered in their order."""
        kinds = [
            (b"GET /kv/none HTTP/1.1\r\n" + HOST + b"\r\n", NOT_THERE),
            (b"GET /status HTTP/1.1\r\n" + HOST + b"\r\n", FOUND),
            (CHUNKED, TAKEN),
            (b"GET /kv/none?consistency=stale HTTP/1.1\r\n" + HOST + b"\r\n", NOT_THERE),
            (b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n", NOT_THERE),
            (
                b"POST /kv/p HTTP/1.1\r\n"
                + HOST
                + b"Content-Length: 13\r\n\r\n"
                + b'{"value":"w"}',
                TAKEN,
            ),
            (b"PUT /kv/r HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nraw", None),
        ]
        order = [kinds[n * n % 11 % len(kinds)] for n in range(100)]
        data = b"".join(request for request, _ in order)
        for size in (len(data), 10_000, 997):
            client = await self.connect()
            for start in range(0, len(data), size):
                client.write(data[start : start + size])
            received = await client.until(lambda got: got.count(b"HTTP/1.1 ") >= len(order))
            codes = [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", received)]
            for code, (_, expected) in zip(codes, order, strict=True):
                self.assertIn(code, (200, 201) if expected is None else (expected,))
        self.assertGreater(self.hasty.calls, 20)
        value = (await self.request("GET", "/kv/c")).json()["value"]
        self.assertEqual(value, "v" * 2000)

    async def test_websocket(self) -> None:
        """So are messages among pings, fragments and large ones."""
        socket = await self.websocket()
        data, count = b"", 0
        for n in range(300):
            count += 1
            data += masked(
                b'{"Put":{"rid":%d,"key":"k","store":"%s"}}' % (n, b"x" * (n * n % 3001))
            )
            data += masked(b"p%d" % n, 0x89) * (n % 3)
            if n % 7 == 0:
                count += 1
                data += (
                    masked(b'{"Version":', 0x01) + masked(b"", 0x89) + masked(b'{"rid":9}}', 0x80)
                )
        for start in range(0, len(data), 7001):
            socket.raw.write(data[start : start + 7001])
        texts = (await socket.receive(count + 1))[1:]
        rids = [text["rid"] for text in texts if text["code"] == 201]
        self.assertEqual(rids, list(range(300)))
        pongs = [payload for first, payload in socket.frames if first == 0x8A and payload]
        self.assertEqual(pongs, [b"p%d" % n for n in range(300) for _ in range(n % 3)])
        self.assertGreater(self.hasty.calls, 10)

    async def test_client_that_goes(self) -> None:
        """One that hangs up while it waits for its turn leaves nothing behind."""
        for _ in range(20):
            client = await self.connect()
            client.write(b"GET /status HTTP/1.1\r\n" + HOST + b"\r\n" + CHUNKED * 20)
            await client.until(complete)
            client.transport.abortConnection()  # type: ignore[union-attr]
            await client.until_closed()
        await self.alive()
        self.assertEqual(self.flushLoggedErrors(), [])
