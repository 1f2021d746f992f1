"""Clusters of real processes, each in a directory and on ports of its own."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from contrib import Cluster, RaftClient, UringServer
from contrib.cluster import Node
from contrib.servers import SOURCE
from uring.errors import UringError

POLL_SECONDS = 0.02


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listened on a moment ago."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class ProcessTestCase(TestCase):
    """Starts nodes, and sees to it that none outlives its test."""

    timeout = 90

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.servers: list[UringServer] = []
        self.clients: list[RaftClient] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for client in self.clients:
            await client.close()
        for server in self.servers:
            if server.running:
                await server.die()

    def cluster(self, count: int, *options: str) -> Cluster:
        """Describe a cluster; start and join are up to the test."""
        nodes = [
            Node(port, node_id, node_id == 1) for node_id, port in enumerate(free_ports(count), 1)
        ]
        cluster = Cluster(nodes, self.directory, options=options, reactor=self.reactor)
        self.servers.extend(cluster.servers)
        self.clients.extend(cluster.clients)
        return cluster

    async def formed(self, count: int, *options: str) -> Cluster:
        """Return a running cluster of ``count`` members."""
        cluster = self.cluster(count, *options)
        await cluster.start()
        await cluster.join()
        return cluster

    def server(self, node_id: int, port: int, peers: list[str], **more: Any) -> UringServer:
        """Describe one process on the directory of node ``node_id``."""
        server = UringServer(
            node_id,
            port,
            peers=peers,
            host="127.0.0.1",
            data_dir=self.directory / f"raft-leveldb-{node_id}",
            log_file=self.directory / f"node-{node_id}-{len(self.servers)}.log",
            reactor=self.reactor,
            **more,
        )
        self.servers.append(server)
        return server

    async def until(self, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Await ``condition()`` again and again until it is true; return what it was."""
        end = self.reactor.seconds() + seconds
        while True:
            try:
                found = await condition()
            except UringError as error:
                found = None
                last: object = error
            else:
                last = found
            if found:
                return found
            self.assertLess(self.reactor.seconds(), end, f"waited too long; last: {last!r}")
            await deferLater(self.reactor, POLL_SECONDS)

    async def leader(self, *clients: RaftClient) -> int:
        """Return the id of the leader on which all of these agree."""

        async def agreed() -> int:
            found = {(await client.status())["leader"] for client in clients}
            return found.pop() or 0 if len(found) == 1 else 0

        return int(await self.until(agreed))


class CommandTestCase(ProcessTestCase):
    """Runs the command line client, as a process of its own."""

    endpoints = ""

    async def uring(self, *words: str, code: int = 0) -> str:
        """Run the client, and return what it printed; its exit code must be ``code``."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "URING_ENDPOINTS": self.endpoints,
            "URING_PATIENCE": "5" if code != 4 else "0",
        }
        out, err, found = await getProcessOutputAndValue(
            sys.executable, ["-m", "uring", *words], env=environment, path=str(self.directory)
        )
        self.assertEqual(found, code, f"{words}: {(out + err).decode()}")
        self.assertNotIn(b"Traceback", err)
        self.assertTrue(code or not err, err)
        return str(out.decode())

    async def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(await self.uring("-o", "json", *words, code=code))
