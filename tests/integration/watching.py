"""A subscriber that loses its connection again and again, while nodes are killed and keys change.

python -m tests.integration.watching --changes 100000 --disconnects 100 --kills 10
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from contrib.cluster import Cluster, Node
from tests.integration.base import free_ports
from uring.client import Change, Client, Snapshot, Watch
from uring.errors import OutcomeUnknown, Unavailable

BATCH = 50


@define
class Trial:
    """What is to happen, and what the subscriber saw."""

    cluster: Cluster
    reactor: Any
    changes: int
    disconnects: int
    kills: int
    chance: random.Random
    seen: list[tuple[int, str]] = field(factory=list)
    """(revision, key) of every change that was told."""
    dropped: int = 0
    killed: int = 0
    snapshots: int = 0
    done: bool = False

    async def run(self) -> None:
        """Write, disturb, and read until everything that was written has been told."""
        endpoints = [server.address for server in self.cluster.servers]
        self.chance.shuffle(endpoints)
        async with Client(*endpoints, reactor=self.reactor) as reader:
            watch = reader.watch("kv", start=1)
            watch.start()
            await gatherResults(
                [
                    Deferred.fromCoroutine(work)
                    for work in (self._read(watch), self._write(), self._disturb(watch))
                ],
                consumeErrors=True,
            )
            await watch.close()

    async def _write(self) -> None:
        """Put every key once, again and again until it is known to be there."""
        endpoints = [server.address for server in self.cluster.servers]
        async with Client(*endpoints, reactor=self.reactor, patience=60.0, timeout=5.0) as client:
            for first in range(0, self.changes, BATCH):
                keys = [f"k{number}" for number in range(first, first + BATCH)]
                while keys:
                    puts = [("Cas", {"key": key, "check": None, "store": key}) for key in keys]
                    try:
                        replies = await client.batch(puts)
                    except (OutcomeUnknown, Unavailable):
                        continue  # a compare-and-swap changes nothing where it was done before
                    keys = [
                        key
                        for key, reply in zip(keys, replies, strict=True)
                        if reply.code not in (201, 409)
                    ]

    async def _read(self, watch: Watch) -> None:
        async for news in watch:
            if isinstance(news, Snapshot):
                self.snapshots += 1
            elif isinstance(news, Change) and "CasConflict" not in news.event:
                ((_, about),) = news.event.items()
                self.seen.append((news.revision, about["key"]))
            if len(self.seen) >= self.changes:
                break
        self.done = True

    async def _disturb(self, watch: Watch) -> None:
        """Spread drops and kills over the changes as they are told."""
        events = ["drop"] * self.disconnects + ["kill"] * self.kills
        self.chance.shuffle(events)
        places = sorted(self.chance.randrange(self.changes) for _ in events)
        for event, place in zip(events, places, strict=True):
            while len(self.seen) < place and not self.done:
                await deferLater(self.reactor, 0.002)
            if event == "kill":
                await self._kill()
            elif watch._socket is not None:
                self.dropped += 1
                for _ in range(self.chance.randrange(3)):
                    watch._client.move_on()
                watch._socket.drop()

    async def _kill(self) -> None:
        server = self.chance.choice(self.cluster.servers)
        await server.die()
        self.killed += 1
        await deferLater(self.reactor, self.chance.random() / 2)
        server.start()

    def mistakes(self) -> list[str]:
        """Return what is wrong with what was told."""
        found = []
        if [revision for revision, _ in self.seen] != list(range(1, self.changes + 1)):
            found.append("revisions are missing, told twice, or out of order")
        if sorted(key for _, key in self.seen) != sorted(f"k{n}" for n in range(self.changes)):
            found.append("keys are missing or told twice")
        if self.snapshots:
            found.append("a snapshot took the place of changes that should have been kept")
        return found


async def _main(reactor: Any, asked: argparse.Namespace) -> None:
    directory = Path(tempfile.mkdtemp(prefix="uring-watching-"))
    nodes = [Node(port, number, number == 1) for number, port in enumerate(free_ports(3), 1)]
    cluster = Cluster(nodes, directory, reactor=reactor)
    try:
        await cluster.start()
        await cluster.join()
        seed = asked.seed if asked.seed is not None else int(time.time())
        trial = Trial(
            cluster, reactor, asked.changes, asked.disconnects, asked.kills, random.Random(seed)
        )
        began = time.monotonic()
        await trial.run()
        print(
            f"seed {seed}: {len(trial.seen)} changes told in {time.monotonic() - began:.0f} s, "
            f"{trial.dropped} connections dropped, {trial.killed} nodes killed"
        )
        for mistake in trial.mistakes():
            print(mistake)
        if trial.mistakes():
            raise SystemExit(1)
    finally:
        await cluster.stop()


def main(arguments: list[str]) -> None:
    """Run one trial; exit with 1 if anything was missed or told twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--disconnects", type=int, default=100)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int)
    asked = parser.parse_args(arguments)
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, asked)))


if __name__ == "__main__":
    main(sys.argv[1:])
