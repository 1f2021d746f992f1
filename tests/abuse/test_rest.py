"""HTTP abuse over raw sockets: each case has its answer, changes nothing, and others are served.

The names (R1 ...) are those of docs/TESTING.md.
"""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.logger import formatEvent, globalLogPublisher

from tests.support.http import SiteTestCase, complete, parse
from uring.api.limits import Limits
from uring.api.site import SWEEP_SECONDS

HOST = b"Host: localhost\r\n"
PUT = b'{"value":"v"}'
CLOSED = 0
"""In the place of a code: closed without an answer."""


def get(path: bytes, more: bytes = b"", host: bytes = HOST) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + host + more + b"\r\n"


def post(body: bytes, more: bytes = b"", host: bytes = HOST, path: bytes = b"/kv/k") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + host + more + length + b"\r\n" + body


def framed(fields: bytes, body: bytes = PUT) -> bytes:
    return b"POST /kv/k HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return framed(b"Transfer-Encoding: chunked\r\n", body)


Case = tuple[str, bytes, Sequence[int]]

HOSTS: list[Case] = [
    ("R1 no Host", b"GET /status HTTP/1.1\r\n\r\n", [400]),
    ("R2 two Hosts", get(b"/status", HOST), [400]),
    *(
        (f"R3 R4 Host {host!r}", post(PUT, host=b"Host: " + host + b"\r\n"), [400, 421])
        for host in (
            b"evil.example",
            b"localhost.evil.example",
            b"127.0.0.1.nip.io",
            b"localhost:80@evil",
            b"0x7f.1",
            b"0177.0.0.1",
            b"2130706433",
            b"127.1",
            b"",
            b"localhost, evil.example",
            b"[::ffff:1.2.3.4]",
            b"localhost:99999999",
            b"\xe2\x84\xa4",
        )
    ),
    ("R31 absolute target", get(b"http://evil.example/status"), [400, 421]),
    ("R31 authority of another", get(b"http://localhost@evil.example/status"), [400, 421]),
    ("R31 CONNECT", b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", [400, 405, 501]),
]

PAGES: list[Case] = [
    *(
        (f"R5 R6 Origin {origin!r}", post(PUT, b"Origin: " + origin + b"\r\n"), [403])
        for origin in (
            b"https://evil.example",
            b"null",
            b"http://localhost.evil.example",
            b"http://localhost:1",
            b"file://",
            b"http://localhost http://evil.example",
            b"",
        )
    ),
    *(
        (
            f"R7 form as {kind!r}",
            post(PUT, b"Sec-Fetch-Site: cross-site\r\nContent-Type: " + kind + b"\r\n"),
            [403],
        )
        for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data")
    ),
    ("R7 same site", post(PUT, b"Sec-Fetch-Site: same-site\r\n"), [403]),
    (
        "R5 PUT",
        b"PUT /kv/k HTTP/1.1\r\n" + HOST + b"Origin: null\r\nContent-Length: 1\r\n\r\nv",
        [403],
    ),
    ("R5 DELETE", b"DELETE /kv/k HTTP/1.1\r\n" + HOST + b"Origin: null\r\n\r\n", [403]),
    ("R5 member", post(b"", b"Origin: https://evil.example\r\n", path=b"/node/2"), [403]),
    ("R5 ring", post(b'{"size":8}', b"Origin: https://evil.example\r\n", path=b"/mring"), [403]),
    ("R5 transaction", post(b"{}", b"Origin: https://evil.example\r\n", path=b"/txn"), [403]),
]

FRAMING: list[Case] = [
    ("R9", framed(b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n"), [400]),
    ("R9 other order", framed(b"Transfer-Encoding: chunked\r\nContent-Length: 13\r\n"), [400]),
    ("R10", framed(b"Content-Length: 13\r\nContent-Length: 14\r\n"), [400]),
    ("R10 the same twice", framed(b"Content-Length: 13\r\nContent-Length: 13\r\n"), [400]),
    *(
        (f"R11 {length[:20]!r}", framed(b"Content-Length: " + length + b"\r\n"), [400, 413])
        for length in (b"+4", b"-1", b"0x4", b"4,4", b"4 4", b"", b"1" * 5000, b"1e1", b"\xb2")
    ),
    *(
        (f"R12 {coding!r}", framed(b"Transfer-Encoding: " + coding + b"\r\n"), [400, 501])
        for coding in (b"xchunked", b"chunked, identity", b"gzip, chunked", b"\x0bchunked", b"")
    ),
    (
        "R12 twice",
        framed(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        [400, 501],
    ),
    *(
        (f"R13 {size[:20]!r}", chunked(size + b"\r\n"), [400, 413])
        for size in (b"-1", b"0x10", b"f" * 20, b"zz", b" 5", b"5 ", b"", b"+5", b"1_0")
    ),
    ("R13 long extension", chunked(b"5;" + b"x" * (1 << 20) + b"\r\n"), [400, 413, CLOSED]),
    ("R13 no line end after a chunk", chunked(b"3\r\nabcX\r\n"), [400]),
    (
        "R18 gzip",
        framed(b"Content-Encoding: gzip\r\nContent-Length: 3\r\n", b"\x1f\x8b\x08"),
        [415],
    ),
    (
        "R18 two codings",
        framed(b"Content-Encoding: identity, br\r\nContent-Length: 3\r\n", b"abc"),
        [415],
    ),
    ("R15", framed(b"Content-Length: 10000000000\r\n", b""), [413]),
    ("R19", framed(b"Content-Length: 10000000000\r\nExpect: 100-continue\r\n", b""), [413, 417]),
]

SYNTAX: list[Case] = [
    ("R25", get(b"/kv/" + b"x" * 13_000), [414]),
    ("R25 20 KB", get(b"/" + b"x" * 20_000), [400, 414, CLOSED]),
    (
        "R26 600 headers",
        get(b"/status", b"".join(b"X-%d: y\r\n" % n for n in range(600))),
        [400, 431],
    ),
    ("R26 long header", get(b"/status", b"X: " + b"y" * 40_000 + b"\r\n"), [400, 431, CLOSED]),
    ("R27 folded", get(b"/status", b"X: a\r\n b\r\n"), [400]),
    ("R27 first line folded", b"GET /status HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n", [400]),
    *(
        (f"R28 {byte!r}", get(b"/status", b"X: a" + byte + b"b\r\n"), [400])
        for byte in (
            b"\x00",
            b"\x0b",
            b"\x0c",
            b"\x1b",
            b"\x1c",
            b"\x1d",
            b"\x1e",
            b"\x85",
            b"\x7f",
        )
    ),
    ("R28 bare return", get(b"/status", b"X: a\rb\r\n"), [400]),
    ("R28 space before the colon", get(b"/status", b"Content-Length : 0\r\n"), [400]),
    ("R28 no name", get(b"/status", b": a\r\n"), [400]),
    ("R28 no colon", get(b"/status", b"nonsense\r\n"), [400]),
    ("R29", b"GET /version HTTP/1.1\nHost: localhost\n\n", [400, CLOSED]),
    ("R29 in headers", b"GET /version HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", [400, 421]),
    *(
        (
            f"R30 {method[:20]!r}",
            method + b" /status HTTP/1.1\r\n" + HOST + b"\r\n",
            [400, 405, 501],
        )
        for method in (b"get", b"BREW", b"X" * 1000, b"TRACE", b"G\x00T", b"", b"PATCH", b"PUT")
    ),
    ("R30 HTTP/0.9", b"GET /status\r\n\r\n", [400, CLOSED]),
    ("R30 HTTP/9.9", b"GET /status HTTP/9.9\r\n" + HOST + b"\r\n", [400, 505, CLOSED]),
    ("R30 TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", [400, CLOSED]),
    ("R30 an empty line and more", b"\r\n" * 50 + b"x\r\n\r\n", [400, CLOSED]),
]

PATHS: list[Case] = [
    (f"{row} {path[:30]!r}", get(path), codes)
    for row, path, codes in (
        ("R32", b"/kv/%00", [400]),
        ("R32", b"/kv/a%00b", [400]),
        ("R33", b"/kv/%0d%0aX-A:1", [400]),
        ("R33", b"/kv/%0a", [400]),
        ("R34", b"/kv/..", [404]),
        ("R34", b"/kv/.", [404]),
        ("R34", b"/kv/%2e%2e", [404]),
        ("R34", b"/kv/a%2fb", [404]),
        ("R34", b"/kv/%2e%2e%2f%2e%2e%2fetc%2fpasswd", [404]),
        ("R34", b"/../../etc/passwd", [404]),
        ("R34", b"//", [200, 404]),
        ("R34", b"//kv/k", [404]),
        ("R34", b"//evil.example/", [404]),
        ("R34", b"//evil.example/%2f..", [404]),
        ("R34", b"/kv//", [404]),
        ("R35", b"/kv/%ff", [400]),
        ("R35", b"/kv/%c0%af", [400]),
        ("R35", b"/kv/%ed%a0%80", [400]),
        ("R35", b"/kv/\xff", [400, 404]),
        ("R35", b"/kv/%f4%90%80%80", [400]),
        ("R36", b"/kv/", [404]),
        ("R36", b"/kv/" + b"x" * 4096, [404]),
        ("R36", b"/kv/" + b"x" * 4097, [400]),
        ("R36", b"/kv/" + b"%F0%9F%90%8D" * 1025, [400, 414]),
    )
]

BODIES: list[Case] = [
    (f"{row} {body[:30]!r}", post(body), [400])
    for row, body in (
        ("R39", b"[" * 100_000),
        ("R39", b'{"a":' * 5000 + b"1" + b"}" * 5000),
        ("R40", b'{"value":' + b"9" * 5000 + b"}"),
        ("R40", b'{"value":1e999}'),
        ("R40", b'{"value":-0}'),
        ("R40", b'{"value":0.1000000000000000055511151231257827}'),
        ("R41", b'{"value":NaN}'),
        ("R41", b'{"value":-Infinity}'),
        ("R42", b'{"value":"\\ud800"}'),
        ("R42", b'{"value":"\\udc00\\ud800"}'),
        ("R43", b'{"value":"v","value":"w"}'),
        ("R43", b'{"value":"v","\\u0076alue":"w"}'),
        ("R44", b"\xef\xbb\xbf" + PUT),
        ("R44", PUT + b" x"),
        ("R44", b""),
        ("R44", b"null"),
        ("R44", b"[]"),
        ("R44", b'"x"'),
        ("R44", b"'value'"),
        ("R44", b'{"value":"v",}'),
        ("R44", b'{"value":"a\nb"}'),
        ("R45", b'{"value":1}'),
        ("R45", b'{"value":"v","ttl":"1"}'),
        ("R45", b'{"value":"v","ttl":true}'),
        ("R45", b'{"value":"v","ttl":-1}'),
        ("R45", b'{"value":"v","ttl":18446744073709551616}'),
        ("R45", b'{"value":{"value":"v"}}'),
        ("R45", b'{"VALUE":"v"}'),
    )
]


class TableTests(SiteTestCase):
    """One request, one answer."""

    async def check(self, cases: list[Case]) -> None:
        for name, data, codes in cases:
            client = await self.connect()
            client.write(data)
            if CLOSED in codes:  # at the latest when its time is over
                await self.alive()
                for _ in range(int(self.limits.header_seconds / SWEEP_SECONDS) + 1):
                    self.clock.advance(SWEEP_SECONDS)
            received = await client.until(
                lambda got: complete(got) or got.startswith(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            )
            code = parse(received).code if received else CLOSED
            self.assertIn(code, codes, (name, received[:600]))
            self.assertNotIn(b"Traceback", received, name)
            self.assertNotIn(b"\r\nX-A:", received, name)
            await self.alive()
        self.assertEqual(self.gateway.applied, 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_hosts(self) -> None:
        """R1 to R4, R31: who is spoken to must be this node."""
        await self.check(HOSTS)

    async def test_pages(self) -> None:
        """R5 to R7: pages of others change nothing."""
        await self.check(PAGES)

    async def test_framing(self) -> None:
        """R9 to R13, R15, R18, R19: where a body ends is beyond doubt, or it is refused."""
        await self.check(FRAMING)

    async def test_syntax(self) -> None:
        """R25 to R30: request lines and headers."""
        await self.check(SYNTAX)

    async def test_paths(self) -> None:
        """R32 to R36: what stands in a path never leads to a file, and is text."""
        await self.check(PATHS)

    async def test_bodies(self) -> None:
        """R39 to R45: what parsers disagree about never gets to the log."""
        await self.check(BODIES)


class PreflightTests(SiteTestCase):
    """Questions of browsers."""

    async def test_preflight(self) -> None:
        """R8: no foreign origin is told that it may do anything."""
        for origin in (b"https://evil.example", b"null"):
            ask = b"Origin: " + origin + b"\r\nAccess-Control-Request-Method: POST\r\n"
            response = await self.raw(b"OPTIONS /kv/k HTTP/1.1\r\n" + HOST + ask + b"\r\n")
            self.assertFalse([name for name in response.headers if name.startswith("access-")])


class ExactTests(SiteTestCase):
    """What must come back as it was sent."""

    async def test_keys_that_look_alike(self) -> None:
        """R37: composed and decomposed, reversed and invisible characters are different keys."""
        keys = ("é", "e\u0301", "a\u202eb", "ab", "a\u200bb", "..", ".", "a/b", "%2f")
        for number, key in enumerate(keys):
            path = "/kv/" + "".join(f"%{byte:02x}" for byte in key.encode())
            self.assertEqual((await self.request("POST", path, {"value": str(number)})).code, 201)
        for number, key in enumerate(keys):
            path = "/kv/" + "".join(f"%{byte:02x}" for byte in key.encode())
            response = (await self.request("GET", path)).json()
            self.assertEqual((response["key"], response["value"]), (key, str(number)))

    async def test_all_bytes(self) -> None:
        """R38: every byte comes back, as it was put."""
        value = bytes(range(256)) + "🐍".encode()
        head = b"PUT /kv/k HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(value)
        self.assertIn((await self.raw(head + value)).code, (200, 201))
        self.assertEqual((await self.request("GET", "/kv/k?raw=true")).body, value)

    async def test_body_of_the_limit(self) -> None:
        """R17: a body of the limit is read, one byte more is not."""
        limit = self.limits.body_bytes
        body = PUT + b" " * (limit - len(PUT))
        self.assertEqual((await self.raw(post(body))).code, 201)
        self.assertEqual((await self.raw(post(body + b" "))).code, 413)

    async def test_pipelining(self) -> None:
        """R24: a hundred requests in one piece are answered in their order."""
        client = await self.connect()
        client.write(
            b"".join(get(b"/kv/%d" % n) if n % 2 else get(b"/status?%d" % n) for n in range(100))
        )
        received = await client.until(lambda got: got.count(b"HTTP/1.1 ") >= 100)
        codes = [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", received)]
        self.assertEqual(codes, [404 if n % 2 else 200 for n in range(100)])

    async def test_one_refusal(self) -> None:
        """R13: a request that is refused is refused once, however much comes after it."""
        client = await self.connect()
        client.write(chunked(b"d\r\n" + PUT + b"\r\n0\r\n" + b"X: y\r\n" * 100_000))
        received = await client.until_closed()
        self.assertEqual(received.count(b"HTTP/1.1 400"), 1)
        await self.alive()

    async def test_smuggling(self) -> None:
        """R9: what follows a refused request is never taken for another one."""
        inner = b"POST /kv/smuggled HTTP/1.1\r\n" + HOST + b"Content-Length: 13\r\n\r\n" + PUT
        for fields in (
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Content-Length: 0\r\nContent-Length: 5\r\n",
            b"Content-Length: +0\r\n",
        ):
            client = await self.connect()
            client.write(framed(fields, b"0\r\n\r\n" + inner))
            await client.until_closed()
        self.assertEqual(self.gateway.applied, 0)


class SlowTests(SiteTestCase):
    """Clients that hold what they have."""

    limits = evolve(Limits(), connections=600, backlog_bytes=1 << 20)

    async def wait(self, seconds: float) -> None:
        for _ in range(int(seconds / SWEEP_SECONDS) + 1):
            self.clock.advance(SWEEP_SECONDS)

    async def test_five_hundred_slow_clients(self) -> None:
        """R20, R14: five hundred that send byte by byte are all closed in time; one is served."""
        lines: list[Any] = []
        observer: Any = lines.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        clients = [await self.connect() for _ in range(500)]
        for client in clients:
            client.write(b"GET /status HTTP/1.1\r\nX: ")
        await self.alive()
        await self.wait(self.limits.header_seconds / 2)
        for client in clients:
            client.write(b"y")
        await self.alive()
        await self.wait(self.limits.header_seconds / 2)
        for client in clients:
            self.assertEqual(await client.until_closed(), b"")
        await self.alive()
        about_clients = [each for each in lines if "timing out" in formatEvent(each)]
        self.assertEqual(about_clients, [], "strangers could fill the log")

    async def test_idle_connections(self) -> None:
        """R22: newcomers beyond the bound are closed; those who were there are served."""
        clients: list[Any] = [await self.connect() for _ in range(self.limits.connections)]
        for client in clients[:3]:
            client.write(get(b"/version"))
            self.assertEqual(parse(await client.until(complete)).code, 200)
        late = await self.connect()
        late.write(get(b"/version"))
        self.assertEqual(await late.until_closed(), b"")
        await self.wait(self.limits.idle_seconds)
        await clients[0].until_closed()
        await self.alive()

    async def test_answers_that_nobody_reads(self) -> None:
        """R21: answers to a client that does not read do not gather without bound."""
        await self.request("POST", "/kv/large", {"value": "v" * (1 << 20)})
        client = await self.connect()
        client.transport.pauseProducing()  # type: ignore[union-attr]
        tracemalloc.start()
        try:
            for _ in range(20):
                client.write(get(b"/kv/large") * 10)
                await self.alive()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 40 << 20)
        await self.wait(2 * self.limits.idle_seconds)
        client.transport.resumeProducing()  # type: ignore[union-attr]
        await client.until_closed()
        await self.alive()

    async def test_chunks_without_end(self) -> None:
        """R16: a body in small chunks is refused when it has become too long, and not kept."""
        client = await self.connect()
        client.write(chunked(b""))
        piece = b"8000\r\n" + bytes(0x8000) + b"\r\n"
        for _ in range(self.limits.body_bytes // 0x8000 + 2):
            client.write(piece)
        self.assertEqual(parse(await client.until_closed()).code, 413)
        await self.alive()
