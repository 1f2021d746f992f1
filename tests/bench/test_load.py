"""The load generator as a process, against the server that only answers."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from bench.driver import Figures, Generator, load
from bench.systems import SystemFailed
from bench.systems.null import Null


class Broken(Null):
    """A system whose node ends by itself."""

    def command(self, node: int) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no such disk')"]


class LoadTests(TestCase):
    """python -m bench.load."""

    def setUp(self) -> None:
        self.system = Null(Path(self.mktemp()).absolute())
        self.addCleanup(self.system.stop)
        self.system.start()

    def words(self, protocol: str, *more: object) -> tuple[object, ...]:
        return (protocol, self.system.address(0), "--connections", 4, "--window", 3, *more)

    async def test_count(self) -> None:
        """It sends as many requests as it is told to, over both protocols, and times all."""
        for protocol in ("websocket", "grpc"):
            words = self.words(protocol, "--count", 500, "--warm", 0, "--seconds", 60)
            figures: Figures = await deferToThread(load, *words)
            self.assertEqual((figures["sent"], figures["operations"]), (500, 500))
            self.assertTrue(0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["p99_9_ms"])

    async def test_once(self) -> None:
        """Each key is sent once, whichever connection is the fastest."""
        words = self.words("websocket", "--once", "--keys", 100, "--warm", 0, "--seconds", 60)
        figures = await deferToThread(load, *words)
        self.assertEqual(figures["sent"], 100)

    async def test_stop(self) -> None:
        """It ends when it is told to, with what it has until then."""
        used = self.system.cpu_seconds()
        generator = Generator(*self.words("websocket", "--seconds", 600, "--warm", 0))
        await deferToThread(
            self.system.wait_for, "some load", lambda: self.system.cpu_seconds() > used + 0.1
        )
        figures = await deferToThread(generator.stop)
        self.assertLess(figures["seconds"], 600)
        self.assertGreater(figures["operations"], 0)

    async def test_ended_by_itself(self) -> None:
        """A node that ends by itself is not waited for in vain: its last words are told."""
        other = Broken(Path(self.mktemp()).absolute())
        self.addCleanup(other.stop)
        with self.assertRaises(SystemFailed) as caught:
            await deferToThread(other.start)
        self.assertIn("node 0 ended with 1: no such disk", str(caught.exception))

    async def test_refused(self) -> None:
        """A server that is not there is said so, with the words of the load."""
        self.system.stop()
        words = ("websocket", "127.0.0.1:1", "--count", 1)
        problem = await self.assertFailure(deferToThread(load, *words), SystemFailed)
        self.assertIn("websocket 127.0.0.1:1", str(problem))
