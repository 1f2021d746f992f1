"""Starting and stopping: exit codes, and the one line that says what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

from contrib import RaftClient
from tests.integration.base import ProcessTestCase, free_ports
from uring.errors import OutcomeUnknown, Unavailable
from uring.store.directory import open_directory

SOURCE = Path(__file__).parents[2] / "src"
RUNNERS = {
    "twist": ["-m", "twisted", "uring"],
    "twistd": [
        "-c",
        "from twisted.scripts.twistd import run; run()",
        "-n",
        "--pidfile=",
        "uring",
    ],
}


class RefusalTests(ProcessTestCase):
    """What a node refuses to start with."""

    async def refused(self, text: str, *words: str) -> None:
        """Both runners end with a non-zero code and say ``text`` in one line."""
        for runner, start in RUNNERS.items():
            environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
            out, err, code = await getProcessOutputAndValue(
                sys.executable, [*start, *words], env=environment, path=str(self.directory)
            )
            lines = [line for line in (out + err).decode().splitlines() if text in line]
            self.assertEqual(len(lines), 1, f"{runner}: {(out + err).decode()}")
            self.assertNotEqual(code, 0, runner)
            self.assertNotIn(b"Traceback", out + err, runner)

    def data(self, node_id: int = 1) -> str:
        path = self.directory / "data"
        open_directory(path, node_id).close()
        return str(path)

    async def test_directory_of_another_node(self) -> None:
        """The directory of node 1 is not used by node 2."""
        (port,) = free_ports(1)
        await self.refused(
            "belongs to node 1", "-e", f"127.0.0.1:{port}", "-i", "2", "-d", self.data()
        )

    async def test_directory_in_use(self) -> None:
        """Two processes do not share a directory."""
        (port,) = free_ports(1)
        path = self.directory / "data"
        directory = open_directory(path, 1)
        try:
            await self.refused("in use", "-e", f"127.0.0.1:{port}", "-d", str(path))
        finally:
            directory.close()

    async def test_damaged_directory(self) -> None:
        """A directory with a damaged file is left as it is."""
        (port,) = free_ports(1)
        path = Path(self.data())
        for table in [*path.glob("log/*.ldb"), *path.glob("log/*.log")]:
            content = bytearray(table.read_bytes())
            if len(content) > 40:
                content[20] ^= 0xFF
                table.write_bytes(content)
        await self.refused("is damaged", "-e", f"127.0.0.1:{port}", "-d", str(path))

    async def test_directory_that_is_none(self) -> None:
        """A file is no data directory."""
        (port,) = free_ports(1)
        (self.directory / "data").write_text("hello")
        await self.refused("is not a directory", "-e", f"127.0.0.1:{port}", "-d", "data")

    async def test_port_in_use(self) -> None:
        """A node that cannot listen does not live on."""
        (port,) = free_ports(1)
        server = self.server(1, port, [], bootstrap=True)
        server.start()
        client = RaftClient(port, host="127.0.0.1", node_id=1, reactor=self.reactor)
        self.clients.append(client)
        await client.wait_until_up()
        await self.refused("cannot listen", "-e", f"127.0.0.1:{port}", "-d", "other")

    async def test_address_that_cannot_be_dialled(self) -> None:
        """A node that listens everywhere must say how it is reached."""
        (port,) = free_ports(1)
        await self.refused("--advertise", "-e", f"0.0.0.0:{port}", "-d", "data", "--insecure")


class StopTests(ProcessTestCase):
    """SIGTERM."""

    async def test_exit_code_and_time(self) -> None:
        """Every node of a cluster exits with 0 within three seconds, the leader too."""
        cluster = await self.formed(3)
        for server in cluster.servers:
            begin = self.reactor.seconds()
            self.assertEqual(await server.stop(), 0)
            self.assertLess(self.reactor.seconds() - begin, 3.5)

    async def test_leader_hands_over(self) -> None:
        """When the leader is told to stop another one leads, and nothing is lost."""
        cluster = await self.formed(3)
        leader = await self.leader(*cluster.clients)
        await cluster.clients[leader - 1].put("beep", "boop")
        self.assertEqual(await cluster.servers[leader - 1].stop(), 0)
        rest = [client for client in cluster.clients if client.node_id != leader]
        status = await rest[0].status()
        self.assertNotIn(status["leader"], (None, leader))
        self.assertEqual(await rest[1].get("beep"), "boop")

    async def test_who_waits_is_answered(self) -> None:
        """A write that cannot be decided any more is answered when the node stops."""
        cluster = await self.formed(3)
        leader = await self.leader(*cluster.clients)
        for server in cluster.servers:
            if server.node_id != leader:
                server.signal("STOP")
        client = cluster.clients[leader - 1]
        waiting = Deferred.fromCoroutine(client.put("beep", "boop"))
        await client.status()
        code = await cluster.servers[leader - 1].stop()
        for server in cluster.servers:
            server.signal("CONT")
        self.assertEqual(code, 0)
        with self.assertRaises((OutcomeUnknown, Unavailable)):
            await waiting


class DoorTests(ProcessTestCase):
    """Every node is a door to the same cluster."""

    async def test_subscription_on_another_node(self) -> None:
        """What is written through one follower is seen by a subscriber of another."""
        cluster = await self.formed(3)
        leader = await self.leader(*cluster.clients)
        writer, listener = [each for each in cluster.clients if each.node_id != leader]
        socket = await listener.rest.connect_websocket()
        events = socket.subscribe("kv")
        await socket.get("nothing")
        await writer.put("snot", "badger")
        event = await events.__anext__()
        expected = {"Put": {"scope": 0, "key": "snot", "new": "badger", "old": None}}
        self.assertEqual(event, expected)
        await socket.close()

    async def test_ring_through_any_node(self) -> None:
        """The ring is the same on every node."""
        cluster = await self.formed(3)
        await cluster.clients[1].rest.set_ring_size(8)
        for client, name in zip(cluster.clients, ("n1", "n2", "n3"), strict=True):
            await client.rest.add_ring_node(name)
        rings = [await client.rest.ring_nodes() for client in cluster.clients]
        self.assertEqual(rings[0], rings[1])
        self.assertEqual(rings[0], rings[2])
        self.assertEqual(sorted(len(node.vnodes) for node in rings[0]), [2, 3, 3])
        self.assertEqual(sorted(v for node in rings[0] for v in node.vnodes), list(range(8)))
