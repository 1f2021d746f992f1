"""The dashboard in a real browser: what it shows, what can be done with it, what must not run."""

from __future__ import annotations

import json

from tests.integration.base import ProcessTestCase
from tests.support.browser import Browser, Page, find_browser
from uring.client import Client

EVIL = "<img src=x onerror=document.title='owned'>"
PHONE = (390, 844)


class BrowserTestCase(ProcessTestCase):
    """Looks at nodes with a browser that ends with the test."""

    timeout = 150

    def setUp(self) -> None:
        find_browser()
        super().setUp()

    async def opened(self, address: str) -> Page:
        """Return the dashboard of the node at ``address``."""
        browser = Browser(self.reactor, self.directory)
        self.addCleanup(browser.kill)
        return await browser.open(f"http://{address}/")

    def client(self, address: str, token: str | None = None) -> Client:
        """Return a client that is closed with the test."""
        client = Client(address, token=token)
        self.addCleanup(lambda: client.close())
        return client


class DashboardTests(BrowserTestCase):
    async def test_page(self) -> None:
        """Members, ring and keys are there, and a key that is markup stays a text."""
        cluster = await self.formed(2)
        client = self.client(cluster.servers[0].address)
        await client.put("beep", "boop")
        await client.put(EVIL, EVIL)
        await client.set_ring_size(8)
        for name in ("n1", EVIL[:20]):
            await client.add_ring_node(name)
        page = await self.opened(cluster.servers[1].address)
        addresses = [server.address for server in cluster.servers]
        await page.until_text("2 of 2 voters heard", "node 1 leads", "boop", "n1", *addresses)
        await page.until_text(EVIL, EVIL[:20])
        self.assertEqual(await page.evaluate("document.title"), "uring")
        self.assertEqual(await page.evaluate("document.images.length"), 0)
        self.assertEqual(await page.evaluate("document.querySelectorAll('#ring path').length"), 2)

    async def test_nothing_from_elsewhere(self) -> None:
        """All that the page loads and asks comes from the node that it was loaded from."""
        cluster = await self.formed(1)
        page = await self.opened(cluster.servers[0].address)
        await page.until_text("node 1 leads", "live")
        names = await page.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
        self.assertGreater(len(names), 6, names)
        for name in names:
            self.assertTrue(name.startswith(f"http://{cluster.servers[0].address}/"), name)

    async def test_edit(self) -> None:
        """A key that is typed in is stored; an edit over somebody else's change is refused."""
        cluster = await self.formed(1)
        client = self.client(cluster.servers[0].address)
        page = await self.opened(cluster.servers[0].address)
        await page.until_text("live")
        await page.type("#key", "a/b c")
        await page.type("#value", "typed")
        await page.click("#save")
        await page.until("document.getElementById('outcome').textContent === 'done'")
        self.assertEqual(await client.get("a/b c"), "typed")
        await page.until_text("Put a/b c = typed")
        await client.put("a/b c", "changed elsewhere")
        await page.type("#value", " again")
        await page.click("#save")
        await page.until("document.getElementById('outcome').textContent.startsWith('412')")
        self.assertEqual(await client.get("a/b c"), "changed elsewhere")

    async def test_token(self) -> None:
        """Where tokens are needed the page asks for one; with a right one everything is there."""
        cluster = await self.formed(1)
        address = cluster.servers[0].address
        client = self.client(address)
        await client.put("beep", "boop")
        page = await self.opened(address)
        await page.until_text("boop")
        self.assertTrue(await page.evaluate("document.getElementById('access').hidden"))
        token = (await client.add_token("admin"))["token"]
        await page.go(f"http://{address}/")
        await page.until_text("who are you?")
        self.assertFalse(await page.evaluate("document.getElementById('access').hidden"))
        self.assertNotIn("boop", await page.text())
        await page.type("#token", "wrong")
        await page.press_enter()
        await page.until_text("this token will not do")
        self.assertNotIn("boop", await page.text())
        await page.type("#token", token)
        await page.press_enter()
        await page.until_text("node 1 leads", "boop", "live")
        self.assertTrue(await page.evaluate("document.getElementById('access').hidden"))
        # The WebSocket has shown it, too: changes arrive.
        await self.client(address, token=token).put("snot", "badger")
        await page.until_text("Put snot = badger")
        self.assertNotIn(token, await page.html())

    async def test_phone(self) -> None:
        """On a narrow screen nothing sticks out; who prefers the dark gets it."""
        cluster = await self.formed(1)
        client = self.client(cluster.servers[0].address)
        await client.put("a" * 80, "b" * 300)
        page = await self.opened(cluster.servers[0].address)
        await page.look_like(*PHONE, dark=True, mobile=True)
        await page.until_text("node 1 leads", "a" * 80)
        self.assertLessEqual(await page.evaluate("document.documentElement.scrollWidth"), PHONE[0])
        back = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
        self.assertLess(max(await page.evaluate(back)), 64)
        await page.look_like(*PHONE, dark=False, mobile=True)
        self.assertGreater(min(await page.evaluate(back)), 192)


