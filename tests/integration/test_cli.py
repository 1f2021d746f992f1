"""The command line client against a real node: its output, and its exit codes."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from contrib.servers import SOURCE
from tests.integration.base import CommandTestCase, free_ports
from uring.client import Client
from uring.errors import Unauthorized


class Running(ProcessProtocol):
    """A client that goes on: what it prints, line by line, and its exit code."""

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()
        self._lines: DeferredQueue[str] = DeferredQueue()
        self._rest = b""

    def line(self) -> Deferred[str]:
        """Return the next line of the standard output."""
        from twisted.internet import reactor

        clock: Any = reactor
        return self._lines.get().addTimeout(30, clock)

    def signal(self, name: str) -> None:
        """Send a signal."""
        assert self.transport is not None
        self.transport.signalProcess(name)

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for each in lines:
            self._lines.put(each.decode())

    def errReceived(self, data: bytes) -> None:
        sys.stderr.write(data.decode())

    def processEnded(self, reason: Failure) -> None:
        ended: Any = reason.value
        self.ended.callback(ended.exitCode)


class CommandTests(CommandTestCase):
    async def test_commands(self) -> None:
        """Keys, members and the ring, by a client that is told of a dead node first."""
        cluster = await self.formed(1)
        (dead,) = free_ports(1)
        self.endpoints = f"127.0.0.1:{dead},{cluster.servers[0].address}"
        await self.uring("put", "beep", "boop")
        self.assertEqual(await self.uring("get", "beep"), "boop\n")
        item = {"key": "beep", "value": "boop", "created": 1, "revision": 1, "lease": 0}
        self.assertEqual(await self.json("get", "beep"), item)
        await self.uring("cas", "beep", "snot", "--check", "boop")
        await self.uring("cas", "beep", "snot", code=3)
        self.assertEqual(await self.uring("del", "beep"), "snot\n")
        await self.uring("del", "beep", code=1)
        await self.uring("get", "beep", code=1)

        await self.uring("ring", "size", code=1)
        await self.uring("ring", "add", "n1", code=3)
        self.assertEqual(await self.uring("ring", "size", "8"), "8\n")
        await self.uring("ring", "add", "n1")
        self.assertEqual(
            await self.uring("ring", "add", "n2"),
            "node  load  vnodes\nn1       4  0-3\nn2       4  4-7\n",
        )
        await self.uring("ring", "remove", "n9", code=1)

        (member,) = await self.json("members")
        self.assertEqual((member["id"], member["voter"]), (1, True))
        self.assertIn("leader", await self.uring("members"))
        await self.uring("members", "add", "7", code=3)
        await self.uring("members", "remove", "7", code=1)

    async def test_services(self) -> None:
        """Conditions, lists, transactions, and leases."""
        cluster = await self.formed(1)
        self.endpoints = cluster.servers[0].address
        self.assertEqual(await self.json("put", "a/1", "x"), {"key": "a/1", "revision": 1})
        await self.uring("put", "a/1", "y", "--if-absent", code=3)
        await self.uring("put", "a/1", "y", "--if-revision", "7", code=3)
        await self.uring("put", "a/1", "y", "--if-revision", "1")
        await self.uring("del", "a/1", "--if-revision", "1", code=3)
        lease = (await self.uring("lease", "grant", "60")).strip()
        await self.uring("put", "a/2", "z", "--lease", lease)
        self.assertEqual(await self.uring("lease", "show", lease), "a/2\n")
        self.assertEqual(await self.uring("lease", "keep-alive", lease), "60\n")
        self.assertEqual(await self.uring("list", "--keys", "a/"), "a/1\na/2\n")
        self.assertEqual(
            (await self.uring("list", "a/")).splitlines()[1], "a/1         2      -  y"
        )
        await self.uring("lease", "revoke", lease)
        await self.uring("get", "a/2", code=1)
        await self.uring("lease", "keep-alive", lease, code=1)
        body = self.directory / "txn.json"
        body.write_text(
            '{"compare": [{"key": "a/1", "target": "revision", "to": 2}],'
            ' "then": [{"Put": {"key": "a/1", "store": "t"}}]}'
        )
        done = json.loads(await self.uring("txn", str(body)))
        self.assertTrue(done["succeeded"])
        await self.uring("txn", str(body), code=3)
        told = await self.uring("watch", "a/", "--from", "1", "--count", "2")
        self.assertEqual([json.loads(line)["revision"] for line in told.splitlines()], [1, 2])
        body.write_text("[]")
        await self.uring("txn", str(body), code=2)

    async def test_ring_plans(self) -> None:
        """A change of the ring is looked at, then done exactly so, or refused."""
        cluster = await self.formed(1)
        self.endpoints = cluster.servers[0].address
        await self.uring("ring", "size", "8")
        empty, plan = await self.uring("ring"), self.directory / "plan"
        out = await self.uring("ring", "plan", "--add", "n1", "--add", "n2:3:b", "--out", str(plan))
        self.assertIn("n2         0      6", out)
        self.assertEqual(await self.uring("ring"), empty)
        self.assertIn("n2       6", await self.uring("ring", "commit", str(plan)))
        await self.uring("ring", "commit", str(plan), code=3)
        whole = self.directory / "whole"
        change = ("--weight", "n1=3", "--zone", "n1=a")
        planned = await self.uring("-o", "json", "ring", "plan", *change)
        self.assertEqual(json.loads(planned)["loads"]["after"], {"n1": 4, "n2": 4})
        self.assertEqual(json.loads(planned)["moves"], 2)
        whole.write_text(planned)
        self.assertIn("n1       4", await self.uring("ring", "commit", str(whole)))
        self.assertIn("2 vnodes move", await self.uring("ring", "plan", "--weight", "n1=1"))
        await self.uring("ring", "plan", "--remove", "n9", code=1)
        for wrong in ((), ("--weight", "n1"), ("--weight", "n1=0"), ("--add", "n3:x")):
            await self.uring("ring", "plan", *wrong, code=2)
        for junk in ("[]", "{", '{"plan": 1}'):
            whole.write_text(junk)
            await self.uring("ring", "commit", str(whole), code=2)
        await self.uring("members", "promote", "7", code=1)
        await self.uring("members", "promote", "1")

    async def test_bench(self) -> None:
        """A load is bounded, measured, and leaves nothing; a dead endpoint is passed over."""
        cluster = await self.formed(1)
        (dead,) = free_ports(1)
        self.endpoints = f"127.0.0.1:{dead},{cluster.servers[0].address}"
        await self.uring("put", "uring-bench/mine", "1")
        told = await self.json("bench", "--clients", "3", "--window", "4", "--count", "300")
        self.assertEqual(told["requests"], 300)
        self.assertEqual(told["reads"]["count"] + told["writes"]["count"], 300)
        self.assertLessEqual(told["writes"]["p50_ms"], told["writes"]["max_ms"])
        self.assertEqual(set(told["errors"]) - {"Unavailable"}, set())
        self.endpoints = cluster.servers[0].address
        await self.uring("bench", "--seconds", "0.3", "--reads", "0", "--size", "1000")
        self.assertEqual(await self.uring("list", "--keys"), "uring-bench/mine\n")
        self.assertEqual(await self.uring("bench", "--clean"), "1 keys removed\n")
        await self.uring("bench", "--prefix", "", code=2)
        self.endpoints = f"127.0.0.1:{dead}"
        await self.uring("bench", "--seconds", "5", code=4)

    async def test_interrupted_bench(self) -> None:
        """Ctrl-C ends a load, and its keys are removed even so."""
        cluster = await self.formed(1)
        client, self.endpoints = cluster.clients[0].rest, cluster.servers[0].address
        running = Running()
        words = [sys.executable, "-m", "uring", "-e", self.endpoints, "bench", "--seconds", "60"]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        self.reactor.spawnProcess(running, words[0], words, env=environment)

        async def begun() -> bool:
            return bool((await client.page("uring-bench/")).items)

        await self.until(begun)
        running.signal("INT")
        await running.ended
        self.assertEqual((await client.page("uring-bench/")).items, ())

    async def test_tokens(self) -> None:
        """A cluster is closed, used by those who have a token, on any node, and opened again."""
        cluster = await self.formed(2)
        first, second = (server.address for server in cluster.servers)
        self.endpoints = first
        await self.uring("token", "add", "app", "--role", "read", code=3)
        admin, app = self.directory / "admin", self.directory / "app"
        admin.write_text(await self.uring("token", "add", "ops", "--role", "admin"))
        await self.uring("put", "p/a", "1", code=6)
        by_admin = ("--token-file", str(admin))
        words = (*by_admin, "token", "add", "app", "--role", "write", "--prefix", "p/")
        app.write_text(await self.uring(*words))
        self.endpoints = second
        await self.until_served(second, app.read_text().strip())
        await self.uring("--token-file", str(app), "put", "p/a", "1")
        await self.uring("--token-file", str(app), "put", "q/a", "1", code=6)
        for token, kind in ((app.read_text().strip(), None), ("a.b", Unauthorized)):
            client = Client(second, token=token)
            if kind is None:
                socket = await client.connect_websocket()
                await socket.select("KV")
                self.assertEqual(await socket.get("p/a"), "1")
                await socket.close()
            else:
                await self.assertFailure(Deferred.fromCoroutine(client.connect_websocket()), kind)
            await client.close()
        await self.uring("--token-file", str(app), "token", "list", code=6)
        listed = await self.uring(*by_admin, "token", "list")
        secret = app.read_text().strip().partition(".")[2]
        self.assertIn("p/", listed)
        self.assertNotIn(secret, listed)
        await self.uring(*by_admin, "backup", str(self.directory / "b"))
        for path in self.directory.rglob("*"):
            if path.is_file() and path not in (admin, app):
                self.assertNotIn(secret.encode(), path.read_bytes(), path)
        self.endpoints = first
        for file in (app, admin):
            name = file.read_text().partition(".")[0]
            await self.uring(*by_admin, "token", "remove", name)
        await self.until_served(second, None)
        await self.uring("--token-file", "nowhere", "get", "p/a", code=2)

    def begin(self, *words: str) -> Running:
        """Start the client, and let it run."""
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "URING_ENDPOINTS": self.endpoints}
        running = Running()
        command = [sys.executable, "-m", "uring", *words]
        self.reactor.spawnProcess(
            running, sys.executable, command, environment, str(self.directory)
        )
        return running

    async def test_lock(self) -> None:
        """A command runs under a lock, knows its token, and its exit code is the client's."""
        cluster = await self.formed(1)
        self.endpoints = cluster.servers[0].address
        shell = ("lock", "jobs", "--", "sh", "-c")
        told = await self.uring(*shell, "echo $URING_LOCK_KEY; exit 9", code=9)
        self.assertTrue(told.startswith("jobs/"), told)
        await self.uring(*shell, "kill -KILL $$", code=128 + 9)
        await self.uring("lock", "jobs", "--", "no-such-command", code=127)
        await self.uring("lock", "jobs/", "--", "true", code=2)
        holder = self.begin("lock", "jobs", "--ttl", "5")
        _, token = (await holder.line()).split()
        await self.uring("lock", "jobs", "--wait", "0", "--", "echo", "no", code=3)
        await self.uring("lock", "jobs", "--wait", "0.5", "--", "echo", "no", code=3)
        waiting = self.begin(*shell, "echo $URING_LOCK_TOKEN; exec sleep 60")
        client = Client(self.endpoints)
        self.addCleanup(client.close)

        async def queued() -> bool:
            return len((await client.page("jobs/")).items) == 2

        await self.until(queued)
        holder.signal("INT")
        self.assertEqual(await holder.ended, 0)
        self.assertGreater(int(await waiting.line()), int(token))
        (mine,) = (await client.page("jobs/")).items
        await self.uring("lease", "revoke", str(mine.lease))
        self.assertEqual(await waiting.ended, 7)
        stopped = self.begin(*shell, "echo started; exec sleep 60")
        await stopped.line()
        stopped.signal("TERM")
        self.assertEqual(await stopped.ended, 128 + 15)
        self.assertEqual((await client.page("jobs/")).items, ())

    async def test_elect(self) -> None:
        """Candidates lead one after the other; who asks is told who it is."""
        cluster = await self.formed(1)
        self.endpoints = cluster.servers[0].address
        await self.uring("elect", "boss", code=1)
        first = self.begin("elect", "boss", "one")
        await first.line()
        self.assertEqual(await self.uring("elect", "boss"), "one\n")
        observer = self.begin("elect", "boss", "--listen")
        self.assertEqual(await observer.line(), "one")
        second = self.begin("elect", "boss", "two", "--", "sh", "-c", "echo started; exec sleep 60")
        first.signal("INT")
        self.assertEqual(await first.ended, 0)
        while await observer.line() != "two":
            pass  # it may have seen that nobody led for a moment
        await second.line()  # others may hear that it leads before it does
        second.signal("TERM")
        self.assertEqual(await second.ended, 128 + 15)
        observer.signal("INT")
        self.assertEqual(await observer.ended, 0)

    async def until_served(self, address: str, token: str | None) -> None:
        """Wait until the node there has applied that ``token`` will do, or that none is needed."""
        client = Client(address, token=token)

        async def served() -> bool:
            try:
                await client.get("p/a")
            except Unauthorized:
                return False
            return True

        await self.until(served)
        await client.close()

    async def test_backup(self) -> None:
        """A backup of a running cluster becomes a new cluster with the same keys."""
        cluster = await self.formed(1)
        self.endpoints = cluster.servers[0].address
        await self.uring("put", "beep", "boop")
        file = str(self.directory / "a.backup")
        await self.uring("backup", file)
        await self.uring("backup", file, code=2)
        await self.uring("restore", file, "--check")
        (port,) = free_ports(1)
        data = str(self.directory / "raft-leveldb-7")
        words = ("restore", file, "--id", "7", "--advertise", f"127.0.0.1:{port}")
        await self.uring(*words, "--data-dir", data)
        await self.uring(*words, "--data-dir", data, code=6)
        restored = self.server(7, port, [])
        restored.start()
        self.endpoints = restored.address
        self.assertEqual(await self.uring("get", "beep"), "boop\n")

    async def test_unreachable(self) -> None:
        """Where no node answers nothing was done, and the exit code says so."""
        (dead,) = free_ports(1)
        self.endpoints = f"127.0.0.1:{dead}"
        await self.uring("put", "a", "1", code=4)
        await self.uring("status", code=4)
