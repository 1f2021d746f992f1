"""A cluster whose every node is replaced while clients write."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from contrib import RaftClient
from tests.integration.base import ProcessTestCase, free_ports
from uring.errors import UringError


class ReplacementTests(ProcessTestCase):
    """Five members leave, five new ones come."""

    timeout = 150

    async def test_five_by_five(self) -> None:
        """Every member is replaced by a new node; no acknowledged write is lost on the way."""
        cluster = await self.formed(5)
        clients = {client.node_id or 0: client for client in cluster.clients}
        servers = {server.node_id: server for server in cluster.servers}
        members = sorted(clients)
        acknowledged: list[int] = []
        failures: list[UringError] = []
        busy = True

        async def write() -> None:
            number = 0
            while busy:
                number += 1
                try:
                    await clients[members[number % len(members)]].put(f"k{number}", str(number))
                except UringError as error:
                    failures.append(error)
                    await deferLater(self.reactor, 0.02)
                else:
                    acknowledged.append(number)

        writing = Deferred.fromCoroutine(write())
        try:
            for old, port in zip(sorted(clients), free_ports(5), strict=True):
                new = old + 5
                peer = servers[members[-1]].address
                server = servers[new] = self.server(new, port, [peer])
                server.start()
                client = RaftClient(port, host="127.0.0.1", node_id=new, reactor=self.reactor)
                self.clients.append(client)
                await client.wait_until_up()
                await self.change(clients[members[-1]], "add", new)
                clients[new] = client
                members.append(new)
                await self.change(clients[new], "remove", old)
                members.remove(old)
                await servers[old].stop()
        finally:
            busy = False
            await writing
        rest = [clients[member] for member in members]
        await self.leader(*rest)
        self.assertEqual(members, [6, 7, 8, 9, 10])
        for client in rest:
            self.assertEqual(sorted(await client.rest.members()), members)
        for number in acknowledged:
            self.assertEqual(await rest[0].get(f"k{number}"), str(number))
        self.assertGreater(len(acknowledged), 100)
        self.assertEqual({error.code for error in failures} - {503, 504}, set())

    async def change(self, client: RaftClient, what: str, node_id: int) -> None:
        async def done() -> bool:
            if what == "add":
                await client.register(node_id)
                return True
            if node_id in await client.rest.members():
                await client.rest.remove_member(node_id)
            return True

        await self.until(done)
