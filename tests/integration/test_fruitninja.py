"""The chaos console, over real processes: told what to do by a pipe, a file, and a terminal."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from contrib.cluster import PortTaken, require_free
from contrib.relay import dialler
from tests.integration.base import ProcessTestCase
from uring.wire.hello import HELLO_BYTES_MAX, MAGIC, OLDEST, Hello, encode_hello

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = str(ROOT / "bin" / "fruitninja")
SCRIPT = """
write beep boop
load on
kill leader
wait leader
read beep           # what was written is there
partition 1
wait 1
heal
start all
pause 2
status
resume 2
wait converged 60
load off
mring size 8
mring add n1
storm 3 7
delete beep
"""
NODES = 3
PORTS_TRIED = 20
PORTS_FROM = 10_000


def ports() -> int:
    """Return the first of some free ports that follow each other.

    Below those that connections are given: on a busy machine no two of these may be free in a row.
    """
    limit = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(PORTS_TRIED):
        first = random.randrange(PORTS_FROM, limit - NODES)
        try:
            require_free("127.0.0.1", range(first, first + NODES))
        except PortTaken:
            continue
        return first
    raise AssertionError("no free ports in a row")


def processes(mark: str) -> list[str]:
    """Return the command lines of processes that have ``mark`` among their words."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(mark.encode() in word for word in words):
                found.append(b" ".join(words).decode())
    return found


class Console(ProcessProtocol):
    """A console that runs; what it prints is kept."""

    def __init__(self) -> None:
        self.output = ""
        self.ended: Deferred[int | None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.output += data.decode("utf-8", "replace")

    errReceived = outReceived

    def processEnded(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(getattr(reason.value, "exitCode", None))


class ConsoleTests(ProcessTestCase):
    timeout = 180

    def start(self, *options: str, **how: Any) -> Console:
        """Start the console with its data in a directory that tells its processes from others."""
        self.data = self.directory / "fruit"
        words = [sys.executable, CONSOLE, "-n", str(NODES), "--port", str(ports())]
        words += ["--data", str(self.data), *options]
        console = Console()
        self.process = self.reactor.spawnProcess(
            console, words[0], words, env=dict(os.environ), path=str(self.directory), **how
        )
        self.addCleanup(self.end, console)
        return console

    async def end(self, console: Console) -> None:
        """Let nothing outlive the test, whatever has failed."""
        if not console.ended.called:
            self.process.signalProcess("TERM")
            await console.ended

    async def prints(self, console: Console, *parts: str) -> None:
        """Wait until the console has printed all ``parts``."""

        async def printed() -> bool:
            self.assertFalse(console.ended.called, console.output)
            return all(part in console.output for part in parts)

        await self.until(printed, 60)

    async def test_script(self) -> None:
        """Commands from a pipe are run one after the other; everything ends with the last."""
        console = self.start()
        self.process.write(SCRIPT.encode())
        self.process.closeStdin()
        self.assertEqual(await console.ended, 0, console.output)
        output = console.output
        for part in (
            "node 1 killed\n",
            "boop\n",
            "partitioned: 1 | 2,3\n",
            "healed\n",
            "paused\n",
            "not converged\n",
            "n1: 8 vnodes\n",
            "deleted, it was boop\n",
        ):
            self.assertIn(part, output)
        self.assertRegex(output, r"load: [1-9][0-9]* written")
        self.assertGreaterEqual(output.count("\nconverged\n"), 2, output)
        self.assertEqual(processes(str(self.data)), [])
        self.assertTrue((self.data / "node-1.log").exists())

    async def test_mistakes(self) -> None:
        """What makes no sense is said, the rest is run, and the exit code tells of it."""
        console = self.start()
        self.process.write(b"explode 1\nkill 17\nwrite one\nkill\npartition 1,2 2,3\nread x\n")
        self.process.closeStdin()
        self.assertEqual(await console.ended, 1, console.output)
        for part in (
            "! no command 'explode'; `help` lists them",
            "! no node '17'; there are 1, 2, 3",
            "! usage: write KEY VALUE",
            "! name nodes: 1 2 ..., `leader`, or `all`",
            "! a node is in two groups",
            "there is no such key",
        ):
            self.assertIn(part, console.output)
        self.assertEqual(processes(str(self.data)), [])

    async def test_terminal(self) -> None:
        """On a terminal there is a prompt; Ctrl-C ends it and all nodes, a paused one as well."""
        console = self.start(usePTY=True)
        await self.prints(console, "fruitninja> ")
        self.process.write(b"pause 2\n")
        await self.prints(console, "node 2 paused")
        self.process.write(b"?\n")
        await self.prints(console, "partition 1,2 3,4,5: nodes hear only their group")
        self.assertEqual(len(processes(str(self.data))), NODES + 1)
        self.process.write(b"\x03")
        self.assertEqual(await console.ended, 0, console.output)
        self.assertEqual(processes(str(self.data)), [])

    async def test_data_is_not_used_twice(self) -> None:
        """A directory with anything in it is left alone."""
        (self.directory / "fruit").mkdir()
        (self.directory / "fruit" / "mine").touch()
        console = self.start()
        self.assertEqual(await console.ended, 2)
        self.assertIn("is not empty", console.output)


class DiallerTests(SynchronousTestCase):
    """Who is on a connection, by what it begins with."""

    def test_hello(self) -> None:
        """A node is known once its hello is there, and not before."""
        body = encode_hello(Hello(OLDEST, b"", 7, b"i" * 16, "127.0.0.1:1"))
        whole = MAGIC + len(body).to_bytes(4, "big") + body
        for length in range(len(whole)):
            self.assertIsNone(dialler(whole[:length]), length)
        self.assertEqual(dialler(whole), 7)
        self.assertEqual(dialler(whole + b"more"), 7)

    def test_strangers(self) -> None:
        """Anything else is nobody's, and is not waited for."""
        for received in (
            b"GET / HTTP/1.1\r\n",
            MAGIC + (HELLO_BYTES_MAX + 1).to_bytes(4, "big"),
            MAGIC + (3).to_bytes(4, "big") + b"abc",
        ):
            self.assertEqual(dialler(received), 0, received)
