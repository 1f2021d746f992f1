"""The session of the original's README, and what it promises."""

from __future__ import annotations

from contrib import RaftClient
from tests.integration.base import ProcessTestCase, free_ports


class StoryTests(ProcessTestCase):
    """From bootstrap to the third kill of a leader."""

    async def test_three_leaders_killed(self) -> None:
        """Leaders are killed and restarted with one peer and no -b; no value is ever lost."""
        cluster = self.cluster(3)
        await cluster.start()
        clients = dict(enumerate(cluster.clients, 1))
        addresses = {server.node_id: server.address for server in cluster.servers}
        servers = {server.node_id: server for server in cluster.servers}
        for node_id in (2, 3):
            await self.added(clients[1], node_id)
        written: dict[str, str] = {}
        for round_ in range(3):
            leader = await self.leader(*clients.values())
            key = f"round-{round_}"
            await clients[leader].put(key, str(round_))
            written[key] = str(round_)
            await servers[leader].die()
            others = [node_id for node_id in clients if node_id != leader]
            await self.other_leader(clients[others[0]], leader)
            for node_id in others:
                for each, value in written.items():
                    self.assertEqual(await clients[node_id].get(each), value)
            await self.put(clients[others[1]], f"without-{round_}", "x")
            written[f"without-{round_}"] = "x"
            port = int(addresses[leader].rpartition(":")[2])
            again = servers[leader] = self.server(leader, port, [addresses[others[0]]])
            again.start()
            await clients[leader].wait_until_up()
            await self.leader(*clients.values())
            for each, value in written.items():
                self.assertEqual(await clients[leader].get(each), value)

    async def added(self, client: RaftClient, node_id: int) -> None:
        async def add() -> bool:
            await client.register(node_id)
            return True

        await self.until(add)

    async def put(self, client: RaftClient, key: str, value: str) -> None:
        async def write() -> bool:
            await client.put(key, value)
            return True

        await self.until(write)

    async def other_leader(self, client: RaftClient, leader: int) -> None:
        async def changed() -> bool:
            return (await client.status())["leader"] not in (None, leader)

        await self.until(changed)

    async def test_bootstrap_again_is_harmless(self) -> None:
        """A founder that is restarted with -b keeps its cluster, its members and its data."""
        cluster = await self.formed(2)
        founder, client = cluster.servers[0], cluster.clients[0]
        before = await client.status()
        await client.put("beep", "boop")
        await founder.die()
        founder.start()
        await client.wait_until_up()
        await self.leader(*cluster.clients)
        after = await client.status()
        self.assertEqual(await client.get("beep"), "boop")
        self.assertEqual(after["cluster"], before["cluster"])
        self.assertEqual(after["members"], before["members"])

    async def test_first_write_of_a_fresh_cluster(self) -> None:
        """The founder of a cluster answers its first write; no time-out has to pass before."""
        (port,) = free_ports(1)
        server = self.server(1, port, [], bootstrap=True)
        server.start()
        client = RaftClient(port, host="127.0.0.1", node_id=1, reactor=self.reactor)
        self.clients.append(client)
        await client.wait_until_up()
        await self.put(client, "beep", "boop")
        self.assertEqual(await client.get("beep"), "boop")


class KillTests(ProcessTestCase):
    """kill -9 at any moment."""

    async def test_nothing_acknowledged_is_lost(self) -> None:
        """A client writes while one node after the other is killed; each answered write stays."""
        cluster = await self.formed(3)
        acknowledged: list[int] = []
        attempt = 0
        for kill in range(4):
            victim = cluster.servers[kill % 3]
            target = len(acknowledged) + 30
            while len(acknowledged) < target:
                if len(acknowledged) == target - 15 and victim.running:
                    await victim.die()
                client = cluster.clients[attempt % 3]
                attempt += 1
                if not cluster.servers[(attempt - 1) % 3].running:
                    continue

                async def write(number: int = attempt, client: RaftClient = client) -> bool:
                    await client.put(f"k{number}", str(number))
                    return True

                await self.until(write)
                acknowledged.append(attempt)
            victim.start()
            await cluster.clients[kill % 3].wait_until_up()
        await self.leader(*cluster.clients)
        for client in cluster.clients:
            found = [await client.get(f"k{number}") for number in acknowledged]
            self.assertEqual(found, [str(number) for number in acknowledged])
