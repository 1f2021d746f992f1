"""What bin/3u.py, bin/5u.py, bin/7u.py, and bin/monitor do."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from contrib.cluster import Cluster
from contrib.running import run_cluster, say
from uring.client import Client
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
    """Print every event of the node named on the command line as JSON lines, until it is gone."""
    if len(sys.argv) > 2 or "-h" in sys.argv or "--help" in sys.argv:
        sys.exit("usage: bin/monitor [HOST:PORT]   (127.0.0.1:8081 by default)")
    address = sys.argv[1] if len(sys.argv) == 2 else "127.0.0.1:8081"
    react(lambda reactor: Deferred.fromCoroutine(_monitor(reactor, address)))


async def _monitor(reactor: Any, address: str) -> None:
    try:
        socket = await Client(address, reactor=reactor).connect_websocket()
    except UringError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error
    for channel in CHANNELS:
        socket.listen(channel, partial(_print, channel))
    await socket.closed
    print(f"{address} closed the connection", file=sys.stderr)
    raise SystemExit(1)


def _print(channel: str, event: dict[str, Any]) -> None:
    say(json.dumps({"channel": channel, "msg": event}))
