"""Clusters whose nodes prove who they are, and strangers that cannot."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import urllib.request
from collections.abc import Sequence
from typing import Any

from twisted.internet.threads import deferToThread

from contrib import RaftClient, UringServer
from contrib.certificates import Authority
from tests.integration.base import ProcessTestCase, free_ports


class ProtectionTestCase(ProcessTestCase):
    """Nodes with options of their own."""

    def node(self, node_id: int, ports: Sequence[int], *options: str) -> UringServer:
        port = ports[node_id - 1]
        peers = [f"127.0.0.1:{other}" for other in ports if other != port]
        server = self.server(node_id, port, peers, bootstrap=node_id == 1, options=options)
        server.start()
        return server

    def client(self, node_id: int, ports: Sequence[int]) -> RaftClient:
        client = RaftClient(ports[node_id - 1], node_id=node_id, reactor=self.reactor)
        self.clients.append(client)
        return client

    def lines(self, server: UringServer, text: str) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in server.output().splitlines() if line[:1] == "{"]
        return [entry for entry in entries if text in entry["message"]]

    async def joined(self, client: RaftClient, node_id: int) -> None:
        async def register() -> bool:
            await client.register(node_id)
            return True

        await self.until(register)

    async def said(self, server: UringServer, text: str) -> None:
        """Wait for ``server`` to say ``text``: once for each way to another, however often tried.

        There are three: it dials both of the others, and is dialled from their host.
        """

        async def found() -> list[dict[str, Any]]:
            return self.lines(server, text)

        said = [line["message"] for line in await self.until(found)]
        self.assertEqual(len(said), len(set(said)), said)
        self.assertLessEqual(len(said), 3, said)


class SecretTests(ProtectionTestCase):
    """A shared secret."""

    async def test_stranger(self) -> None:
        """Nodes with the secret form a cluster; one with another secret does not get in."""
        ports = free_ports(3)
        secret, other = self.directory / "secret", self.directory / "other"
        for path, text in ((secret, "correct horse battery staple"), (other, "x" * 20)):
            path.write_text(text)
            path.chmod(0o600)
        good = ("--peer-secret-file", str(secret))
        one = self.node(1, ports, *good)
        self.node(2, ports, *good)
        client = self.client(1, ports)
        await client.wait_until_up()
        await self.joined(client, 2)
        stranger = self.node(3, ports, "--peer-secret-file", str(other))
        await self.said(one, "it has not the secret")
        await self.said(stranger, "it has not the secret")
        self.assertNotIn(3, (await client.status())["connected"])
        self.assertNotIn("battery", one.output() + stranger.output())


class CertificateTests(ProtectionTestCase):
    """TLS between nodes and for clients, at one port."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority.create(self.directory / "pki")

    def tls(self, node_id: int) -> tuple[str, ...]:
        path = self.authority.issue(f"node-{node_id}", f"node-{node_id}.uring")
        words = ("--peer-ca", self.authority.path, "--peer-cert", path)
        return tuple(map(str, (*words, "--peer-key", path.with_suffix(".key"))))

    async def test_members_and_a_stranger(self) -> None:
        """Certified nodes form a cluster; a certificate of another authority does not get in."""
        ports = free_ports(3)
        one = self.node(1, ports, *self.tls(1))
        self.node(2, ports, *self.tls(2))
        client = self.client(1, ports)
        await client.wait_until_up()
        await self.joined(client, 2)
        await client.put("k", "v")
        path = Authority.create(self.directory / "evil", "evil CA").issue("node-3", "node-3.uring")
        files = ("--peer-ca", self.authority.path, "--peer-cert", path)
        stranger = self.node(3, ports, *map(str, (*files, "--peer-key", path.with_suffix(".key"))))
        await self.said(one, "the certificate of CN=node-3 is of an unknown authority")
        await self.said(stranger, "the other side does not believe this node's certificate")
        self.assertEqual((await client.status())["connected"], [2])

    async def test_clients_by_tls_and_new_certificates(self) -> None:
        """Clients come by TLS at the same port; SIGHUP makes the node show a new certificate."""
        ports = free_ports(2)
        path = self.authority.issue("server", "localhost")
        key = path.with_suffix(".key")
        endpoint = f"ssl:{ports[0]}:interface=127.0.0.1:privateKey={key}:certKey={path}"
        words = ["-e", endpoint, *self.tls(1)]
        one = self.node(1, ports, *words)
        two = self.node(2, ports, *self.tls(2))
        context = ssl.create_default_context(cafile=str(self.authority.path))

        def get() -> Any:
            url = f"https://localhost:{ports[0]}/status"
            with urllib.request.urlopen(url, timeout=5, context=context) as response:
                return json.load(response)

        async def connected() -> bool:
            try:
                status = await deferToThread(get)
            except OSError:
                return False
            return bool(status["connected"] == [2])

        await self.until(connected)

        def serial() -> str:
            with context.wrap_socket(socket.socket(), server_hostname="localhost") as client:
                client.settimeout(5)
                client.connect(("127.0.0.1", ports[0]))
                return str(client.getpeercert()["serialNumber"])  # type: ignore[index]

        before = await deferToThread(serial)
        self.authority.issue("server", "localhost")
        one.signal("HUP")
        await self.until(lambda: self._differs(serial, before))
        path.write_text("no certificate")
        one.signal("HUP")
        await self.said(one, "the old certificate stays in use")
        self.assertTrue(await connected())
        self.assertTrue(one.running and two.running)

    async def _differs(self, serial: Any, before: str) -> bool:
        return bool(await deferToThread(serial) != before)

    async def test_signal_without_certificates(self) -> None:
        """Without anything to read again SIGHUP ends a node, as a closed terminal should."""
        ports = free_ports(1)
        one = self.node(1, ports)
        await self.client(1, ports).wait_until_up()
        one.signal("HUP")
        self.assertIn(await one.ended(), (None, -signal.SIGHUP))
