"""Pictures of the dashboard, from a real cluster in a real browser: ``tox -e screenshots``.

Three nodes, clients that write, a ring whose vnodes are being handed off, and a leader that was
killed: what the page shows of it is written beside this file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from contrib import Cluster
from contrib.cluster import Node
from contrib.load import Load
from tests.integration.base import free_ports
from tests.support.browser import Browser, Page
from uring.client import Client

HERE = Path(__file__).parent
BYTES_MAX = 150_000
SIZES: dict[str, dict[str, Any]] = {
    "dashboard.png": {"width": 1040, "height": 1010},
    "dashboard-dark.png": {"width": 1040, "height": 1010, "dark": True},
    "dashboard-phone.png": {"width": 390, "height": 844, "dark": True, "mobile": True},
}
VNODES = 64
SHORTER = "(s => { s.value = '120'; s.dispatchEvent(new Event('change')); })(span)"
"""Chooses the shortest of the time lines that the page offers."""


async def fill(client: Client) -> None:
    """Store what a small shop might."""
    for name, value in (
        ("beep", "boop"),
        ("services/web/1", "10.0.0.7:443"),
        ("services/web/2", "10.0.0.8:443"),
        ("limits/orders", "250/s"),
    ):
        await client.put(name, value)


async def make_ring(cluster: Cluster) -> None:
    """Have three nodes on the ring that take part in hand-offs, some of them under way."""
    client = cluster.clients[0]
    await client.mring_set_size(VNODES)
    leases = {}
    for name in ("shard-a", "shard-b", "shard-c"):
        answer = await client.execute_as(
            "MRing", "Join", node=name, instance=name, address="10.0.0.9:9000", ttl=600
        )
        leases[name] = answer.data["lease"]
    found = await client.execute_as("MRing", "GetHandoffs", count=1000)
    for place, each in enumerate(found.data["handoffs"][:-4]):
        about = {"vnode": each["vnode"], "lease": leases[each["owner"]]}
        begun = await client.execute_as("MRing", "BeginHandoff", **about)
        if begun.code == 200 and place % 6:
            await client.execute_as("MRing", "FinishHandoff", began=begun.data["began"], **about)


async def shown(page: Page, dead: int) -> None:
    """Wait until the page shows all that happened."""
    await page.until_text(
        f"node {dead} is not heard of any more",
        f"node {dead} is heard of again",
        "3 of 3 voters heard",
        "live",
        "takes part",
        "services/web/1",
    )


async def take(reactor: Any, directory: Path) -> None:
    """Run the cluster, look at it, write the pictures."""
    nodes = [Node(port, number, number == 1) for number, port in enumerate(free_ports(3), 1)]
    cluster = Cluster(nodes, directory, reactor=reactor)
    browser: Browser | None = None
    load: Load | None = None
    client = Client(*(server.address for server in cluster.servers), reactor=reactor, patience=10)
    try:
        await cluster.start()
        await cluster.join()
        await fill(client)
        load = Load(client, reactor, keys=6)
        await deferLater(reactor, 6)
        dead = int((await client.status())["leader"])
        victim = cluster.servers[dead - 1]
        await victim.die()
        await deferLater(reactor, 8)
        victim.start()
        await cluster.clients[dead - 1].wait_until_up()
        browser = Browser(reactor, directory)
        witness = cluster.servers[dead % len(nodes)]
        page = await browser.open(f"http://{witness.address}/")
        await make_ring(cluster)
        await shown(page, dead)
        await deferLater(reactor, 25)  # for curves that have a length
        await page.evaluate(SHORTER)
        for name, size in SIZES.items():
            await page.look_like(**size)
            await page.evaluate("scrollTo(0, 0)")
            await deferLater(reactor, 1.5)
            picture = await page.screenshot()
            if len(picture) > BYTES_MAX:
                raise SystemExit(f"{name} has {len(picture)} bytes")
            (HERE / name).write_bytes(picture)
            print(name, len(picture), flush=True)
    finally:
        if load is not None:
            load.stop()
        await client.close()
        if browser is not None:
            await browser.kill()
        await cluster.stop()


async def main(reactor: Any) -> None:
    """Do it in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        await take(reactor, Path(directory))


if __name__ == "__main__":
    sys.exit(react(lambda reactor: Deferred.fromCoroutine(main(reactor))))
