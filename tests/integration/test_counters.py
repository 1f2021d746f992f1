"""The counter service while its nodes come, go and are killed, and the cluster's leader too."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from random import Random
from typing import Any

import treq
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool

from examples.counters.service import vnode_of
from tests.integration.base import ProcessTestCase, free_ports

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE = 24
NAMES = [f"counter-{number}" for number in range(40)]
WRITERS = 3
INCREMENTS = 60
"""By each writer before, during, and after the troubles."""


class _Process(ProcessProtocol):
    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self.output = b""

    def outReceived(self, data: bytes) -> None:
        self.output += data

    def errReceived(self, data: bytes) -> None:
        self.output = (self.output + data)[-20_000:]

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


class CounterNode:
    """One process of the service, which can be killed and begun again."""

    def __init__(self, test: CountersTests, name: str) -> None:
        self.test, self.name = test, name
        self.http, self.port = free_ports(2)
        self.process: Any = None
        self.watched = _Process()

    def begin(self) -> None:
        self.watched = _Process()
        arguments = [
            sys.executable,
            str(ROOT / "bin" / "mring-node"),
            self.name,
            f"--cluster={self.test.endpoints}",
            f"--data={self.test.directory / self.name}",
            f"--http={self.http}",
            f"--port={self.port}",
            "--ttl=3",
            f"--size={SIZE}",
        ]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self.process = self.test.reactor.spawnProcess(
            self.watched, sys.executable, arguments, env=environment
        )

    async def kill(self) -> None:
        """Kill it with the signal that cannot be caught."""
        process, self.process = self.process, None
        if process is not None and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        if process is not None:
            await self.watched.ended

    @property
    def serves(self) -> bool:
        return b" serves at " in self.watched.output


class Writer:
    """Counts, and asks again until it knows that it was counted."""

    def __init__(self, test: CountersTests, number: int) -> None:
        self.test, self.name = test, f"writer-{number}"
        self.random = Random(number)
        self.number = 0
        self.counted: dict[str, int] = {}

    async def write(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            counter = self.random.choice(NAMES)
            body = json.dumps({"client": self.name, "number": self.number}).encode()
            await self.test.ask_until_told("POST", counter, body)
            self.counted[counter] = self.counted.get(counter, 0) + 1


class CountersTests(ProcessTestCase):
    timeout = 300

    def setUp(self) -> None:
        super().setUp()
        self.nodes: dict[str, CounterNode] = {}
        self.endpoints = ""
        self.pool = HTTPConnectionPool(self.reactor, persistent=False)
        self.http = HTTPClient(Agent(self.reactor, connectTimeout=5, pool=self.pool))

    async def tearDown(self) -> None:  # type: ignore[override]
        for node in self.nodes.values():
            await node.kill()
        await super().tearDown()

    def node(self, name: str) -> CounterNode:
        node = self.nodes[name] = CounterNode(self, name)
        node.begin()
        return node

    async def ask_until_told(self, method: str, counter: str, body: bytes | None = None) -> int:
        """Ask one node after the other until one answers with a value."""
        end = self.reactor.seconds() + 120
        order = sorted(self.nodes)
        place = vnode_of(counter, len(order))
        while True:
            node = self.nodes[order[place % len(order)]]
            place += 1
            url = f"http://127.0.0.1:{node.http}/count/{counter}"
            try:
                answer = await self.http.request(method, url, data=body, timeout=5)
                told = await treq.json_content(answer)
            except Exception as problem:
                last: Any = problem
            else:
                if answer.code == 200:
                    return int(told["value"])
                self.assertIn(answer.code, (421, 503), told)
                last = told
                if told.get("owner") in order:
                    place = order.index(told["owner"])
            self.assertLess(self.reactor.seconds(), end, f"{counter} is served by nobody: {last}")
            await deferLater(self.reactor, 0.05)

    async def handed_over(self) -> bool:
        """Tell whether every vnode is owned by whom it is assigned to; never by nobody."""
        client = self.clients[0]
        found = await client.rest.ring_handoffs()
        for handoff in found["handoffs"]:
            self.assertIsNotNone(handoff["owner"])
        return bool(found["waiting"] == 0)

    async def all_serve(self, *names: str) -> None:
        async def serve() -> bool:
            return all(self.nodes[name].serves for name in names)

        await self.until(serve, 60)

    async def test_no_count_is_lost(self) -> None:
        """Nodes are added, removed, and killed, the leader too: each increment counts once."""
        cluster = await self.formed(3)
        self.endpoints = ",".join(f"127.0.0.1:{server.port}" for server in cluster.servers)
        self.node("n1")
        await self.all_serve("n1")
        self.node("n2")
        self.node("n3")
        await self.all_serve("n2", "n3")
        writers = [Writer(self, number) for number in range(WRITERS)]
        await self.together(writers, INCREMENTS // 3)
        troubles = Deferred.fromCoroutine(self.troubles(cluster))
        await self.together(writers, INCREMENTS)
        await troubles
        await self.together(writers, INCREMENTS // 3)
        await self.until(self.handed_over, 90)
        expected: dict[str, int] = {}
        for writer in writers:
            for counter, count in writer.counted.items():
                expected[counter] = expected.get(counter, 0) + count
        self.assertEqual(sum(expected.values()), WRITERS * (INCREMENTS + 2 * (INCREMENTS // 3)))
        found = {counter: await self.ask_until_told("GET", counter) for counter in expected}
        self.assertEqual(found, expected)

    async def together(self, writers: list[Writer], count: int) -> None:
        work = [Deferred.fromCoroutine(writer.write(count)) for writer in writers]
        await DeferredList(work, fireOnOneErrback=True, consumeErrors=True)

    async def troubles(self, cluster: Any) -> None:
        """Everything that may happen to nodes of the ring, and to the cluster's leader."""
        self.node("n4")
        await self.all_serve("n4")
        await self.nodes["n2"].kill()
        self.nodes["n2"].begin()
        leader = await self.leader(*self.clients)
        server = cluster.servers[leader - 1]
        await server.die()
        await self.nodes["n4"].kill()
        self.nodes["n4"].begin()
        await self.all_serve("n2", "n4")
        server.start()
        others = [client for place, client in enumerate(self.clients) if place != leader - 1]
        await others[0].rest.remove_ring_node("n3")
        await self.nodes["n1"].kill()
        self.nodes["n1"].begin()
        await self.all_serve("n1")
