"""What floods a node: ``python -m tests.flood.attackers KIND PORT SECONDS``, one process each.

Plain sockets in threads: what a script of a stranger would be.  They run at the lowest priority, so
that on a small machine they compete with the node that they attack, not with everybody.
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable

from tests.support.http import masked

HOST = "127.0.0.1"
GET = b"GET /kv/flood HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = b"GET /kv/flood-large HTTP/1.1\r\nHost: localhost\r\n\r\n"
MAGIC = b"URING/1\n"


class Attack:
    """Knows its target and its end."""

    def __init__(self, port: int, seconds: float) -> None:
        self.port = port
        self.end = time.monotonic() + seconds
        self.chance = random.Random(port)

    @property
    def is_on(self) -> bool:
        return time.monotonic() < self.end

    def connect(self) -> socket.socket:
        connection = socket.create_connection((HOST, self.port), timeout=5)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def again(self, work: Callable[[], None]) -> None:
        """Do ``work`` until the end, whatever the node does about it."""
        while self.is_on:
            try:
                work()
            except OSError:
                time.sleep(0.05)

    # -- kinds -----------------------------------------------------------------------------------

    def requests(self) -> None:
        """As many requests as one connection takes."""
        with self.connect() as connection:
            while self.is_on:
                connection.sendall(GET * 100)
                drain(connection, 100 * 100)

    def messages(self) -> None:
        """As many WebSocket messages as one connection takes."""
        with self.connect() as connection:
            key = base64.b64encode(os.urandom(16))
            connection.sendall(
                b"GET /uring HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                + key
                + b"\r\n\r\n"
            )
            drain(connection, 100)
            message = b'{"As":{"protocol":"KV","cmd":{"Get":{"rid":1,"key":"flood"}}}}'
            flood = masked(message) * 100 + masked(b"", 0x89) * 20
            while self.is_on:
                connection.sendall(flood)
                drain(connection, 100 * 20)

    def slow(self) -> None:
        """Five hundred requests that come a byte at a time."""
        connections: list[socket.socket] = []
        try:
            while self.is_on:
                while len(connections) < 500:
                    connections.append(self.connect())
                alive = []
                for connection in connections:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"G")
                        alive.append(connection)
                connections = alive
                time.sleep(1)
        finally:
            for connection in connections:
                connection.close()

    def deaf(self) -> None:
        """Ask for much and read nothing."""
        connections = [self.connect() for _ in range(20)]
        try:
            for connection in connections:
                connection.setblocking(False)
            end = min(self.end, time.monotonic() + 20)
            while time.monotonic() < end:
                for connection in connections:
                    with contextlib.suppress(BlockingIOError):
                        connection.send(LARGE * 5)
                time.sleep(0.2)
        finally:
            for connection in connections:
                connection.close()

    def garbage(self) -> None:
        """Nonsense of every kind, on a connection of its own each time."""
        chance = self.chance
        data = chance.choice(
            (
                chance.randbytes(2000),
                MAGIC + chance.randbytes(200),
                MAGIC + b"\x00\x00\x0f\xff" + bytes(100),
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                b"POST /kv/x HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 3\r\n\r\nabc",
                b"POST /kv/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n[[[[[",
                b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 600 + b"\r\n",
            )
        )
        with self.connect() as connection:
            connection.sendall(data)
            connection.settimeout(0.05)
            with contextlib.suppress(OSError):
                connection.recv(4096)

    def large(self) -> None:
        """Bodies that are too large, declared or not."""
        with self.connect() as connection:
            connection.sendall(
                b"POST /kv/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
            for _ in range(160):
                connection.sendall(piece)
        time.sleep(0.2)

    def storm(self) -> None:
        """Connect and hang up."""
        self.connect().close()

    KINDS = (
        ("requests", 4),
        ("messages", 4),
        ("slow", 1),
        ("deaf", 1),
        ("garbage", 2),
        ("large", 1),
        ("storm", 2),
    )
    """Each with how many do it at once."""


def drain(connection: socket.socket, size: int) -> None:
    """Read about ``size`` bytes."""
    while size > 0:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError
        size -= len(data)


def main(kind: str, port: str, seconds: str) -> None:
    """Attack, then say how often."""
    os.nice(19)
    attack = Attack(int(port), float(seconds))
    threads = [
        threading.Thread(target=attack.again, args=[getattr(attack, kind)], daemon=True)
        for _ in range(dict(Attack.KINDS)[kind])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=max(0.0, attack.end - time.monotonic()) + 6)


if __name__ == "__main__":
    main(*sys.argv[1:])
