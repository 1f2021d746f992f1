"""What the load generator says on one connection: requests made beforehand, replies counted.

Each speaker knows one protocol.  Replies are only looked at as far as counting and timing them
needs, so that the generator takes little of the processors that it shares with the servers.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import struct
from collections import deque
from collections.abc import Sequence

Sample = tuple[float, float, int]
"""When a reply was read and how long it took, in seconds, and how many were read with it."""


class LoadFailed(Exception):
    """A server answered a request with an error, or ended the conversation."""


def key_of(number: int) -> str:
    """Return the key of ``number``: 16 characters."""
    return f"key-{number:012d}"


class Speaker:
    """One connection.  ``requests`` are whole requests, sent in turn for ever."""

    def __init__(self, sock: socket.socket, requests: Sequence[bytes]) -> None:
        self.sock = sock
        self._requests = requests
        self._next = 0

    def _take(self, count: int) -> list[bytes]:
        """Return the next ``count`` requests (at most as many as there are)."""
        first, self._next = self._next, self._next + count
        taken = list(self._requests[first : self._next])
        if self._next >= len(self._requests):
            self._next -= len(self._requests)
            taken += self._requests[: self._next]
        return taken

    def ask(self, count: int, now: float) -> None:
        """Send ``count`` requests in one piece."""
        raise NotImplementedError

    def hear(self, data: bytes, now: float) -> list[Sample]:
        """Take what was received; return a sample for each bundle of replies in it.

        Raises :exc:`LoadFailed` for an error.
        """
        raise NotImplementedError


class WebSocketSpeaker(Speaker):
    """uring's WebSocket.  Replies come in the order of the requests."""

    _GOOD = b'"code":2'
    _BAD = (b'"code":4', b'"code":5')

    def __init__(self, sock: socket.socket, requests: Sequence[bytes]) -> None:
        super().__init__(sock, requests)
        host, port = sock.getpeername()[:2]
        sock.sendall(
            f"GET /uring HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n".encode()
        )
        self._expect(b"\r\n\r\n", b" 101 ")
        sock.sendall(masked(b'{"Select":{"rid":0,"protocol":"KV"}}'))
        self._expect(b"}}", b"Selected")
        self._asked: deque[list[float]] = deque()
        self._tail = b""

    def _expect(self, end: bytes, word: bytes) -> None:
        answer = b""
        while end not in answer:
            data = self.sock.recv(4096)
            if not data:
                break
            answer += data
        if word not in answer:
            raise LoadFailed(f"unexpected answer {answer[:200]!r}")

    def ask(self, count: int, now: float) -> None:
        """See Speaker."""
        self._asked.append([now, count])
        self.sock.sendall(b"".join(self._take(count)))

    def hear(self, data: bytes, now: float) -> list[Sample]:
        """See Speaker."""
        data = self._tail + data
        # Too short for a whole match, so nothing is counted twice.
        self._tail = data[1 - len(self._GOOD) :]
        for word in self._BAD:
            if word in data:
                at = data.index(word)
                raise LoadFailed(f"an error was answered: {data[at : at + 200]!r}")
        left = data.count(self._GOOD)
        samples = []
        while left:
            oldest = self._asked[0]
            taken = min(left, int(oldest[1]))
            samples.append((now, now - oldest[0], taken))
            left -= taken
            oldest[1] -= taken
            if not oldest[1]:
                self._asked.popleft()
        return samples


