"""The language of bench/pysyncobj_node.py: one line a request, one line a reply, in order."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from bench.speakers.base import LoadFailed, Ordered, Sample, Speaker


class LinesSpeaker(Speaker):
    """Requests under way on one connection, answered by lines that start with + or -."""

    def __init__(self, sock: socket.socket, requests: Sequence[bytes]) -> None:
        super().__init__(sock, requests)
        self._ordered = Ordered()

    def ask(self, count: int, now: float) -> None:
        """See Speaker."""
        self._ordered.sent(count, now)
        self.sock.sendall(b"".join(self._take(count)))

    def hear(self, data: bytes, now: float) -> list[Sample]:
        """See Speaker."""
        if b"-" in data:
            raise LoadFailed(f"an error was answered: {data[data.index(b'-') :][:200]!r}")
        return self._ordered.answered(data.count(b"\n"), now)


def line(key: str, value: str) -> bytes:
    """Return the request that puts ``value``."""
    return f"put {key} {value}\n".encode()
