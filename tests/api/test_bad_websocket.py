"""What a WebSocket must refuse: each case has its answer, and others are served afterwards."""

from __future__ import annotations

from typing import Any

from tests.support.http import SiteTestCase, WebSocketClient, masked


class BadMessageTests(SiteTestCase):
    """Texts that make no sense get an error reply; the socket stays open."""

    async def refused(self, text: bytes, rid: int | None = None, protocol: str = "KV") -> None:
        socket = await self.websocket(protocol)
        reply = await socket.ask(text)
        self.assertEqual((reply["rid"], reply["code"], reply["data"]), (rid, 400, None), text[:80])
        self.assertTrue(reply["error"]["detail"])
        version = await socket.ask({"Version": {"rid": 99}})
        self.assertEqual(version["rid"], 99)

    async def test_no_json(self) -> None:
        """What is no JSON object with one field is answered, not fatal."""
        for text in (
            b"",
            b" ",
            b"hello",
            b"{",
            b'{"Get"',
            b"null",
            b"7",
            b'"x"',
            b"[]",
            b"{}",
            b"\xef\xbb\xbf{}",
            b'{"Get":{"rid":1,"key":"k"}} x',
            b'{"Get":{"rid":1,"key":"k"}}{}',
            b"NaN",
            b'{"Get":null,"Put":null}',
        ):
            await self.refused(text)

    async def test_fields(self) -> None:
        """Missing, unknown and wrongly typed fields are refused; a rid is echoed."""
        for text in (
            b'{"Get":{"rid":1}}',
            b'{"Put":{"rid":1,"key":"k"}}',
            b'{"Get":{"rid":1,"key":7}}',
            b'{"Get":{"rid":1,"key":null}}',
            b'{"Put":{"rid":1,"key":"k","store":true}}',
            b'{"Put":{"rid":1,"key":"k","store":"v","ttl":1}}',
            b'{"Nope":{"rid":1}}',
            b'{"Cas":{"rid":1,"key":"k","check":1,"store":"v"}}',
            b'{"Get":{"rid":1,"key":""}}',
            b'{"Get":{"rid":1,"key":"%s"}}' % (b"x" * 4097),
            b'{"Get":{"rid":1,"key":"k","consistency":"maybe"}}',
            b'{"As":{"protocol":"Nope","cmd":{"Get":{"rid":1,"key":"k"}}}}',
            b'{"As":{"protocol":"KV","cmd":{"Nope":{"rid":1}}}}',
            b'{"Select":{"rid":1,"protocol":"Nope"}}',
            b'{"Select":{"rid":1}}',
        ):
            await self.refused(text, rid=1)
        for text in (
            b'{"Get":7}',
            b'{"Get":[]}',
            b'{"Get":{"key":"k"}}',
            b'{"As":{}}',
            b'{"As":7}',
            b'{"As":{"protocol":"KV"}}',
            b'{"As":{"protocol":7,"cmd":{}}}',
            b'{"As":{"protocol":"KV","cmd":{"As":{"protocol":"KV","cmd":{}}}}}',
        ):
            await self.refused(text)

    async def test_rids(self) -> None:
        """A rid is a whole number of 64 bits."""
        for rid in (
            b'"1"',
            b"1.5",
            b"true",
            b"null",
            b"[]",
            b"1e-3",
            b"18446744073709551616",
            b"-9223372036854775809",
            b"9" * 5000,
        ):
            await self.refused(b'{"Get":{"rid":%s,"key":"k"}}' % rid)

    async def test_json_that_parsers_disagree_on(self) -> None:
        """Duplicate keys, half characters, depth and endless numbers never reach the log."""
        await self.refused(b'{"Get":{"rid":1,"key":"k","key":"l"}}')
        await self.refused(b'{"Put":{"rid":1,"key":"k","key":"l","store":"v"}}')
        await self.refused(b'{"Get":{"rid":1,"key":"\\ud800"}}')
        await self.refused(b'{"Put":{"rid":1,"key":"k","store":"\\udc00x"}}')
        await self.refused(b"[" * 100_000)
        await self.refused(b'{"Get":' * 5000 + b"1" + b"}" * 5000)
        await self.refused(b'{"Get":{"rid":1e999,"key":"k"}}')
        self.assertEqual(self.gateway.applied, 0)

    async def test_sizes(self) -> None:
        """A ring's size is a whole number in range."""
        for size in (b"0", b"-1", b"9223372036854775808", b'"64"', b"64.5", b"true", b"16777217"):
            await self.refused(b'{"SetSize":{"rid":1,"size":%s}}' % size, rid=1, protocol="MRing")

    async def test_whole_numbers(self) -> None:
        """5.0 and 5e0 are the number 5, as in every JSON."""
        socket = await self.websocket("MRing")
        answer = await socket.ask(b'{"SetSize":{"rid":5e0,"size":64.0}}')
        self.assertEqual(answer, {"rid": 5, "code": 200, "data": 64})

    async def test_nodes(self) -> None:
        """A node of the ring has a name."""
        for name in (b'""', b"7", b"null", b'"%s"' % (b"x" * 256)):
            await self.refused(b'{"AddNode":{"rid":1,"node":%s}}' % name, rid=1, protocol="MRing")

    async def test_binary(self) -> None:
        """A binary message gets an error reply, and the socket stays open."""
        socket = await self.websocket()
        socket.raw.write(masked(b'{"Get":{"rid":1,"key":"k"}}', 0x82))
        reply = (await socket.receive(2))[1]
        self.assertEqual((reply["rid"], reply["code"]), (None, 400))
        self.assertEqual((await socket.ask({"Version": {"rid": 2}}))["rid"], 2)


