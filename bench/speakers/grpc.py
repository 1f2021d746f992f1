"""gRPC as the load generator speaks it to etcd: HTTP/2 frames made beforehand, no library."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from bench.speakers.base import LoadFailed, Sample, Speaker

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW_MAX = (1 << 31) - 1
_STREAM = struct.Struct(">I")
_PUT, _RANGE = b"/etcdserverpb.KV/Put", b"/etcdserverpb.KV/Range"
_BEGIN = b"\x83\x86"
"""The headers ``:method: POST`` and ``:scheme: http`` (RFC 7541, appendix A)."""
_KNOWN = b"\xc0\xbf\xbe"
"""The three headers that the first call put into the server's table."""


def http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header that enters the dynamic table (RFC 7541, 6.2.1); ``name`` as encoded."""
    return bytes((0x40 | name[0],)) + name[1:] + bytes((len(value),)) + value


class GrpcSpeaker(Speaker):
    """Unary gRPC calls over one HTTP/2 connection, many at a time, answered in any order.

    ``requests`` come from :func:`call`.  All calls but the first name the authority and the like by
    three bytes.  What is under way must stay below 48 KiB: the server opens its window of 64 KiB
    further with each quarter that it has taken, and nobody here waits for that.
    """

    def __init__(self, sock: socket.socket, requests: Sequence[bytes]) -> None:
        super().__init__(sock, [cut(request) for request in requests])
        hello = http2_frame(_SETTINGS, 0, 0, b"")
        window = http2_frame(_WINDOW_UPDATE, 0, 0, _STREAM.pack(_WINDOW_MAX - 65535))
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hello + window)
        authority = "{}:{}".format(*sock.getpeername()[:2]).encode()
        self._table = b"".join(
            (
                _literal(b"\x01", authority),
                _literal(b"\x1f", b"application/grpc"),
                _literal(b"\x00\x02te", b"trailers"),
            )
        )
        self._asked: dict[int, float] = {}
        """When each call that is under way began, by its stream."""
        self._stream = 1
        self._answered = 0
        self._buffer = b""

    def ask(self, count: int, now: float) -> None:
        """See Speaker."""
        pieces: list[bytes] = []
        for head, headers, start, message in self._take(count):
            number = _STREAM.pack(self._stream)
            if self._stream > 1:
                pieces += (head, number, headers, start, number, message)
            else:
                full = http2_frame(_HEADERS, _END_HEADERS, 1, headers.replace(_KNOWN, self._table))
                pieces += (full, start, number, message)
            self._asked[self._stream] = now
            self._stream += 2
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
                    began = asked.pop(stream, None)
                    if began is None:
                        raise LoadFailed(f"call {stream} was answered twice, or never made")
                    samples.append((now, now - began, 1))
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


def cut(made: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the two frames of a call, each cut where the number of its stream belongs."""
    end = 9 + int.from_bytes(made[:3])
    return made[:5], made[9:end], made[end : end + 5], made[end + 9 :]


def call(key: str, value: str | None) -> bytes:
    """Return the frames HEADERS and DATA that put ``value`` (None: get the key), for stream 0."""
    path = _RANGE if value is None else _PUT
    # The path is a literal that enters no table (RFC 7541, 6.2.2): puts and gets may be mixed.
    headers = _BEGIN + b"\x04" + bytes((len(path),)) + path + _KNOWN
    message = protobuf(key.encode(), *([] if value is None else [value.encode()]))
    data = b"\x00" + _STREAM.pack(len(message)) + message
    return http2_frame(_HEADERS, _END_HEADERS, 0, headers) + http2_frame(
        _DATA, _END_STREAM, 0, data
    )


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
