"""What the load generator says, and how it counts what it hears."""

from __future__ import annotations

import socket
from random import Random
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from bench.speakers import LoadFailed, key_of, make_requests, make_speaker
from bench.speakers.base import Ordered
from bench.speakers.grpc import GrpcSpeaker, call, cut, protobuf
from bench.speakers.http import HttpSpeaker
from bench.speakers.websocket import WebSocketSpeaker, masked, pong


def unmasked(frame: bytes) -> bytes:
    """Return the payload of a client's frame."""
    size, start = frame[1] & 0x7F, 2
    if size == 126:
        size, start = int.from_bytes(frame[2:4]), 4
    key, body = frame[start : start + 4], frame[start + 4 :]
    assert len(body) == size
    return bytes(byte ^ key[place % 4] for place, byte in enumerate(body))


class RequestTests(SynchronousTestCase):
    """Requests are made beforehand."""

    def make(self, protocol: str, writes: float = 1.0, count: int = 1) -> list[bytes]:
        keys = [key_of(number) for number in range(count)]
        return make_requests(protocol, keys, "boop", writes, Random(1))

    def test_keys(self) -> None:
        """Keys have the size that was asked for, and 16 bytes at the least."""
        self.assertEqual(key_of(7), "key-000000000007")
        self.assertEqual(len(key_of(7, 128)), 128)
        self.assertEqual(len(key_of(7, 3)), 16)

    def test_websocket(self) -> None:
        """A frame holds one command, masked, also where its length takes two bytes more."""
        (put,) = self.make("websocket")
        self.assertEqual(
            unmasked(put), b'{"Put":{"rid":0,"key":"key-000000000000","store":"boop"}}'
        )
        (get,) = self.make("websocket", 0.0)
        self.assertEqual(unmasked(get), b'{"Get":{"rid":0,"key":"key-000000000000"}}')
        self.assertEqual(unmasked(masked(b"x" * 300)), b"x" * 300)

    def test_arrays(self) -> None:
        """Many commands make one message, where that is asked for; only WebSocket has such."""
        keys = [key_of(number) for number in range(5)]
        two, four = make_requests("websocket", keys, "v", 0.0, Random(1), 2)
        self.assertEqual(
            unmasked(two),
            b'[{"Get":{"rid":0,"key":"key-000000000000"}},'
            b'{"Get":{"rid":1,"key":"key-000000000001"}}]',
        )
        self.assertIn(b'"rid":3', unmasked(four))
        self.assertRaises(ValueError, make_requests, "grpc", keys, "v", 0.0, Random(1), 2)

    def test_mix(self) -> None:
        """A share of the requests are puts, the others gets."""
        requests = self.make("rest", 0.25, 1000)
        puts = sum(request.startswith(b"POST") for request in requests)
        self.assertTrue(200 < puts < 300, puts)

    def test_no_reads(self) -> None:
        """pysyncobj is not asked for reads that it cannot answer."""
        self.assertEqual(self.make("lines"), [b"put key-000000000000 boop\n"])
        self.assertRaises(ValueError, self.make, "lines", 0.5)

    def test_protobuf(self) -> None:
        """Lengths beyond 127 take two bytes."""
        self.assertEqual(protobuf(b"a", b"b" * 300), b"\x0a\x01a\x12\xac\x02" + b"b" * 300)


class ScriptedSocket:
    """Has received what it is given, and keeps what is sent."""

    def __init__(self, received: list[bytes]) -> None:
        self.received = received
        self.sent: list[bytes] = []

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    def recv(self, size: int) -> bytes:
        return self.received.pop(0)

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