def masked(payload: bytes) -> bytes:
    """Return a client's final text frame (RFC 6455, 5.2)."""
    size, key = len(payload), os.urandom(4)
    mask = (key * (size // 4 + 1))[:size]
    body = (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(size)
    head = struct.pack(">BB", 0x81, 0x80 | size)[:2] if size < 126 else None
    if head is None:
        head = struct.pack(">BBH", 0x81, 0x80 | 126, size)
    return head + key + body


class HttpSpeaker(Speaker):
    """HTTP/1.1 with one request at a time on a connection that is kept."""

    _LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

    def __init__(self, sock: socket.socket, requests: Sequence[bytes]) -> None:
        super().__init__(sock, requests)
        self._asked = 0.0
        self._buffer = b""

    def ask(self, count: int, now: float) -> None:
        """See Speaker."""
        self._asked = now
        self.sock.sendall(self._take(1)[0])

    def hear(self, data: bytes, now: float) -> list[Sample]:
        """See Speaker."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return []
        length = self._LENGTH.search(head)
        if head[9:10] != b"2" or length is None:
            raise LoadFailed(f"unexpected answer {self._buffer[:300]!r}")
        if len(body) < int(length[1]):
            return []
        self._buffer = b""
        return [(now, now - self._asked, 1)]


# -- gRPC ------------------------------------------------------------------------------------------

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK = 1, 1
_WINDOW_MAX = (1 << 31) - 1
_STREAM = struct.Struct(">I")


def http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header that enters the dynamic table (RFC 7541, 6.2.1); ``name`` as encoded."""
    return bytes((0x40 | name[0],)) + name[1:] + bytes((len(value),)) + value


class GrpcSpeaker(Speaker):
    """Unary gRPC calls over one HTTP/2 connection, many at a time, answered in any order.

    ``requests`` are protobuf messages.  The headers of all calls but the first are five bytes that
    name what the first put into the server's table, the least that the protocol needs.  What is
    under way must stay below the 64 KiB that the server takes before it opens its window further.
    """

    def __init__(self, sock: socket.socket, requests: Sequence[bytes], path: bytes) -> None:
        super().__init__(sock, [_call(request) for request in requests])
        hello = http2_frame(_SETTINGS, 0, 0, b"")
        window = http2_frame(8, 0, 0, _STREAM.pack(_WINDOW_MAX - 65535))
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hello + window)
        authority = "{}:{}".format(*sock.getpeername()[:2]).encode()
        self._first = b"\x83\x86" + b"".join(
            (
                _literal(b"\x04", path),
                _literal(b"\x01", authority),
                _literal(b"\x1f", b"application/grpc"),
                _literal(b"\x00\x02te", b"trailers"),
            )
        )
        self._headers: bytes | None = None
        self._asked: list[float] = []
        """When call number i began; its stream is 2 i + 1."""
        self._answered = 0
        self._buffer = b""

    def ask(self, count: int, now: float) -> None:
        """See Speaker."""
        pieces = []
        for call in self._take(count):
            stream = _STREAM.pack(2 * len(self._asked) + 1)
            self._asked.append(now)
            if self._headers is None:
                pieces += [http2_frame(_HEADERS, 4, 1, self._first), call[:5], stream, call[5:]]
                self._headers = b"\x00\x00\x06\x01\x04"
            else:
                pieces += [self._headers, stream, b"\x83\x86\xc1\xc0\xbf\xbe"]
                pieces += [call[:5], stream, call[5:]]
        self.sock.sendall(b"".join(pieces))

    def hear(self, data: bytes, now: float) -> list[Sample]:
        """See Speaker."""
        data = self._buffer + data
        position, end = 0, len(data)
        samples: list[Sample] = []
        asked = self._asked
        while end - position >= 9:
            after = position + 9 + int.from_bytes(data[position : position + 3])
            if after > end:
                break
            kind, flags = data[position + 3], data[position + 4]
            if kind == _DATA:
                self._answered += after > position + 9
            elif kind == _HEADERS:
                if flags & _END_STREAM:
                    stream = int.from_bytes(data[position + 5 : position + 9])
                    samples.append((now, now - asked[stream >> 1], 1))
                    self._answered -= 1
            else:
                self._control(kind, flags, data[position + 9 : after])
            position = after
        if self._answered < 0:
            raise LoadFailed(f"a call was answered with an error: {data[-200:]!r}")
        self._buffer = data[position:]
        return samples

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        if kind in (_RESET, _GOAWAY):
            raise LoadFailed(f"the server ended a call: {payload!r}")
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            answer = b"" if kind == _SETTINGS else payload
            self.sock.sendall(http2_frame(kind, _ACK, 0, answer))


def _call(message: bytes) -> bytes:
    """Return the one DATA frame of a call, without its four bytes of stream after the first 5."""
    frame = http2_frame(_DATA, _END_STREAM, 0, b"\x00" + struct.pack(">I", len(message)) + message)
    return frame[:5] + frame[9:]


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def protobuf(*fields: bytes) -> bytes:
    """Return a message whose fields 1, 2, ... are ``fields``, all of type bytes."""
    return b"".join(
        bytes((number << 3 | 2,)) + _varint(len(value)) + value
        for number, value in enumerate(fields, 1)
    )


# -- the same work for everyone --------------------------------------------------------------------


def make_requests(protocol: str, operation: str, keys: Sequence[int], value: str) -> list[bytes]:
    """Return the requests that put or get ``keys``; see :func:`make_speaker` for the protocols."""
    is_put = operation == "put"
    if protocol == "websocket":
        name, store = ("Put", f',"store":"{value}"') if is_put else ("Get", "")
        return [
            masked(f'{{"{name}":{{"rid":{rid},"key":"{key_of(number)}"{store}}}}}'.encode())
            for rid, number in enumerate(keys)
        ]
    if protocol == "grpc":
        return [
            protobuf(key_of(number).encode(), *([value.encode()] if is_put else []))
            for number in keys
        ]
    if protocol == "rest":
        return [_rest(key_of(number), value if is_put else None) for number in keys]
    return [_gateway(key_of(number), value if is_put else None) for number in keys]


def _rest(key: str, value: str | None) -> bytes:
    if value is None:
        return f"GET /kv/{key} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    return _post(f"/kv/{key}", f'{{"value":"{value}"}}')


def _gateway(key: str, value: str | None) -> bytes:
    coded = base64.b64encode(key.encode()).decode()
    if value is None:
        return _post("/v3/kv/range", f'{{"key":"{coded}"}}')
    content = base64.b64encode(value.encode()).decode()
    return _post("/v3/kv/put", f'{{"key":"{coded}","value":"{content}"}}')


def _post(path: str, body: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def make_speaker(
    protocol: str, operation: str, sock: socket.socket, requests: Sequence[bytes]
) -> Speaker:
    """Return a speaker of "websocket" or "rest" (uring), "grpc" or "gateway" (etcd)."""
    if protocol == "websocket":
        return WebSocketSpeaker(sock, requests)
    if protocol == "grpc":
        path = b"/etcdserverpb.KV/Put" if operation == "put" else b"/etcdserverpb.KV/Range"
        return GrpcSpeaker(sock, requests, path)
    return HttpSpeaker(sock, requests)
