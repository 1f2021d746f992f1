"""Very many WebSockets that only answer the server's pings."""

from __future__ import annotations

import select
import socket
import threading

from bench.speakers import WebSocketSpeaker
from bench.speakers.websocket import pong

_PING = 0x89
PER_ADDRESS = 1000
"""Connections from one address of the loopback network."""


class Crowd:
    """``count`` connections, each second one subscribed to a channel on which nothing happens."""

    def __init__(self, port: int, count: int) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._running = True
        self.lost = 0
        """Connections that the server ended."""
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()
        try:
            for number in range(count):
                # From many addresses: a node bounds what each may have, and each has few ports.
                source = (f"127.0.0.{2 + number // PER_ADDRESS}", 0)
                sock = socket.create_connection(("127.0.0.1", port), 10, source)
                self._sockets[sock.fileno()] = sock
                speaker = WebSocketSpeaker(sock, [])
                if number % 2:
                    speaker.subscribe("mring")
                self._poll.register(sock, select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    def _answer(self) -> None:
        while self._running:
            for number, _ in self._poll.poll(0.5):
                data = self._sockets[number].recv(4096)
                if not data:
                    self.lost += 1
                    self._poll.unregister(number)
                elif data[0] == _PING:
                    payload = data[2 : 2 + (data[1] & 0x7F)]
                    self._sockets[number].sendall(pong(payload))

    def close(self) -> None:
        """End all."""
        self._running = False
        self._thread.join()
        for sock in self._sockets.values():
            sock.close()
        self._poll.close()