class SpeakerTests(SynchronousTestCase):
    """Replies are counted and timed."""

    def pair(self) -> tuple[socket.socket, socket.socket]:
        server = socket.create_server(("127.0.0.1", 0))
        ours = socket.create_connection(server.getsockname())
        theirs = server.accept()[0]
        for each in (ours, theirs, server):
            self.addCleanup(each.close)
        return ours, theirs

    def test_ordered(self) -> None:
        """Replies belong to the oldest requests, also where they come in other bundles."""
        ordered = Ordered()
        ordered.sent(2, 1.0)
        ordered.sent(1, 2.0)
        self.assertEqual(ordered.answered(1, 3.0), [(3.0, 2.0, 1)])
        self.assertEqual(ordered.answered(2, 4.0), [(4.0, 3.0, 1), (4.0, 2.0, 1)])
        self.assertRaises(LoadFailed, ordered.answered, 1, 5.0)

    def test_lines(self) -> None:
        """A line that starts with a minus is an error."""
        ours, theirs = self.pair()
        speaker = make_speaker("lines", ours, [b"put a b\n", b"put c d\n"])
        speaker.ask(2, 1.0)
        self.assertEqual(theirs.recv(100), b"put a b\nput c d\n")
        self.assertEqual(speaker.hear(b"+\n+\n", 2.0), [(2.0, 1.0, 2)])
        self.assertRaises(LoadFailed, speaker.hear, b"-3\n", 3.0)

    def test_http(self) -> None:
        """A reply that comes in pieces counts once it is whole; a refusal is an error."""
        ours, _ = self.pair()
        speaker = HttpSpeaker(ours, [b"x"])
        speaker.ask(1, 1.0)
        self.assertEqual(speaker.hear(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n", 2.0), [])
        self.assertEqual(speaker.hear(b"\r\n{", 2.0), [])
        self.assertEqual(speaker.hear(b"}", 3.0), [(3.0, 2.0, 1)])
        refusal = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n"
        self.assertRaises(LoadFailed, speaker.hear, refusal, 4.0)

    def test_grpc(self) -> None:
        """Every call has a stream of its own; the headers of the first make the server's table."""
        ours, theirs = self.pair()
        speaker = GrpcSpeaker(ours, [call("a", "b"), call("a", None)])
        speaker.ask(2, 1.0)
        sent = theirs.recv(1 << 16)
        self.assertTrue(sent.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
        position, frames = 24, []
        while position < len(sent):
            size = int.from_bytes(sent[position : position + 3])
            stream = int.from_bytes(sent[position + 5 : position + 9])
            frames.append((sent[position + 3], stream, sent[position + 9 : position + 9 + size]))
            position += 9 + size
        calls = frames[2:]  # after the settings and the window
        self.assertEqual(
            [(kind, stream) for kind, stream, _ in calls], [(1, 1), (0, 1), (1, 3), (0, 3)]
        )
        self.assertIn(b"application/grpc", calls[0][2])
        self.assertNotIn(b"application/grpc", calls[2][2])
        self.assertIn(b"/etcdserverpb.KV/Range", calls[2][2])
        self.assertEqual(calls[1][2], b"\x00\x00\x00\x00\x06\x0a\x01a\x12\x01b")

    def test_grpc_replies(self) -> None:
        """A call counts when its trailers came; trailers without a message before are an error."""
        ours, _ = self.pair()
        speaker = GrpcSpeaker(ours, [call("a", "b")])
        speaker.ask(1, 1.0)
        message = b"\x00\x00\x05\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00"
        trailers = b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88"
        self.assertEqual(speaker.hear(message + trailers[:4], 2.0), [])
        self.assertEqual(speaker.hear(trailers[4:], 3.0), [(3.0, 2.0, 1)])
        self.assertRaises(LoadFailed, speaker.hear, trailers, 4.0)  # that call is over
        speaker.ask(1, 4.0)
        third = trailers.replace(b"\x01\x88", b"\x03\x88")
        self.assertRaises(LoadFailed, speaker.hear, third, 5.0)

    def websocket(self) -> tuple[WebSocketSpeaker, ScriptedSocket]:
        selected = b'\x81\x26{"Selected":{"rid":0,"protocol":"KV"}}'
        sock = ScriptedSocket([b"HTTP/1.1 101 Switching Protocols\r\n\r\n", selected])
        speaker = WebSocketSpeaker(cast(socket.socket, sock), [masked(b"x")] * 9)
        speaker.ask(3, 1.0)
        sock.sent.clear()
        return speaker, sock

    def test_websocket(self) -> None:
        """Replies count wherever the pieces that are received end; an error is one."""
        speaker, _ = self.websocket()
        reply = b'\x81\x1f{"rid":1,"code":201,"data":null}'
        self.assertEqual(speaker.hear(reply + reply[:16], 2.0), [(2.0, 1.0, 1)])
        self.assertEqual(speaker.hear(reply[16:] + reply, 3.0), [(3.0, 2.0, 2)])
        self.assertRaises(LoadFailed, speaker.hear, b'\x81\x10{"rid":1,"code":503', 4.0)

    def test_arrays(self) -> None:
        """An array counts as many operations, each when it is answered."""
        speaker, _ = self.websocket()
        speaker.bundle = 4
        speaker.hear(b'"code":2' * 3, 1.0)
        speaker.ask(1, 2.0)
        self.assertEqual(speaker.hear(b'["code":201,"code":2', 3.0), [(3.0, 1.0, 2)])
        self.assertEqual(speaker.hear(b'01,"code":201,"code":201]', 4.0), [(4.0, 2.0, 2)])

    def test_ping(self) -> None:
        """A busy client that did not answer pings was disconnected after forty seconds."""
        reply = b'\x81\x1f{"rid":1,"code":201,"data":null}'
        ping = b"\x89\x0c" + bytes(range(12))
        for cut_at in range(len(ping) + 1):
            speaker, sock = self.websocket()
            speaker.hear(reply + ping[:cut_at], 2.0)
            speaker.hear(ping[cut_at:] + reply, 3.0)
            self.assertEqual([unmasked(each) for each in sock.sent], [bytes(range(12))], cut_at)
            self.assertEqual(sock.sent[0][0], 0x8A)

    def test_no_ping(self) -> None:
        """The same byte in the length of a reply is no ping."""
        speaker, sock = self.websocket()
        text = b'{"rid":1,"code":201,"data":"' + b"v" * 363 + b'"}'
        self.assertEqual(len(text).to_bytes(2), b"\x01\x89")
        self.assertEqual(len(speaker.hear(b"\x81\x7e\x01\x89" + text, 2.0)), 1)
        self.assertEqual(sock.sent, [])

    def test_cut(self) -> None:
        """The pieces of a call and the number of its stream make it whole again."""
        made = call("a", "b")
        head, headers, start, message = cut(made)
        self.assertEqual(head + bytes(4) + headers + start + bytes(4) + message, made)

    def test_pong(self) -> None:
        """The answer to a ping carries what the ping did."""
        answer = pong(b"now")
        self.assertEqual(answer[0], 0x8A)
        self.assertEqual(unmasked(answer), b"now")
