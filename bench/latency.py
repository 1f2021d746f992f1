#!/usr/bin/env python3
"""How long one client waits for one write, beside the disk's own synced write in the same place.

    PYTHONPATH=. python bench/latency.py            starts a three-node cluster for the time
    PYTHONPATH=. python bench/latency.py HOST:PORT  uses a running one; --directory names its disk

Exit code 0 when the median over WebSocket is at most three times the disk's plus one millisecond.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import plyvel
from twisted.internet.defer import Deferred
from twisted.internet.task import react

import contrib
from bench.figures import percentile
from bench.systems import free_ports
from uring.client import Client

VALUE = "v" * 256
SYNC_FACTOR = 3.0
SYNC_EXTRA_SECONDS = 0.001


def disk_samples(directory: Path, count: int) -> list[float]:
    """Return the seconds of ``count`` synced LevelDB batches of one entry each."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        database = plyvel.DB(place, create_if_missing=True)
        samples = []
        for index in range(count):
            began = time.perf_counter()
            with database.write_batch(sync=True) as batch:
                batch.put(index.to_bytes(8, "big"), VALUE.encode())
            samples.append(time.perf_counter() - began)
        database.close()
    return samples


async def timed(write: Callable[[int], Awaitable[Any]], count: int) -> list[float]:
    """Return the seconds of each of ``count`` writes, one after the other."""
    for index in range(20):
        await write(index)
    samples = []
    for index in range(count):
        began = time.perf_counter()
        await write(index)
        samples.append(time.perf_counter() - began)
    return samples


def show(name: str, samples: Sequence[float]) -> None:
    """Print one line of the table."""
    p50, p99 = percentile(samples, 50) * 1000, percentile(samples, 99) * 1000
    print(f"{name:24} {len(samples):6} writes  p50 {p50:8.3f} ms  p99 {p99:8.3f} ms")


async def measure(reactor: Any, address: str, directory: Path, count: int) -> bool:
    """Measure and print; return whether the bound is kept.

    The disk is measured before and after, so that a neighbour's noise on it shows on both sides.
    """
    client = Client(address, reactor=reactor)
    before = disk_samples(directory, count // 2)
    session = await client.connect_websocket()
    over_socket = await timed(lambda index: session.put(f"latency-{index % 100}", VALUE), count)
    over_rest = await timed(lambda index: client.put(f"latency-{index % 100}", VALUE), count)
    disk = before + disk_samples(directory, count // 2)
    await session.close()
    await client.close()
    show("disk, synced batch", disk)
    show("WebSocket put", over_socket)
    show("REST put", over_rest)
    bound = SYNC_FACTOR * percentile(disk, 50) + SYNC_EXTRA_SECONDS
    kept = percentile(over_socket, 50) <= bound
    print(
        f"WebSocket p50 is {'within' if kept else 'NOT within'} "
        f"{SYNC_FACTOR:g} x sync + 1 ms = {bound * 1000:.3f} ms"
    )
    return kept


async def measure_own(reactor: Any, directory: Path, count: int) -> bool:
    """Measure a cluster that lives only as long."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        nodes = [
            contrib.Node(port, index, index == 1) for index, port in enumerate(free_ports(3), 1)
        ]
        cluster = contrib.Cluster(nodes, place, reactor=reactor)
        try:
            await cluster.start()
            await cluster.join()
            return await measure(reactor, cluster.servers[0].address, Path(place), count)
        finally:
            await cluster.stop()


def main() -> None:
    """Run the measurement that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("address", nargs="?", help="HOST:PORT of a running node")
    parser.add_argument("--directory", type=Path, default=Path(), help="on the nodes' disk [.]")
    parser.add_argument("--count", type=int, default=1000, help="writes of each kind [1000]")
    chosen = parser.parse_args()

    async def session(reactor: Any) -> None:
        if chosen.address is None:
            kept = await measure_own(reactor, chosen.directory, chosen.count)
        else:
            kept = await measure(reactor, chosen.address, chosen.directory, chosen.count)
        if not kept:
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(session(reactor)))


if __name__ == "__main__":
    main()
