"""Addresses as people write them."""

from __future__ import annotations

from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from uring.peers.address import advertised, client_endpoint, is_local, listener, parse
from uring.peers.tls import Files


class AddressTests(SynchronousTestCase):
    """host:port and endpoint strings."""

    def test_parse(self) -> None:
        """Names, IPv4 and bracketed IPv6 addresses have a port."""
        for text, expected in {
            "127.0.0.1:8080": ("127.0.0.1", 8080),
            "[::1]:65535": ("::1", 65535),
            "node-1.example:0": ("node-1.example", 0),
        }.items():
            self.assertEqual(parse(text), expected)

    def test_many_may_wait_to_be_accepted(self) -> None:
        """A thousand clients that come at once find room."""
        reactor = MemoryReactorClock()
        listener(reactor, "127.0.0.1:8080").endpoint.listen(Factory())
        ((_, _, backlog, _),) = reactor.tcpServers
        self.assertGreaterEqual(backlog, 1000)

    def test_nonsense(self) -> None:
        """What is no address is refused by a line that shows one."""
        for text in (
            "",
            ":1",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "a:1:2",
            "h ost:1",
            "::1:1",
        ):
            with self.assertRaisesRegex(ValueError, "127.0.0.1:8080"):
                parse(text)

    def test_endpoints(self) -> None:
        """Each form becomes the endpoint that fits it."""
        reactor = MemoryReactorClock()
        for text, kind in {
            "127.0.0.1:1": TCP4ClientEndpoint,
            "[::1]:1": TCP6ClientEndpoint,
            "node.example:1": HostnameEndpoint,
            "unix:/run/uring": UNIXClientEndpoint,
        }.items():
            self.assertIsInstance(client_endpoint(reactor, text), kind)
        for text, server in {
            "127.0.0.1:1": TCP4ServerEndpoint,
            "[::1]:1": TCP6ServerEndpoint,
            "tcp:8080:interface=127.0.0.1": TCP4ServerEndpoint,
        }.items():
            self.assertIsInstance(listener(reactor, text).endpoint, server)

    def test_ssl(self) -> None:
        """An ssl endpoint names its port and files; what it does not know is refused."""
        reactor = MemoryReactorClock()
        text = "ssl:8443:interface=10.0.0.7:privateKey=k.pem:certKey=c\\:1.pem:extraCertChain=x.pem"
        found = listener(reactor, text)
        self.assertEqual(found.files, Files("c:1.pem", "k.pem", chain="x.pem"))
        self.assertEqual(advertised(text), "10.0.0.7:8443")
        for wrong, expected in {
            "ssl:8443": "names no certificate",
            "ssl:8443:privateKey=k": "names no certificate",
            "ssl:privateKey=k:certKey=c": "has no port",
            "ssl:x:privateKey=k:certKey=c": "has no port",
            "ssl:65536:privateKey=k:certKey=c": "has no port",
            "ssl:8443:privateKey=k:certKey=c:sslmethod=SSLv3": "unknown sslmethod",
        }.items():
            with self.assertRaisesRegex(ValueError, expected):
                listener(reactor, wrong)

    def test_local(self) -> None:
        """Only loopback addresses and paths are known to be out of others' reach."""
        for text in (
            "127.0.0.1:8080",
            "127.8.9.1:8080",
            "[::1]:8080",
            "localhost:8080",
            "tcp:8080:interface=127.0.0.1",
            "tcp6:8080:interface=\\:\\:1",
            "ssl:8443:interface=localhost:privateKey=k:certKey=c",
            "unix:/run/uring",
        ):
            self.assertTrue(is_local(text), text)
        for text in (
            "0.0.0.0:8080",
            "[::]:8080",
            "10.0.0.7:8080",
            "localhost.example:8080",
            "node-1:8080",
            "tcp:8080",
            "tcp:8080:interface=10.0.0.7",
            "ssl:8443:privateKey=k:certKey=c",
            "systemd:domain=INET:index=0",
        ):
            self.assertFalse(is_local(text), text)

    def test_advertised(self) -> None:
        """What others dial is known for a certain interface and port only."""
        for text, expected in {
            "127.0.0.1:8080": "127.0.0.1:8080",
            "[::1]:8080": "[::1]:8080",
            "tcp:8080:interface=127.0.0.1": "127.0.0.1:8080",
            "tcp:port=8080:interface=10.0.0.7": "10.0.0.7:8080",
            "tcp6:8080:interface=\\:\\:1": "[::1]:8080",
        }.items():
            self.assertEqual(advertised(text), expected)
        for text in ("0.0.0.0:8080", "[::]:8080", "127.0.0.1:0", "tcp:8080", "unix:/run/uring"):
            with self.assertRaisesRegex(ValueError, "--advertise"):
                advertised(text)
