"""All tokens of role admin are lost: a new one, by way of one member's data directory."""

from __future__ import annotations

import sys

from twisted.internet.utils import getProcessOutputAndValue

from tests.integration.base import ProcessTestCase
from uring.client import Client
from uring.errors import Forbidden, Unauthorized
from uring.rescue import FILE


class RescueTests(ProcessTestCase):
    """Three members, of which one is restarted."""

    async def test_new_admin(self) -> None:
        """The new token is an admin's on every node; those of others stay as they were."""
        cluster = await self.formed(3)
        await self.leader(*cluster.clients)
        first = cluster.clients[0].rest
        lost = await first.add_token("admin", "lost")
        server = cluster.servers[1]
        endpoints = [each.address for each in cluster.servers]
        words = ["-m", "uring.recover", "--admin-token", "--id", "2"]
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            [*words, "--data-dir", str(server.data_dir)],
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        self.assertEqual(code, 0, err)
        token = out.decode().strip()
        async with Client(endpoints[0], token=token) as client:
            with self.assertRaises(Unauthorized):
                await client.tokens()
        await server.stop()
        server.start()
        for endpoint in endpoints:
            async with Client(endpoint, token=token) as client:

                async def admitted(client: Client = client) -> bool:
                    try:
                        return bool(await client.tokens())
                    except Unauthorized:
                        return False

                await self.until(admitted)
                names = {each["name"] for each in await client.tokens()}
                self.assertEqual(names, {"lost", "recovered"})
        async with Client(endpoints[2], token=token) as client:
            await client.remove_token(lost["id"])
            reader = await client.add_token("read", "app")

        async def gone() -> bool:
            return not (server.data_dir / FILE).exists()

        await self.until(gone)
        async with Client(endpoints[0], token=reader["token"]) as client:
            with self.assertRaises(Forbidden):
                await client.tokens()
