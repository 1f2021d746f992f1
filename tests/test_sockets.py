"""Sending at once what a socket takes at once, and only where that is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

from contrib.certificates import Authority
from tests.support.http import RawClient
from uring.peers.tls import ClientTls, Files
from uring.sockets import write_now

WORD = b"a word in the clear"


class Speaker(Protocol):
    """Says one word as soon as somebody is there."""

    tls: Any = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if self.tls is not None:
            transport.startTLS(self.tls)
        write_now(transport, WORD)
        if self.tls is None and hasattr(transport, "dataBuffer"):
            self.left = transport.dataBuffer == b""


class WriteNowTests(TestCase):
    """Plain connections, and those that are not."""

    timeout = 20

    async def said(self, factory: Any) -> bytes:
        """Return the first bytes that a client gets, who says what a TLS client would."""
        from twisted.internet import reactor

        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port: Any = await endpoint.listen(factory)
        number = port.getHost().port
        client: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", number).connect(
            Factory.forProtocol(RawClient)
        )
        client.write(b"\x16\x03\x01\x00\x05junk!")  # TLS answers by an alert
        received: bytes = await client.until(lambda data: len(data) >= 5)
        client.transport.abortConnection()
        await client.until_closed()
        await port.stopListening()
        return received

    def tls(self) -> ClientTls:
        path = Authority.create(Path(self.mktemp())).issue("server", "localhost")
        return ClientTls(Files(str(path), str(path.with_suffix(".key"))))

    async def test_plain(self) -> None:
        """On a plain connection it has left before the reactor turns again."""
        factory = Factory.forProtocol(Speaker)
        built: list[Any] = []
        build = factory.buildProtocol
        factory.buildProtocol = lambda addr: built.append(build(addr)) or built[-1]  # type: ignore
        self.assertEqual(await self.said(factory), WORD)
        self.assertTrue(built[0].left)

    async def test_tls_around_it(self) -> None:
        """What TLS wraps passes for a plain connection; nothing goes past the encryption."""
        factory = TLSMemoryBIOFactory(self.tls(), False, Factory.forProtocol(Speaker))
        self.assertNotIn(WORD, await self.said(factory))

    async def test_tls_that_was_started(self) -> None:
        """Nor does it where a plain connection has become an encrypted one."""
        self.patch(Speaker, "tls", self.tls())
        self.assertNotIn(WORD, await self.said(Factory.forProtocol(Speaker)))
