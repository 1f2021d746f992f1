"""Leases over real processes: keys go with them, and not before, whoever leads."""

from __future__ import annotations

from tests.integration.base import ProcessTestCase
from uring.client import Client

TTL = 3.0


class LeaseTests(ProcessTestCase):
    async def test_leader_is_killed(self) -> None:
        """A lease that is renewed outlives its leader; one that is not ends, never too early."""
        cluster = await self.formed(3)
        client = Client(*(server.address for server in cluster.servers), patience=30.0, repeat=True)
        self.addCleanup(lambda: client.close())
        kept, left = await client.grant(TTL), await client.grant(TTL)
        await client.store("kept", "1", lease=kept)
        await client.store("left", "1", lease=left)
        leader = await self.leader(*cluster.clients)
        (server,) = (each for each in cluster.servers if each.node_id == leader)
        await server.die()
        renewed = self.reactor.seconds()
        await client.keep_alive(left)
        answered = self.reactor.seconds()

        async def gone() -> bool:
            await client.keep_alive(kept)
            there = await client.look("left")
            if there is not None:
                return False
            self.assertGreaterEqual(self.reactor.seconds() - renewed, TTL)
            return True

        await self.until(gone, seconds=answered - renewed + 10 * TTL)
        self.assertIsNotNone(await client.look("kept"))
        self.assertEqual(await client.lease_keys(kept), ["kept"])
