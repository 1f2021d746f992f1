"""WebSocket abuse over raw sockets: the names (W1 ...) are those of docs/TESTING.md."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import Any

from twisted.logger import globalLogPublisher

from tests.support.http import SiteTestCase, WebSocketClient, has_head, masked, parse
from uring.api.site import SWEEP_SECONDS

VERSION = masked(b'{"Version":{"rid":7}}')
CLOSED = 0
SNAKE = "🐍".encode()

Case = tuple[str, list[bytes], Sequence[int]]


def closing(code: int, reason: bytes = b"") -> bytes:
    return masked(code.to_bytes(2) + reason, 0x88)


FRAMES: list[Case] = [
    ("W5 2^63-1", [b"\x81\xff" + ((1 << 63) - 1).to_bytes(8) + bytes(4)], [1009]),
    ("W5 2^63", [b"\x81\xff" + (1 << 63).to_bytes(8) + bytes(4)], [1002]),
    ("W5 binary 2^62", [b"\x82\xff" + (1 << 62).to_bytes(8) + bytes(4)], [1009]),
    ("W8", [b"\x81\x02hi"], [1002]),
    ("W8 ping", [b"\x89\x00"], [1002]),
    *((f"W9 {first:#x}", [masked(b"{}", first)], [1002]) for first in (0xC1, 0xA1, 0x91, 0xF1)),
    *((f"W9 ping {first:#x}", [masked(b"", first)], [1002]) for first in (0xC9, 0xA9, 0x99)),
    *((f"W10 opcode {n}", [masked(b"", 0x80 | n)], [1002]) for n in (3, 4, 5, 6, 7)),
    *((f"W10 opcode {n}", [masked(b"", 0x80 | n)], [1002]) for n in (11, 12, 13, 14, 15)),
    ("W11 fragmented ping", [masked(b"", 0x09)], [1002]),
    ("W11 fragmented close", [masked(b"", 0x08)], [1002]),
    ("W11 long ping", [masked(b"x" * 126, 0x89)], [1002]),
    ("W11 long close", [masked(b"\x03\xe8" + b"x" * 124, 0x88)], [1002]),
    ("W12 continuation", [masked(b"x", 0x80)], [1002]),
    ("W12 continuation, not final", [masked(b"x", 0x00)], [1002]),
    ("W12 text in a message", [masked(b"a", 0x01), masked(b"b", 0x81)], [1002]),
    ("W12 binary in a message", [masked(b"a", 0x01), masked(b"b", 0x82)], [1002]),
    ("W13", [masked(b"\xff\xfe")], [1007]),
    ("W13 split", [masked(SNAKE[:2], 0x01), masked(b"x", 0x80)], [1007]),
    ("W13 unfinished", [masked(SNAKE[:3])], [1007]),
    ("W13 surrogate", [masked(b"\xed\xa0\x80")], [1007]),
    ("W13 overlong", [masked(b"\xc0\xaf")], [1007]),
    ("W13 close reason", [closing(1000, b"\xff")], [1002, 1007]),
    ("W14 one byte", [masked(b"x", 0x88)], [1002]),
    *(
        (f"W14 code {code}", [closing(code)], [1002])
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    ),
    ("W15 in 2 bytes", [b"\x81\xfe\x00\x05" + bytes(4) + b"short"], [1002]),
    ("W15 in 8 bytes", [b"\x81\xff" + (200).to_bytes(8) + bytes(4) + b"x" * 200], [1002]),
    ("W18 compressed", [masked(b"\xaa\x56\x2a", 0xC1)], [1002]),
]

HANDSHAKES: list[tuple[str, dict[str, str], Sequence[int]]] = [
    *(
        (f"W1 {origin}", {"Origin": origin}, [403])
        for origin in (
            "https://evil.example",
            "null",
            "http://localhost.evil",
            "http://127.0.0.1:1",
            "http://127.0.0.1",
            "file://",
        )
    ),
    *(
        (f"W2 {host}", {"Host": host}, [403, 421])
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "0x7f.1")
    ),
    ("W3 no key", {"Sec_WebSocket_Key": ""}, [400]),
    ("W3 short key", {"Sec_WebSocket_Key": "short"}, [400]),
    ("W3 key with a hole", {"Sec_WebSocket_Key": "dGhlIHNhbXBs ZSBub25jZQ=="}, [400]),
    ("W3 version 8", {"Sec_WebSocket_Version": "8"}, [400, 426]),
    ("W3 version 12", {"Sec_WebSocket_Version": "12"}, [400, 426]),
    ("W3 version 99", {"Sec_WebSocket_Version": "99"}, [400, 426]),
    ("W3 version x", {"Sec_WebSocket_Version": "x"}, [400, 426]),
    ("W3 upgrade to another", {"Upgrade": "h2c"}, [400, 426]),
    ("W3 no upgrade asked", {"Connection": "close"}, [400, 426]),
    ("W4 long headers", {"X": "y" * 40_000}, [400, 431, CLOSED]),
]


class HandshakeTests(SiteTestCase):
    """Asking for a WebSocket."""

    async def test_table(self) -> None:
        """W1 to W4: each handshake is refused with its code, and others are served."""
        for name, headers, codes in HANDSHAKES:
            try:
                _, response = await self.handshake(**headers)
            except IndexError:  # closed without an answer
                self.assertIn(CLOSED, codes, name)
            else:
                self.assertIn(response.code, codes, name)
            await self.alive()
        self.assertEqual(len(self.site.websockets.open), 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_two_keys(self) -> None:
        """W3: two keys are one too many."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            "GET /uring HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            f"Sec-WebSocket-Key: {key}",
            "\r\n",
        )
        client = await self.connect()
        client.write("\r\n".join(lines).encode())
        received = await client.until(lambda data: b"\r\n\r\n" in data)
        self.assertEqual(parse(received).code, 400)

    async def test_handshake_without_end(self) -> None:
        """W4: a handshake that is not finished is closed in five seconds."""
        client = await self.connect()
        client.write(b"GET /uring HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n")
        await self.alive()
        for _ in range(6):
            self.clock.advance(SWEEP_SECONDS)
        self.assertEqual(await client.until_closed(), b"")

    async def test_extensions(self) -> None:
        """W18: no extension is accepted, and malformed offers are refused or ignored."""
        for offer in (
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits=15; server_no_context_takeover",
            "permessage-brotli, permessage-bzip2",
        ):
            _, response = await self.handshake(Sec_WebSocket_Extensions=offer)
            self.assertEqual(response.code, 101, offer)
            self.assertNotIn("sec-websocket-extensions", response.headers)
        for offer in ("permessage-deflate; client_max_window_bits=99", "; ; =", ",,,"):
            _, response = await self.handshake(Sec_WebSocket_Extensions=offer)
            self.assertIn(response.code, (101, 400), offer)
            self.assertNotIn("sec-websocket-extensions", response.headers)


