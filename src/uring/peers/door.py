"""One listening port for nodes and for HTTP, told apart by a connection's first bytes."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from uring.wire.hello import MAGIC

SILENCE_SECONDS = 5.0
"""A connection that has not said what it is by then is closed."""

TLS_HANDSHAKE = b"\x16"
"""The first byte of TLS."""
USE_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: 36\r\n\r\nThis port speaks TLS: use https://.\r\n"
)


class Door(Protocol):
    """Reads until it is clear who is there, then hands the transport over for good."""

    def __init__(self, factory: PeerOrHttpFactory, address: IAddress | None) -> None:
        self._factory = factory
        self._address = address
        self._received = b""
        self._timeout: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._timeout = self._factory.clock.callLater(SILENCE_SECONDS, self._too_late)

    def _too_late(self) -> None:
        self._timeout = None
        self.transport.abortConnection()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if self._factory.peers is None:
            self._client()
        elif self._received.startswith(MAGIC):
            self._hand_over(self._factory.peers, self._received[len(MAGIC) :])
        elif not MAGIC.startswith(self._received):
            self._client()

    def _client(self) -> None:
        factory, received = self._factory, self._received
        if factory.https is None:
            self._hand_over(factory.http, received)
        elif received.startswith(TLS_HANDSHAKE):
            self._hand_over(factory.https, received)
        else:
            transport: Any = self.transport
            transport.write(USE_TLS)
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cancel()

    def _cancel(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _hand_over(self, factory: Any, received: bytes) -> None:
        self._cancel()
        transport: Any = self.transport
        protocol = factory.buildProtocol(self._address)
        if protocol is None:
            transport.abortConnection()
            return
        if isinstance(transport, ProtocolWrapper):  # TLS
            transport.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        protocol.makeConnection(transport)
        if received:
            # Not always ``protocol``: a peer's may have put TLS in between.
            (transport.protocol if protocol.transport is transport else protocol).dataReceived(
                received
            )


class PeerOrHttpFactory(Factory):
    """Builds doors.  ``peers`` (None where no peers come) and ``http`` are the factories behind.

    With ``https``, which starts TLS for a client, clients that come without are told to use it.
    """

    noisy = False

    def __init__(self, peers: Any, http: Any, clock: Any, https: Any = None) -> None:
        self.peers = peers
        self.http = http
        self.https = None
        self.clock = clock
        if https is not None:
            self.https = TLSMemoryBIOFactory(https, False, http, clock=clock)

    def buildProtocol(self, addr: IAddress | None) -> Door:
        door = Door(self, addr)
        door.factory = self
        return door

    def doStart(self) -> None:
        self.http.doStart()
        super().doStart()

    def doStop(self) -> None:
        super().doStop()
        self.http.doStop()