class BadFrameTests(SiteTestCase):
    """Frames that RFC 6455 forbids end the connection, and no other one."""

    async def closed(self, *codes: int, data: list[bytes]) -> None:
        socket = await self.websocket()
        for part in data:
            socket.raw.write(part)
        await self.until_close(socket)
        self.assertIn(socket.close_code, codes, data[0][:20])
        await self.alive()

    async def until_close(self, socket: WebSocketClient) -> None:
        await socket.raw.until(lambda received: socket.close_code is not None)

    async def test_protocol_errors(self) -> None:
        """Each violation is closed as a protocol error."""
        head = bytes(4)
        cases: dict[str, list[bytes]] = {
            "no mask": [b"\x81\x02hi"],
            "reserved bit 1": [masked(b"{}", 0xC1)],
            "reserved bit 2": [masked(b"{}", 0xA1)],
            "reserved bit 3": [masked(b"{}", 0x91)],
            "opcode 3": [masked(b"{}", 0x83)],
            "opcode 15": [masked(b"{}", 0x8F)],
            "fragmented ping": [masked(b"", 0x09)],
            "long ping": [masked(b"x" * 126, 0x89)],
            "continuation of nothing": [masked(b"x", 0x80)],
            "text within a message": [masked(b"a", 0x01), masked(b"b", 0x81)],
            "close of one byte": [masked(b"x", 0x88)],
            "long form of a short length": [b"\x81\xfe\x00\x05" + head + b"short"],
            "top bit of a length": [b"\x81\xff" + (1 << 63).to_bytes(8) + head],
        }
        for number in (0, 999, 1004, 1005, 1006, 1016, 5000):
            cases[f"close code {number}"] = [masked(number.to_bytes(2), 0x88)]
        for data in cases.values():
            await self.closed(1002, data=data)

    async def test_close_frame_lost_in_a_reset(self) -> None:
        """Autobahn's timer drops fractions: a second for the closing handshake could be none."""
        delays: list[float] = []
        factory = self.site.websockets
        call_later = factory._batched_timer.call_later

        class Timer:
            def call_later(self, delay: float, function: Any, *arguments: Any) -> Any:
                delays.append(delay)
                return call_later(delay, function, *arguments)

        socket = await self.websocket()
        self.patch(factory, "_batched_timer", Timer())
        socket.raw.write(masked(b"{}", 0xC1))
        await self.until_close(socket)
        self.assertEqual(len(delays), 1)
        self.assertGreaterEqual(delays[0], 2)

    async def test_text_that_is_none(self) -> None:
        """Text that is not UTF-8, even split over fragments, is closed as such."""
        snake = "🐍".encode()
        await self.closed(1007, data=[masked(b"\xff\xfe")])
        await self.closed(1007, data=[masked(snake[:2], 0x01), masked(b"x", 0x80)])
        await self.closed(1007, 1002, data=[masked(b"\x03\xe8\xff", 0x88)])

    async def test_too_large(self) -> None:
        """A message beyond the limit is refused at its header, or at the fragment too many."""
        limit = self.limits.message_bytes
        await self.closed(1009, data=[b"\x81\xff" + (limit + 1).to_bytes(8) + bytes(4)])
        await self.closed(1009, data=[b"\x81\xff" + ((1 << 63) - 1).to_bytes(8) + bytes(4)])
        half = bytes(limit // 2 + 1)
        await self.closed(1009, 1007, data=[masked(half, 0x01), masked(half, 0x80)])

    async def test_fragments_make_one_message(self) -> None:
        """A message in fragments, with a ping between them, is understood."""
        socket = await self.websocket()
        socket.raw.write(masked(b'{"Put":{"rid":1,', 0x01))
        socket.raw.write(masked(b"hi", 0x89))
        socket.raw.write(masked(b'"key":"k","store":"v"}}', 0x80))
        self.assertEqual((await socket.receive(2))[1], {"rid": 1, "code": 201, "data": None})
        self.assertIn((0x8A, b"hi"), socket.frames)

    async def test_byte_by_byte(self) -> None:
        """Frames may arrive one byte at a time."""
        socket = await self.websocket()
        for byte in masked(b'{"Get":{"rid":5,"key":"k"}}') + masked(b'{"Version":{"rid":6}}'):
            socket.raw.write(bytes((byte,)))
        replies: list[Any] = (await socket.receive(3))[1:]
        self.assertEqual([reply["rid"] for reply in replies], [5, 6])


class HandshakeTests(SiteTestCase):
    """Who may open a WebSocket."""

    async def test_foreign_pages(self) -> None:
        """Pages of other origins may not connect; this origin and no page at all may."""
        own = f"http://127.0.0.1:{self.number}"
        for origin in (
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "http://127.0.0.1:1",
            "http://127.0.0.1",
        ):
            _, response = await self.handshake(Origin=origin)
            self.assertEqual(response.code, 403, origin)
        _, response = await self.handshake(Origin=own)
        self.assertEqual(response.code, 101)

    async def test_foreign_hosts(self) -> None:
        """A host name that is not the node's is refused, so that no name can be rebound to it."""
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "0x7f.1"):
            _, response = await self.handshake(Host=host)
            self.assertIn(response.code, (403, 421), host)
        for host in ("localhost", f"127.0.0.1:{self.number}", "uring.example:80", "[::1]:1"):
            _, response = await self.handshake(Host=host)
            self.assertEqual(response.code, 101, host)

    async def test_malformed_handshakes(self) -> None:
        """A handshake without its parts is refused with a 4xx."""
        for headers in (
            {"Sec_WebSocket_Key": ""},
            {"Sec_WebSocket_Key": "short"},
            {"Sec_WebSocket_Version": "8"},
            {"Sec_WebSocket_Version": "99"},
            {"Sec_WebSocket_Version": "x"},
            {"Connection": "close"},
        ):
            _, response = await self.handshake(**headers)
            self.assertEqual(response.code // 100, 4, headers)
        await self.alive()

    async def test_compression_is_not_negotiated(self) -> None:
        """Whatever is offered, no extension is accepted."""
        _, response = await self.handshake(
            Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"
        )
        self.assertEqual(response.code, 101)
        self.assertNotIn("sec-websocket-extensions", response.headers)

    async def test_plain_request(self) -> None:
        """A browser that is pointed at the WebSocket is told what it is."""
        response = await self.request("GET", "/uring")
        self.assertEqual((response.code, response.headers["upgrade"]), (426, "websocket"))