class TroubleTests(BrowserTestCase):
    """What has happened, and what is under way."""

    async def test_killed_leader(self) -> None:
        """A page that is opened after the leader was killed, and silent, shows both."""
        cluster = await self.formed(3)
        led = await self.leader(*cluster.clients)
        await cluster.servers[led - 1].die()
        living = [client for client in cluster.clients if client.node_id != led]
        leads = await self.leader(*living)
        witness = next(server for server in cluster.servers if server.node_id not in (led, leads))
        client = self.client(witness.address)

        async def is_told() -> bool:
            told = await client.timeline()
            return any(each["kind"] == "silent" for each in told["events"])

        await self.until(is_told)
        page = await self.opened(witness.address)
        await page.until_text(
            f"node {led} does not lead any more",
            f"node {leads} leads in term",
            f"node {led} is not heard of any more",
            "2 of 3 voters heard",
        )
        for kind in ("leads", "follows", "away", "fault"):
            await page.until(f"document.querySelector('#timeline rect.{kind}') !== null")
        cluster.servers[led - 1].start()
        await page.until_text(f"node {led} is heard of again", "3 of 3 voters heard")

    async def test_handoffs(self) -> None:
        """Vnodes that wait for their hand-off are shown, and those that are under way."""
        cluster = await self.formed(1)
        client = cluster.clients[0]
        await client.mring_set_size(8)
        page = await self.opened(cluster.servers[0].address)
        await page.until_text("No node is on the ring yet.")
        leases = {}
        for name in ("n1", "n2"):
            joined = await client.execute_as(
                "MRing", "Join", node=name, instance=name, address="127.0.0.1:1", ttl=60
            )
            leases[name] = joined.data["lease"]
        await page.until_text("n1 → n2: 4 waiting", "n2 takes part, at 127.0.0.1:1")
        found = await client.execute_as("MRing", "GetHandoffs")
        vnode = found.data["handoffs"][0]["vnode"]
        begun = await client.execute_as("MRing", "BeginHandoff", vnode=vnode, lease=leases["n1"])
        await page.until_text(f"n1 → n2: under way: {vnode}; 3 waiting")
        await page.until("document.querySelectorAll('#ring .transferring').length === 1")
        await page.until("document.querySelectorAll('#ring .pending').length === 3")
        finished = await client.execute_as(
            "MRing", "FinishHandoff", vnode=vnode, lease=leases["n1"], began=begun.data["began"]
        )
        self.assertEqual(finished.code, 200)
        await page.until_text(f"vnode {vnode}: owned", "n1 → n2: 3 waiting")

    async def test_node_that_is_gone(self) -> None:
        """When the node that is asked dies, the page says so and leads to the others."""
        cluster = await self.formed(2)
        page = await self.opened(cluster.servers[1].address)
        await page.until_text("2 of 2 voters heard", "live")
        await cluster.servers[1].die()
        await page.until_text("this node does not answer", "offline")
        links = await page.evaluate(
            "[...document.querySelectorAll('#members a')].map((a) => a.href)"
        )
        self.assertIn(f"http://{cluster.servers[0].address}/", links, json.dumps(links))
