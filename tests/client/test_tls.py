"""The client by TLS: whom it believes, and what it says when it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.trial.unittest import SynchronousTestCase

from contrib.certificates import Authority
from tests.support.http import SiteTestCase
from uring.client import Client
from uring.client.tls import Trust
from uring.errors import Unavailable, UringError
from uring.peers.door import PeerOrHttpFactory
from uring.peers.tls import ClientTls, Files


class SecureClientTests(SiteTestCase):
    """A site behind a door that speaks TLS."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.authority = Authority.create(Path(self.mktemp()).absolute())
        path = self.authority.issue("server", "localhost")
        tls = ClientTls(Files(str(path), str(path.with_suffix(".key"))))
        door = PeerOrHttpFactory(None, self.site, self.clock, tls)
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        self.door: Any = await endpoint.listen(door)
        self.opened: list[Client] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for client in self.opened:
            await client.close()
        await self.door.stopListening()
        await super().tearDown()

    def client(self, address: str, ca: Path | None) -> Client:
        port = self.door.getHost().port
        client = Client(f"{address}:{port}", ca=None if ca is None else str(ca), timeout=5.0)
        self.opened.append(client)
        return client

    async def refused(self, client: Client, *texts: str) -> None:
        """Nothing happened, and that is said, by REST and by WebSocket."""
        for work in (lambda: client.put("k", "v"), client.connect_websocket):
            try:
                await work()
            except UringError as error:
                self.assertIsInstance(error, Unavailable)
                self.assertTrue(any(text in str(error) for text in texts), str(error))
            else:
                self.fail("it was believed")
        self.assertEqual(self.gateway.applied, 0)

    async def test_rest_and_websocket(self) -> None:
        """Both speak TLS to a node whose certificate the authority has signed."""
        client = self.client("https://localhost", self.authority.path)
        await client.put("k", "v")
        self.assertEqual(await client.get("k"), "v")
        session = await client.connect_websocket()
        self.assertEqual(await session.get("k"), "v")
        await session.close()

    async def test_unknown_authority(self) -> None:
        """A certificate of another authority is not believed, nor is one that nobody knows."""
        other = Authority.create(Path(self.mktemp()), "other CA")
        await self.refused(
            self.client("https://localhost", other.path), "verify failed", "no WebSocket"
        )
        await self.refused(self.client("https://localhost", None), "verify failed", "no WebSocket")

    async def test_wrong_name(self) -> None:
        """A certificate for another name is not believed."""
        client = self.client("https://127.0.0.1", self.authority.path)
        await self.refused(client, "another name", "no WebSocket")


class TrustTests(SynchronousTestCase):
    """Files of authorities."""

    def test_files(self) -> None:
        """What holds no certificate is refused by its name."""
        path = Path(self.mktemp())
        self.assertIn("No such file", str(self.assertRaises(ValueError, Trust, str(path))))
        for content in ("", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"):
            path.write_text(content)
            self.assertIn(str(path), str(self.assertRaises(ValueError, Trust, str(path))))

    def test_several(self) -> None:
        """A file may hold more than one authority, as while they change."""
        one, two = (Authority.create(Path(self.mktemp()), name) for name in ("one", "two"))
        path = Path(self.mktemp())
        path.write_bytes(one.path.read_bytes() + two.path.read_bytes())
        Trust(str(path))