class FrameTests(SiteTestCase):
    """Frames that RFC 6455 forbids, and floods of those that it allows."""

    async def closed(self, name: str, data: list[bytes], codes: Sequence[int]) -> None:
        socket = await self.websocket()
        for part in data:
            socket.raw.write(part)
        ended = socket.raw.until(lambda received: socket.close_code is not None)
        ended.addTimeout(5, self.reactor, lambda *ignored: self.fail(f"{name}: not closed"))
        await ended
        self.assertIn(socket.close_code, codes, name)
        socket.raw.transport.abortConnection()  # type: ignore[union-attr]
        await socket.raw.until_closed()

    async def test_table(self) -> None:
        """W5, W8 to W15, W18: each ends its own connection with its code, and no other."""
        witness = await self.websocket()
        for name, data, codes in FRAMES:
            await self.closed(name, data, codes)
            reply = await witness.ask({"Version": {"rid": 1}})
            self.assertEqual(reply["rid"], 1, name)
        self.assertEqual(self.gateway.applied, 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_too_large(self) -> None:
        """W6: a message beyond the limit is refused in one frame and in many."""
        limit = self.limits.message_bytes
        await self.closed("one", [b"\x81\xff" + (limit + 1).to_bytes(8) + bytes(4)], [1009])
        size = limit // 1000 + 1
        pieces = [masked(b" " * size, 0x01), *[masked(b" " * size, 0x00)] * 1000]
        await self.closed("many", [b"".join(pieces)], [1009])

    async def test_empty_fragments(self) -> None:
        """W7: a message of empty fragments without end is closed."""
        flood = masked(b"", 0x01) + masked(b"", 0x00) * 100_000
        await self.closed("empty", [flood], [1008])
        await self.alive()

    async def test_after_close(self) -> None:
        """W16: what follows a close frame is not looked at."""
        socket = await self.websocket()
        put = masked(b'{"Put":{"rid":1,"key":"k","store":"v"}}')
        socket.raw.write(closing(1000) + put)
        await socket.raw.until(lambda received: socket.close_code is not None)
        socket.raw.write(put)
        await socket.raw.until_closed()  # the client does not close: the node does, in a second
        self.assertEqual(self.gateway.applied, 0)

    async def test_binary(self) -> None:
        """W17: a binary frame gets an error reply; the socket lives."""
        socket = await self.websocket()
        socket.raw.write(masked(VERSION, 0x82))
        self.assertEqual((await socket.receive(2))[1]["code"], 400)
        self.assertEqual((await socket.ask({"Version": {"rid": 2}}))["rid"], 2)

    async def test_flood(self) -> None:
        """W20: pings and messages in great numbers are all answered; others wait no longer."""
        socket = await self.websocket()
        socket.raw.write(masked(b"", 0x89) * 10_000)
        await self.alive()
        await socket.raw.until(lambda received: received.count(b"\x8a\x00") >= 10_000)
        socket.raw.write(VERSION * 10_000)
        await self.alive()
        await self.until_answered(socket, 10_000)

    async def until_answered(self, socket: WebSocketClient, count: int) -> None:
        await socket.raw.until(lambda received: received.count(b'"rid":7') >= count)


class TextTests(SiteTestCase):
    """Texts that make no sense get an error reply; the socket lives."""

    TEXTS = (
        ("W19 R39", b"[" * 100_000),
        ("W19 R39", b'{"Get":' * 5000 + b"1" + b"}" * 5000),
        ("W19 R40", b'{"Get":{"rid":' + b"9" * 5000 + b',"key":"k"}}'),
        ("W19 R40", b'{"Get":{"rid":1e999,"key":"k"}}'),
        ("W19 R40", b'{"Get":{"rid":-0.0,"key":"k"}}'),
        ("W19 R41", b'{"Get":{"rid":NaN,"key":"k"}}'),
        ("W19 R41", b"Infinity"),
        ("W19 R42", b'{"Get":{"rid":1,"key":"\\ud800"}}'),
        ("W19 R42", b'{"Put":{"rid":1,"key":"k","store":"\\udfff"}}'),
        ("W19 R43", b'{"Get":{"rid":1,"rid":1,"key":"k"}}'),
        (
            "W19 R43",
            b'{"Put":{"rid":1,"key":"k","store":"v"},"Put":{"rid":1,"key":"k","store":"v"}}',
        ),
        ("W19 R44", b"\xef\xbb\xbf{}"),
        ("W19 R44", b""),
        ("W19 R44", b"null"),
        ("W19 R44", b"[]"),
        ("W19 R44", b'{"Get":{"rid":1,"key":"k"}} {}'),
        ("W19 R45", b'{"Get":{"rid":true,"key":"k"}}'),
        ("W19 R45", b'{"Put":{"rid":1,"key":["k"],"store":"v"}}'),
        ("W19 R36", b'{"Get":{"rid":1,"key":""}}'),
    )

    async def test_table(self) -> None:
        """W19: each text is answered by an error on a socket that then goes on."""
        socket = await self.websocket()
        for name, text in self.TEXTS:
            reply = await socket.ask(text)
            self.assertEqual(reply["code"], 400, (name, text[:60]))
            self.assertTrue(reply["error"]["detail"])
            self.assertEqual((await socket.ask({"Version": {"rid": 3}}))["rid"], 3)
        self.assertEqual(self.gateway.applied, 0)
        self.assertEqual(self.flushLoggedErrors(), [])


class LogTests(SiteTestCase):
    """What strangers do to the log."""

    async def test_pongs_and_bad_frames(self) -> None:
        """W20: pongs that nobody asked for, bad frames and handshakes fill no log of any level.

        A line with the headers of a handshake would hold the client's token.
        """
        lines: list[str] = []

        def observe(event: dict[str, Any]) -> None:
            ours = str(event.get("log_namespace")).startswith(("uring", "autobahn"))
            if ours:
                lines.append(str(event.get("log_format")))

        observer: Any = observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(5):
            socket = await self.websocket()
            socket.raw.write(masked(b"x", 0x8A) * 100 + b"\x81\x02hi")
            await socket.raw.until_closed()
            await self.handshake(Sec_WebSocket_Key="!")
        self.assertEqual(lines, [])

    async def test_http_1_0(self) -> None:
        """W3: a handshake of HTTP/1.0 is no handshake."""
        client = await self.connect()
        client.write(
            b"GET /uring HTTP/1.0\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        self.assertEqual(parse(await client.until(has_head)).code, 426)
