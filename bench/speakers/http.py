"""HTTP/1.1 as the load generator speaks it: uring's REST, and etcd's JSON gateway."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Sequence

from bench.speakers.base import LoadFailed, Sample, Speaker


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


def rest_request(key: str, value: str | None) -> bytes:
    """Return what puts ``value`` (None: gets) with uring."""
    if value is None:
        return f"GET /kv/{key} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    return _post(f"/kv/{key}", f'{{"value":"{value}"}}')


def gateway_request(key: str, value: str | None) -> bytes:
    """Return what puts ``value`` (None: gets) with etcd."""
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
