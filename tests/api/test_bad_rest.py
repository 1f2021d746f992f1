"""What REST must refuse: each case has its answer, and others are served afterwards."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.support.http import SiteTestCase, complete, parse
from uring.api.limits import Limits
from uring.api.site import SWEEP_SECONDS


class BadBodyTests(SiteTestCase):
    """Bodies."""

    async def test_bodies_that_are_no_object(self) -> None:
        """What is not one JSON object with the right fields is a 400 that says why."""
        for body in (
            b"",
            b" ",
            b"hello",
            b"{",
            b"null",
            b"7",
            b'"x"',
            b"[]",
            b"{}",
            b"NaN",
            b"\xef\xbb\xbf" + b'{"value":"v"}',
            b'{"value":"v"} x',
            b'{"value":"v"}{}',
            b'{"value":7}',
            b'{"value":null}',
            b'{"value":true}',
            b'{"value":["v"]}',
            b'{"value":"v","value":"w"}',
            b'{"value":"v","ttl":1}',
            b'{"value":"\\ud800"}',
            b'{"value":"\xff"}',
            b'{"value":Infinity}',
            b'{"value":' + b"9" * 5000 + b"}",
            b"[" * 100_000,
            b'{"a":' * 5000 + b"1" + b"}" * 5000,
        ):
            response = await self.request("POST", "/kv/k", body)
            self.assertEqual(response.code, 400, body[:40])
            self.assertTrue(response.json()["detail"])
        self.assertEqual(self.gateway.applied, 0)
        await self.alive()

    async def test_sizes(self) -> None:
        """A value of the limit is stored and read; one byte more is refused."""
        value = "v" * (1 << 20)
        self.assertEqual((await self.request("POST", "/kv/k", {"value": value})).code, 201)
        self.assertEqual((await self.request("GET", "/kv/k")).json()["value"], value)
        more = await self.request("POST", "/kv/k", {"value": value + "v"})
        self.assertEqual(more.code, 400)
        emoji = "🐍" * (1 << 18)
        self.assertEqual((await self.request("POST", "/kv/k", {"value": emoji})).code, 201)
        more = await self.request("POST", "/kv/k", {"value": emoji + "v"})
        self.assertEqual(more.code, 400)

    async def test_values_of_all_kinds(self) -> None:
        """Every character that UTF-8 can carry comes back as it was."""
        value = "".join(map(chr, range(256))) + "\u2028🐍\uffff"
        await self.request("POST", "/kv/k", {"value": value})
        self.assertEqual((await self.request("GET", "/kv/k")).json()["value"], value)

    async def test_declared_length_beyond_the_limit(self) -> None:
        """A length that is too large is refused before any of the body, also with Expect."""
        for extra in (b"", b"Expect: 100-continue\r\n"):
            client = await self.connect()
            client.write(
                b"POST /kv/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n"
                + extra
                + b"\r\n"
            )
            received = await client.until_closed()
            self.assertEqual(parse(received).code, 413)
            self.assertNotIn(b"100 Continue", received)
        await self.alive()

    async def test_ten_megabytes(self) -> None:
        """A body that is really sent and too large is refused, declared or in chunks."""
        for head in (b"Content-Length: 10000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
            client = await self.connect()
            client.write(b"POST /kv/k HTTP/1.1\r\nHost: localhost\r\n" + head)
            for _ in range(10):
                if b"chunked" in head:
                    client.write(b"F4240\r\n" + bytes(1_000_000) + b"\r\n")
                else:
                    client.write(bytes(1_000_000))
            received = await client.until_closed()
            self.assertEqual(parse(received).code, 413)
        await self.alive()

    async def test_encoded_body(self) -> None:
        """A compressed body is refused and never inflated."""
        response = await self.request("POST", "/kv/k", b"\x1f\x8b\x08", Content_Encoding="gzip")
        self.assertEqual(response.code, 415)

    async def test_chunked_body(self) -> None:
        """A body in good chunks is as good as any; bad chunks are refused."""
        head = b"POST /kv/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        good = await self.raw(head + b'3\r\n{"v\r\na\r\nalue":"v"}\r\n0\r\n\r\n')
        self.assertEqual(good.code, 201)
        for chunk in (b"-1\r\n", b"0x10\r\n", b"f" * 20 + b"\r\n", b"zz\r\n"):
            self.assertIn((await self.raw(head + chunk)).code, (400, 413), chunk)
        await self.alive()


class BadRequestTests(SiteTestCase):
    """Request lines, headers and paths."""

    async def code(self, data: bytes) -> int:
        """Return the status code; 0 if the connection was closed without one."""
        client = await self.connect()
        client.write(data)
        received = await client.until(
            lambda data: complete(data) or data.startswith(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        )
        return parse(received).code if received else 0

    async def test_lengths_that_disagree(self) -> None:
        """A request whose end is uncertain is refused."""
        head = b"POST /kv/k HTTP/1.1\r\nHost: localhost\r\n"
        body = b'\r\n{"value":"v"}'
        for fields in (
            b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n",
            b"Content-Length: 13\r\nContent-Length: 14\r\n",
            b"Content-Length: +13\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 0xd\r\n",
            b"Content-Length: 13,13\r\n",
            b"Content-Length: " + b"1" * 5000 + b"\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
        ):
            self.assertIn(await self.code(head + fields + body), (400, 413, 501), fields[:60])
        self.assertEqual(self.gateway.applied, 0)
        await self.alive()

    async def test_hosts(self) -> None:
        """One Host that names this node is wanted; a name that could be rebound is refused."""
        self.assertEqual(await self.code(b"GET /status HTTP/1.1\r\n\r\n"), 400)
        two = b"GET /status HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"
        self.assertEqual(await self.code(two), 400)
        for host in (
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "localhost:80@evil.example",
            "0x7f.1",
            "2130706433",
            "",
            "a b",
            "[::1",
        ):
            response = await self.request("POST", "/kv/k", {"value": "v"}, Host=host)
            self.assertIn(response.code, (400, 403, 421), host)
        self.assertEqual(self.gateway.applied, 0)
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080", "uring.example:8080"):
            self.assertEqual((await self.request("GET", "/status", Host=host)).code, 200, host)
        foreign = b"GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self.assertIn(await self.code(foreign), (400, 421))
        own = b"GET http://localhost/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self.assertEqual(await self.code(own), 200)

    async def test_pages_of_other_origins(self) -> None:
        """No page of another origin can change anything, whatever the body calls itself."""
        for method, path in (("POST", "/kv/k"), ("DELETE", "/kv/k"), ("POST", "/node/2")):
            for headers in (
                {"Origin": "https://evil.example"},
                {"Origin": "null"},
                {"Origin": "http://127.0.0.1:1"},
                {"Sec_Fetch_Site": "cross-site"},
                {"Sec_Fetch_Site": "same-site"},
            ):
                response = await self.request(
                    method, path, {"value": "v"}, Content_Type="text/plain", **headers
                )
                self.assertEqual(response.code, 403, headers)
        self.assertEqual(self.gateway.applied, 0)
        own = f"http://127.0.0.1:{self.number}"
        response = await self.request("POST", "/kv/k", {"value": "v"}, Origin=own)
        self.assertEqual(response.code, 201)
        preflight = await self.request(
            "OPTIONS", "/kv/k", Origin="https://evil.example", Access_Control_Request_Method="POST"
        )
        self.assertNotIn("access-control-allow-origin", preflight.headers)

    async def test_methods(self) -> None:
        """Known methods that a route has not are told what it has; others are unknown."""
        response = await self.request("PATCH", "/kv/k", {"value": "v"})
        self.assertEqual(response.code, 405)
        self.assertIn("POST", response.headers["allow"])
        options = await self.request("OPTIONS", "/status")
        self.assertEqual((options.code, "GET" in options.headers["allow"]), (204, True))
        for method in ("TRACE", "CONNECT", "get", "BREW", "X" * 1000):
            response = await self.request(method, "/status")
            self.assertIn(response.code, (400, 405, 501), method)
        head = await self.request("HEAD", "/version")
        self.assertEqual(head.line, "HTTP/1.1 200 OK")
        await self.alive()

    async def test_paths(self) -> None:
        """Escapes that are no text, control characters, and what is no route are refused."""
        for path, code in {
            "/nope": 404,
            "/kv/": 404,
            "/data/": 404,
            "/mring/node/": 404,
            "/kv/%00": 400,
            "/kv/%0d%0aX-A:1": 400,
            "/kv/%ff": 400,
            "/kv/%c0%af": 400,
            "/kv/%ed%a0%80": 400,
            "/kv/" + "x" * 4097: 400,
            "/../etc/passwd": 404,
        }.items():
            for method in ("GET", "DELETE"):
                if path in ("/mring/node/",) and method == "GET":
                    continue
                response = await self.request(method, path)
                self.assertEqual(response.code, code, (method, path[:40]))
                self.assertNotIn("x-a", response.headers)
        long = await self.request("GET", "/kv/" + "x" * 13_000)
        self.assertEqual(long.code, 414)
        await self.alive()

    async def test_headers(self) -> None:
        """Too many headers, too long ones and control characters in them are refused."""
        many = b"".join(b"X-%d: y\r\n" % number for number in range(600))
        long = b"X: " + b"y" * 40_000 + b"\r\n"
        for fields in (many, long):
            data = b"GET /status HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n"
            self.assertIn(await self.code(data), (0, 400, 431))
        for byte in (b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85"):
            data = b"GET /status HTTP/1.1\r\nHost: localhost\r\nX: a" + byte + b"b\r\n\r\n"
            self.assertEqual(await self.code(data), 400, byte)
        await self.alive()

    async def test_other_protocols(self) -> None:
        """What is no HTTP/1 request is refused or closed."""
        for data in (
            b"GET /status\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
            b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
            b"\r\n" * 50 + b"x\r\n\r\n",
        ):
            self.assertIn(await self.code(data), (0, 400, 404, 505), data[:20])
        await self.alive()


class SlowClientTests(SiteTestCase):
    """Clients that take their time."""

    limits = evolve(Limits(), connections=5)

    async def wait(self, seconds: float) -> None:
        for _ in range(int(seconds / SWEEP_SECONDS) + 1):
            self.clock.advance(SWEEP_SECONDS)

    async def test_headers_byte_by_byte(self) -> None:
        """Headers must be complete in time, however many bytes keep coming."""
        client = await self.connect()
        client.write(b"GET /status HTTP/1.1\r\nHost: ")
        await self.alive()
        await self.wait(self.limits.header_seconds / 2)
        client.write(b"l")
        await self.alive()
        self.assertFalse(client.closed)
        await self.wait(self.limits.header_seconds / 2)
        self.assertEqual(await client.until_closed(), b"")
        await self.alive()

    async def test_body_that_does_not_come(self) -> None:
        """A body must be complete in time, declared or chunked."""
        for field in (b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3\r\n"):
            client = await self.connect()
            client.write(b"POST /kv/k HTTP/1.1\r\nHost: localhost\r\n" + field)
            await self.alive()
            await self.wait(self.limits.header_seconds)
            self.assertFalse(client.closed)
            await self.wait(self.limits.body_seconds)
            await client.until_closed()
        self.assertEqual(self.gateway.applied, 0)

    async def test_connections_are_bounded(self) -> None:
        """Beyond the limit newcomers are closed; those who were there are served."""
        clients: list[Any] = [await self.connect() for _ in range(5)]
        for client in clients:
            client.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual(parse(await client.until(complete)).code, 200)
        late = await self.connect()
        late.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(await late.until_closed(), b"")
        clients[0].transport.loseConnection()
        await clients[0].until_closed()
        clients[1].received = b""
        clients[1].write(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(parse(await clients[1].until(complete)).code, 200)
