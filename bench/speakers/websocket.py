"""uring's WebSocket as the load generator speaks it (RFC 6455)."""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Sequence

from bench.speakers.base import LoadFailed, Ordered, Sample, Speaker

_TEXT, _PONG = 0x81, 0x8A
_PING = b"\x89"
"""The first byte of a ping; it occurs in no JSON that is answered here."""


class WebSocketSpeaker(Speaker):
    """Commands of KV on one WebSocket.  Replies come in the order of the requests."""

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
        self._ordered = Ordered()
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

    def subscribe(self, channel: str) -> None:
        """Ask for the events of ``channel``."""
        self.sock.sendall(masked(f'{{"Subscribe":{{"channel":"{channel}"}}}}'.encode()))

    def ask(self, count: int, now: float) -> None:
        """See Speaker."""
        self._ordered.sent(count * self.bundle, now)
        self.sock.sendall(b"".join(self._take(count)))

    def hear(self, data: bytes, now: float) -> list[Sample]:
        """See Speaker."""
        data = self._tail + data
        # Too short for a whole match, so nothing is counted twice.
        self._tail = data[1 - len(self._GOOD) :]
        if _PING in data:
            self._answer_ping(data)
        for word in self._BAD:
            if word in data:
                at = data.index(word)
                raise LoadFailed(f"an error was answered: {data[at : at + 200]!r}")
        return self._ordered.answered(data.count(self._GOOD), now)

    def _answer_ping(self, data: bytes) -> None:
        """Answer a ping in ``data``, or wait for the rest of it: who does not is disconnected."""
        at = data.index(_PING)
        size = data[at + 1] if at + 1 < len(data) else -1
        # Elsewhere this byte is the end of a length, before the JSON of a reply.
        if size == ord("{") or size > 125:
            return
        payload = data[at + 2 : at + 2 + size]
        if size < 0 or len(payload) < size:
            self._tail = data[at:]
        else:
            self.sock.sendall(pong(payload))


def masked(payload: bytes, kind: int = _TEXT) -> bytes:
    """Return a client's final frame (RFC 6455, 5.2), text by default, of at most 65 535 bytes."""
    size, key = len(payload), os.urandom(4)
    mask = (key * (size // 4 + 1))[:size]
    body = (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(size)
    head = bytes((kind, 0x80 | size)) if size < 126 else struct.pack(">BBH", kind, 0xFE, size)
    return head + key + body


def pong(payload: bytes) -> bytes:
    """Return the answer to a ping with ``payload``, of at most 125 bytes."""
    return masked(payload, _PONG)


def command(rid: int, key: str, value: str | None) -> bytes:
    """Return the JSON that puts ``value``, or gets the key where that is None."""
    name, store = ("Get", "") if value is None else ("Put", f',"store":"{value}"')
    return f'{{"{name}":{{"rid":{rid},"key":"{key}"{store}}}}}'.encode()


def messages(commands: Sequence[bytes], bundle: int) -> list[bytes]:
    """Return the frames of ``commands``: one for each, or arrays of ``bundle`` if that is more."""
    if bundle == 1:
        return [masked(each) for each in commands]
    starts = range(0, len(commands) - bundle + 1, bundle)
    return [masked(b"[" + b",".join(commands[at : at + bundle]) + b"]") for at in starts]
