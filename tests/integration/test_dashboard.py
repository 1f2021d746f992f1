"""The dashboard in a real browser: what it shows, and what it must not run."""

from __future__ import annotations

from tests.integration.base import ProcessTestCase
from tests.support.browser import dom, find_browser
from uring.client import Client

EVIL = "<img src=x onerror=document.title='owned'>"


class DashboardTests(ProcessTestCase):
    async def test_page(self) -> None:
        """Members, ring and keys are there, and a key that is markup stays a text."""
        find_browser()
        cluster = await self.formed(2)
        client = Client(cluster.servers[0].address)
        self.addCleanup(lambda: client.close())
        await client.put("beep", "boop")
        await client.put(EVIL, EVIL)
        await client.set_ring_size(8)
        for name in ("n1", EVIL[:20]):
            await client.add_ring_node(name)
        page = await dom(f"http://{cluster.servers[1].address}/", str(self.directory / "profile"))
        self.assertIn("2 of 2 voters heard", page)
        self.assertIn("node 1 leads", page)
        for server in cluster.servers:
            self.assertIn(server.address, page)
        self.assertIn(">boop<", page)
        self.assertIn(">n1<", page)
        self.assertIn("<title>uring</title>", page)
        self.assertIn("&lt;img src=x", page)
        self.assertNotIn("<img", page)

    async def test_token(self) -> None:
        """Where tokens are needed the page is there, asks for one, and shows nothing else."""
        find_browser()
        cluster = await self.formed(1)
        address = cluster.servers[0].address
        client = Client(address)
        self.addCleanup(lambda: client.close())
        await client.put("beep", "boop")
        before = await dom(f"http://{address}/", str(self.directory / "profile"))
        self.assertIn('<form id="access" hidden="">', before)
        self.assertIn(">boop<", before)
        await client.add_token("admin")
        page = await dom(f"http://{address}/", str(self.directory / "profile"))
        self.assertIn('<form id="access">', page)
        self.assertIn("who are you?", page)
        self.assertNotIn("boop", page)
