"""One port for nodes, HTTP and WebSockets."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.http import SiteTestCase, complete, parse
from uring.peers.door import PeerOrHttpFactory
from uring.peers.limits import PeerLimits
from uring.wire.hello import MAGIC


class ClosableTransport(StringTransportWithDisconnection):
    """Is told when its connection ends, as the reactor tells real ones."""

    def connectionLost(self, reason: Any) -> None:
        self.connected = False


class Recorder(Protocol):
    """Keeps what it gets."""

    received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class DoorTests(SynchronousTestCase):
    """Who is behind the door, byte by byte."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.built: list[tuple[str, Recorder]] = []
        peers, http = (Factory.forProtocol(Recorder) for _ in range(2))
        peers.buildProtocol = lambda addr: self.build("peer")  # type: ignore[method-assign]
        http.buildProtocol = lambda addr: self.build("http")  # type: ignore[method-assign]
        self.factory = PeerOrHttpFactory(peers, http, self.clock)

    def build(self, kind: str) -> Recorder:
        self.built.append((kind, Recorder()))
        return self.built[-1][1]

    def connect(self, address: Any = None) -> ClosableTransport:
        transport = ClosableTransport()
        transport.protocol = self.factory.buildProtocol(address)
        transport.protocol.makeConnection(transport)
        return transport

    def test_peer(self) -> None:
        """After the magic, what follows is the peer's, however it was cut."""
        for cut in range(1, len(MAGIC) + 3):
            transport, data = self.connect(), MAGIC + b"rest"
            transport.protocol.dataReceived(data[:cut])
            transport.protocol.dataReceived(data[cut:])
            kind, recorder = self.built[-1]
            self.assertEqual((kind, recorder.received), ("peer", b"rest"), cut)

    def test_http(self) -> None:
        """As soon as a byte differs from the magic it is HTTP, from its first byte on."""
        for data in (b"GET / HTTP/1.1\r\n", b"URING / HTTP/1.1\r\n", b"U\r\n", b"\x00\x03\x01"):
            transport = self.connect()
            for byte in data:
                transport.protocol.dataReceived(bytes((byte,)))
            kind, recorder = self.built[-1]
            self.assertEqual((kind, recorder.received), ("http", data))

    def test_tls_where_there_is_none(self) -> None:
        """Who speaks TLS to a port without it is told so at once, not left waiting."""
        transport = self.connect()
        transport.protocol.dataReceived(b"\x16\x03\x01\x02")
        self.assertEqual(self.built, [])
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d\r\n" % len(body), head + b"\r\n")
        self.assertIn(b"use http://", body)
        self.assertTrue(transport.disconnecting or not transport.connected)

    def test_silence(self) -> None:
        """A connection that does not say what it is is closed; one that did is left alone."""
        silent, partial, known = self.connect(), self.connect(), self.connect()
        partial.protocol.dataReceived(MAGIC[:3])
        known.protocol.dataReceived(b"G")
        self.clock.advance(PeerLimits().silence_seconds)
        self.assertEqual(
            [each.connected for each in (silent, partial, known)], [False, False, True]
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_from_one_address(self) -> None:
        """One address may have so many clients, whatever becomes of their protocols; peers more."""
        self.factory.limits = PeerLimits(clients_per_address=2)
        address = IPv4Address("TCP", "10.0.0.9", 1)
        clients = [self.connect(address) for _ in range(3)]
        for each in clients:
            each.protocol.dataReceived(b"GET")
        self.assertEqual([each.connected for each in clients], [True, True, False])
        peer = self.connect(address)
        peer.protocol.dataReceived(MAGIC)
        elsewhere = self.connect(IPv4Address("TCP", "10.0.0.8", 1))
        elsewhere.protocol.dataReceived(b"GET")
        self.assertTrue(peer.connected and elsewhere.connected)
        clients[0].protocol = Recorder()  # as a WebSocket takes over
        clients[0].connectionLost(Failure(ConnectionDone()))
        again = self.connect(address)
        again.protocol.dataReceived(b"GET")
        self.assertTrue(again.connected)

    def test_many_that_say_nothing(self) -> None:
        """Silent connections never keep out those who say what they are: the oldest makes room."""
        self.factory.limits = PeerLimits(undecided=3)
        silent = [self.connect() for _ in range(5)]
        self.assertEqual([each.connected for each in silent], [False, False, True, True, True])
        peer = self.connect()
        peer.protocol.dataReceived(MAGIC)
        self.assertTrue(peer.connected)
        self.assertEqual(len(self.factory.undecided), 2)

    def test_full_house(self) -> None:
        """Who cannot be served is disconnected."""
        self.factory.http.buildProtocol = lambda addr: None
        transport = self.connect()
        transport.protocol.dataReceived(b"GET")
        self.assertFalse(transport.connected)


class SharedPortTests(SiteTestCase):
    """A real site behind the door."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.peer = Recorder()
        peers: Any = Factory.forProtocol(Recorder)
        peers.buildProtocol = lambda addr: self.peer
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        self.shared = await endpoint.listen(PeerOrHttpFactory(peers, self.site, self.clock))
        self.number = self.shared.getHost().port

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.shared.stopListening()
        await super().tearDown()

    async def test_everybody_comes_in(self) -> None:
        """A peer, a request byte by byte and a WebSocket are served at the same port."""
        peer = await self.connect()
        peer.write(MAGIC + b"hello")
        client = await self.connect()
        for byte in b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n":
            client.write(bytes((byte,)))
        self.assertEqual(parse(await client.until(complete)).code, 200)
        socket = await self.websocket()
        reply = await socket.ask({"Put": {"rid": 1, "key": "k", "store": "v"}})
        self.assertEqual(reply["code"], 201)
        self.assertEqual(self.peer.received, b"hello")
        assert self.peer.transport is not None
        self.peer.transport.loseConnection()
        await peer.until_closed()
