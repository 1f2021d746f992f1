"""Processes in trouble: errors that nobody caught, a disk that fills, files that run out."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue

from contrib import RaftClient
from tests.integration.base import ProcessTestCase, free_ports
from tests.support.http import RawClient
from uring.errors import DiskFull

SOURCE = Path(__file__).parents[2] / "src"
TWISTD = "from twisted.scripts.twistd import run; run()"
SWEEP = """
import uring.peers.mesh as mesh
source = "def _sweep(self, count=[0]):\\n" \\
    "    count[0] += 1\\n" \\
    "    if count[0] > 1: raise ZeroDivisionError('planted')\\n" \\
    "    self._sweeping = self.clock.callLater(0.1, self._sweep)\\n"
names = {}
exec(compile(source, mesh.__file__, "exec"), names)
mesh.Mesh._sweep = names["_sweep"]
"""
NO_THREADS = """
import threading
def start(self): raise RuntimeError("can't start new thread")
threading.Timer.start = start
"""
HANG = """
import time, uring.watchdog as watchdog, uring.store.disk as disk
start = watchdog.Watchdog.start
def hang(self):
    self.seconds = 2
    start(self)
    from twisted.internet import reactor
    reactor.callLater(1, disk.DiskThread(reactor).run_now, lambda: time.sleep(600))
watchdog.Watchdog.start = hang
"""
FULL = """
import uring.service
from pathlib import Path
uring.service.free_bytes = lambda path: int(Path("free").read_text())
"""


class FaultTestCase(ProcessTestCase):
    """Nodes that begin by running some lines of Python."""

    def words(self, port: int, planted: str, *words: str) -> list[str]:
        start = ["-c", planted + TWISTD, "-n", "--pidfile=", "uring"]
        return [*start, "-e", f"127.0.0.1:{port}", "-d", "data", "-b", *words]


class UnhandledTests(FaultTestCase):
    """A timer that ends."""

    async def test_sweep_that_raises(self) -> None:
        """A node whose timer died ends with a non-zero code and the reason, not half dead."""
        (port,) = free_ports(1)
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            self.words(port, SWEEP),
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            path=str(self.directory),
        )
        self.assertEqual(code, 1)
        (line,) = [each for each in (out + err).decode().splitlines() if "uring stops" in each]
        self.assertIn("unhandled error", line)
        self.assertIn("planted", line)

    async def test_no_memory_for_a_thread(self) -> None:
        """A node that must end does so, even if it is for want of memory and threads."""
        (port,) = free_ports(1)
        _, _, code = await getProcessOutputAndValue(
            sys.executable,
            self.words(port, NO_THREADS + SWEEP),
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            path=str(self.directory),
        )
        self.assertEqual(code, 1)


class HangTests(FaultTestCase):
    """A disk that stops for good within a sync that the reactor waits for."""

    async def test_reactor_that_hangs(self) -> None:
        """The process ends, and says where it stood, rather than let clients wait for ever."""
        (port,) = free_ports(1)
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            self.words(port, HANG),
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            path=str(self.directory),
        )
        self.assertEqual(code, 1)
        (line,) = [each for each in (out + err).decode().splitlines() if "uring stops" in each]
        self.assertIn("the reactor has stood still for 2 s", line)
        self.assertIn("run_now", line)


class SpaceTests(FaultTestCase):
    """A disk that fills up, and has room again."""

    async def test_507_and_back(self) -> None:
        """Writes get 507 below the reserve, reads and deletes go on, and it clears by itself."""
        (port,) = free_ports(1)
        free = self.directory / "free"
        free.write_text(str(1 << 40))
        server = self.server(1, port, [], bootstrap=True)
        words = self.words(port, FULL)
        self.patch(server, "command", lambda: [sys.executable, *words])
        before = Path.cwd()
        os.chdir(self.directory)  # where it looks for "free"
        try:
            server.start()
        finally:
            os.chdir(before)
        client = RaftClient(port, node_id=1, reactor=self.reactor)
        self.clients.append(client)
        await client.wait_until_up()
        await self.leader(client)
        await client.put("k", "v")
        free.write_text("1000")

        async def refused() -> bool:
            try:
                await client.put("l", "v")
            except DiskFull:
                return True
            return False

        await self.until(refused)
        self.assertEqual(await client.get("k"), "v")
        await client.rest.delete("k")
        self.assertEqual(len((await client.status())["faults"]), 1)
        free.write_text(str(1 << 40))

        async def taken() -> bool:
            return not await refused()

        await self.until(taken)
        self.assertEqual((await client.status())["faults"], [])


class DescriptorTests(FaultTestCase):
    """R23: file descriptors that run out."""

    async def test_flood(self) -> None:
        """With too few files newcomers are turned away; peers and clients stay, nothing spins."""
        cluster = await self.formed(3)
        server, client = cluster.servers[0], cluster.clients[0]
        pid = server.pid()
        assert pid is not None
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
        terms = [(await each.status())["term"] for each in cluster.clients]
        flood: list[Any] = []
        endpoint = TCP4ClientEndpoint(self.reactor, server.host, server.port)
        for _ in range(60):
            flood.append(await endpoint.connect(Factory.forProtocol(RawClient)))
        began, cpu = self.reactor.seconds(), self.cpu(pid)
        for number in range(10):
            await client.put(f"k{number}", "v")  # over the connection that it had
            await deferLater(self.reactor, 0.1, lambda: None)
        share = (self.cpu(pid) - cpu) / (self.reactor.seconds() - began)
        self.assertLess(share, 0.8, "it spins")
        self.assertEqual((await client.status())["connected"], [2, 3])
        for each in flood:
            each.transport.abortConnection()
        await Deferred.fromCoroutine(self.gone(flood))
        newcomer = RaftClient(server.port, reactor=self.reactor)
        self.clients.append(newcomer)
        await newcomer.wait_until_up()
        self.assertEqual([(await each.status())["term"] for each in cluster.clients], terms)
        self.assertTrue(server.running)

    async def gone(self, flood: list[Any]) -> None:
        for each in flood:
            await each.until_closed()

    def cpu(self, pid: int) -> float:
        """Return the seconds of CPU that a process has used."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
