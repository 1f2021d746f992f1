"""What bin/3u.py, bin/5u.py, bin/7u.py, and bin/monitor do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import react

from contrib.cluster import Cluster
from contrib.running import run_cluster, say
from uring.client import Change, Client, Watch
from uring.errors import UringError

ROOT = Path(__file__).resolve().parent.parent
CHANNELS = ("kv", "mring", "uring")


def test_cluster(config: str) -> None:
    """Wipe, start, and join the nodes of contrib/``config``; stop them at a key or a signal."""

    def formed(cluster: Cluster, took: float) -> None:
        for server in cluster.servers:
            say(f"{server.node_id}: {server.address}")
        say(f"formed: {len(cluster.servers)} nodes in {took:.1f} s; any key or Ctrl-C stops them")

    run_cluster(
        lambda reactor: Cluster.configure(ROOT / "contrib" / config, reactor=reactor),
        wipe=True,
        any_key=True,
        formed=formed,
    )


def monitor() -> None:
    """Print every event as one line of JSON, from whichever of the nodes named can be reached."""
    if "-h" in sys.argv or "--help" in sys.argv:
        sys.exit("usage: bin/monitor [HOST:PORT ...]   (127.0.0.1:8081 by default)")
    addresses = sys.argv[1:] or ["127.0.0.1:8081"]
    react(lambda reactor: Deferred.fromCoroutine(_monitor(reactor, addresses)))


async def _monitor(reactor: Any, addresses: list[str]) -> None:
    async with Client(*addresses, reactor=reactor) as client:
        try:
            await client.status()
        except UringError as error:
            print(error, file=sys.stderr)
            raise SystemExit(1) from error
        await gatherResults([ensureDeferred(_print(client.watch(each))) for each in CHANNELS])


async def _print(watch: Watch) -> None:
    """Print changes for ever; the watch goes on at another node when one is lost."""
    async for news in watch:
        if isinstance(news, Change):
            line = {"channel": news.channel, "revision": news.revision, "msg": news.event}
            say(json.dumps(line))
        elif news.begins:
            say(json.dumps({"channel": watch.channel, "snapshot": news.revision}))
