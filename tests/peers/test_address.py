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
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from uring.peers.address import advertised, client_endpoint, parse, server_endpoint


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
            self.assertIsInstance(server_endpoint(reactor, text), server)

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
