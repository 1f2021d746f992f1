"""The way to the cluster: one WebSocket, to whichever node answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock

from uring.client.answers import Reply
from uring.client.tls import Trust
from uring.client.websocket import WebSocketSession, connect
from uring.errors import UringError


@define(eq=False)
class Link:
    """Asks, and listens to the ring.  A socket that fails is replaced by one to the next node."""

    reactor: Any
    endpoints: Sequence[str]
    timeout: float
    heard: Callable[[dict[str, Any]], None]
    """Called with each event of the ring;"""
    missed: Callable[[], None]
    """and when some may have been missed: the socket is a new one."""
    trust: Trust | None = None
    token: str | None = None
    _socket: WebSocketSession | None = field(default=None, init=False)
    _place: int = field(default=0, init=False)
    _opening: DeferredLock = field(factory=DeferredLock, init=False)

    async def ask(self, command: str, **fields: Any) -> Reply:
        """Return the reply to a command of MRing, whatever its code.

        Raises a UringError where there is none: what was asked may have been done, and the next
        call goes to another node.
        """
        socket = await self._open()
        try:
            reply: Reply = await socket.request_as("MRing", command, **fields)
        except UringError:
            self.drop(socket)
            raise
        if reply.code in (503, 504) and "try again later" not in str(reply.error):
            self.drop(socket)  # it may be cut off; another node may know a leader
        return reply

    async def _open(self) -> WebSocketSession:
        await self._opening.acquire()
        try:
            if self._socket is None:
                address = self.endpoints[self._place % len(self.endpoints)]
                self._place += 1
                self._socket = await connect(
                    self.reactor, address, self.timeout, self.trust, self.token
                )
                self._socket.listen("mring", self.heard)
                self._socket.closed.addBoth(self._closed, self._socket)
                self.missed()
            return self._socket
        finally:
            self._opening.release()

    def _closed(self, result: object, socket: WebSocketSession) -> None:
        self.drop(socket)

    def drop(self, socket: WebSocketSession | None = None) -> None:
        """Let the next call open another socket."""
        if socket is None:
            socket = self._socket
        if socket is not None and socket is self._socket:
            self._socket = None
            self.missed()
        if socket is not None:
            Deferred.fromCoroutine(socket.close()).addErrback(lambda failure: None)
