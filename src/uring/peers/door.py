"""One listening port for nodes and for HTTP, told apart by a connection's first bytes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from uring.peers.limits import PeerLimits
from uring.turns import Turns
from uring.wire.hello import MAGIC

TLS_HANDSHAKE = b"\x16"
"""The first byte of TLS."""


def _refusal(text: bytes) -> bytes:
    return (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
    )


USE_TLS = _refusal(b"This port speaks TLS: use https://.\r\n")
USE_HTTP = _refusal(b"This port does not speak TLS: use http://.\r\n")


class Door(Protocol):
    """Reads until it is clear who is there, then hands the transport over for good."""

    def __init__(self, factory: PeerOrHttpFactory, address: IAddress | None) -> None:
        self._factory = factory
        self._address = address
        self._received = b""
        self._timeout: IDelayedCall | None = None
        self._is_queued = False
        """Whether it is a client that waits for its turn."""

    def connectionMade(self) -> None:
        factory = self._factory
        self._timeout = factory.clock.callLater(factory.limits.silence_seconds, self.turn_out)
        factory.entered(self)

    def turn_out(self) -> None:
        """Close: it has not said what it is."""
        self._cancel()
        self.transport.abortConnection()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if self._is_queued:
            return
        if self._factory.peers is None:
            self._client()
        elif self._received.startswith(MAGIC):
            self._hand_over(self._factory.peers, self._received[len(MAGIC) :])
        elif not MAGIC.startswith(self._received):
            self._client()

    def _client(self) -> None:
        """Let a client in; a crowd of them in several turns, since TLS takes a millisecond each."""
        transport: Any = self.transport
        turns = self._factory.turns
        if not turns.enter():
            self._is_queued = True
            transport.pauseProducing()
            turns.later(self._have_turn, True)
            return
        try:
            self._let_in()
        finally:
            turns.leave()

    def _have_turn(self) -> None:
        self._is_queued = False
        if self.connected:
            transport: Any = self.transport
            transport.resumeProducing()
            self._client()

    def _let_in(self) -> None:
        factory, received = self._factory, self._received
        transport: Any = self.transport
        if not factory.let_in(self._address, transport):
            self._cancel()
            transport.abortConnection()
        elif received.startswith(TLS_HANDSHAKE) == (factory.https is not None):
            self._hand_over(factory.https or factory.http, received)
        else:
            self._cancel()
            transport.write(USE_HTTP if factory.https is None else USE_TLS)
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.connected = 0
        self._cancel()

    def _cancel(self) -> None:
        self._factory.undecided.pop(self, None)
        if self._timeout is not None:
            if self._timeout.active():
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

    def __init__(
        self,
        peers: Any,
        http: Any,
        clock: Any,
        https: Any = None,
        limits: PeerLimits | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.peers = peers
        self.limits = PeerLimits() if limits is None else limits
        self.turns = Turns(clock) if turns is None else turns
        self.undecided: dict[Door, None] = {}
        """Those of whom nothing is known yet, oldest first."""
        self._clients: Counter[str] = Counter()
        """Clients' connections by address."""
        self.http = http
        self.https = None
        self.clock = clock
        if https is not None:
            from twisted.protocols.tls import TLSMemoryBIOFactory  # see uring.lean

            self.https = TLSMemoryBIOFactory(https, False, http, clock=clock)

    def entered(self, door: Door) -> None:
        """Keep room for those who come and say what they are, as peers do at once."""
        self.undecided[door] = None
        if len(self.undecided) > self.limits.undecided:
            next(iter(self.undecided)).turn_out()

    def let_in(self, address: IAddress | None, transport: Any) -> bool:
        """Count one client's connection until it ends; False if its address has too many."""
        host = getattr(address, "host", None)
        if host is None:  # a path of this machine
            return True
        if self._clients[host] >= self.limits.clients_per_address:
            return False
        self._clients[host] += 1
        # Protocols take over from each other, so only the transport knows when all is over.
        lost = transport.connectionLost

        def gone(reason: Any) -> None:
            # Or the transport refers to itself: thousands would wait for the garbage collector.
            del transport.connectionLost
            self._clients[host] -= 1
            if not self._clients[host]:
                del self._clients[host]
            lost(reason)

        transport.connectionLost = gone
        return True

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
