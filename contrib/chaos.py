"""``bin/fruitninja``: a console that is unkind to a cluster of real processes on this machine."""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
import tempfile
import termios
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater, react
from twisted.logger import globalLogBeginner

from contrib.cluster import Cluster, Node, PortTaken
from contrib.fruit import Commands, Refused
from contrib.relay import Network
from contrib.running import FAILED, say
from contrib.servers import NodeStopped
from uring.errors import UringError

PROMPT = "fruitninja> "
NODES_MAX = 9


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="fruitninja",
        description="Starts a cluster on this machine, and takes commands: on a terminal, or one a "
        "line from a file or a pipe. Everything it started ends with it.",
    )
    parser.add_argument("-n", "--nodes", type=int, default=5, help=f"1 to {NODES_MAX} (5)")
    parser.add_argument(
        "--port", type=int, default=8081, help="of the first node; the others follow (8081)"
    )
    parser.add_argument("--data", type=Path, help="a new directory for data and logs, which stays")
    return parser


class Lines:
    """Reads lines in a thread of their own, so that a file, a pipe and a terminal will all do.

    The thread is left behind when the process ends: nothing can interrupt its read.
    """

    def __init__(self, reactor: Any, terminal: bool) -> None:
        self._reactor = reactor
        self._terminal = terminal
        self._wanted = threading.Semaphore(0)
        self._waiter: Deferred[str | None] | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Deferred[str | None]:
        """Return the next line, None at the end."""
        self._waiter = Deferred()
        self._wanted.release()
        return self._waiter

    def _read(self) -> None:
        if self._terminal:
            with suppress(ImportError):
                import readline  # noqa: F401  (lines can be edited, and come again)
        while True:
            self._wanted.acquire()
            line: str | None
            try:
                line = input(PROMPT if self._terminal else "")
            except (EOFError, UnicodeDecodeError):
                line = None
            with suppress(RuntimeError):  # the reactor has ended
                self._reactor.callFromThread(self._deliver, line)

    def _deliver(self, line: str | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:
            waiter.callback(line)


def describe(reactor: Any, options: argparse.Namespace, network: Network) -> Cluster:
    """Return the cluster, every node behind a relay."""
    nodes = [Node(options.port + place, place + 1, place == 0) for place in range(options.nodes)]
    cluster = Cluster(nodes, options.data, reactor=reactor)
    for server in cluster.servers:
        server.advertise = network.relay(server.node_id, server.port)
    known = [server.advertise or "" for server in cluster.servers]
    for server in cluster.servers:
        server.peers = [address for address in known if address != server.advertise]
    return cluster


async def converse(commands: Commands, lines: Lines, terminal: bool) -> int:
    """Run commands until the last; return the exit code.  On a terminal mistakes are no failure."""
    failed = 0
    while True:
        line = await lines.next()
        if line is None:
            break
        words = _words(line)
        if not words:
            continue
        if not terminal:
            say(f"{PROMPT}{line.strip()}")
        if words[0] in ("quit", "exit", "q"):
            break
        try:
            await commands.run(words[0], words[1:])
        except (Refused, UringError, TimeoutError, ValueError, CannotListenError) as error:
            say(f"! {error}")
            failed = FAILED
    return 0 if terminal else failed


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


async def _session(reactor: Any, options: argparse.Namespace) -> int:
    """Start, converse, stop.  Whatever ends it, the nodes are stopped."""
    terminal = sys.stdin.isatty()
    before = termios.tcgetattr(sys.stdin) if terminal else None
    network = Network(reactor)
    cluster: Cluster | None = None
    commands: Commands | None = None
    work: Deferred[int] | None = None

    async def all_of_it() -> int:
        nonlocal cluster, commands
        cluster = describe(reactor, options, network)
        await cluster.start()
        await cluster.join()
        commands = Commands(reactor, cluster, network, say)
        say(f"{options.nodes} nodes, data in {options.data}; `help` lists what can be done to them")
        return await converse(commands, Lines(reactor, terminal), terminal)

    def stop(*ignored: object) -> None:
        if work is not None:
            work.cancel()

    await deferLater(reactor, 0)  # the reactor has set its own handlers by then
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *ignored: reactor.callFromThread(stop))
    try:
        work = Deferred.fromCoroutine(all_of_it())
        return await work
    except CancelledError:
        return 0
    except (PortTaken, NodeStopped, TimeoutError, UringError) as error:
        print(error, file=sys.stderr, flush=True)
        return FAILED
    finally:
        say("stopping ...")
        if commands is not None:
            await commands.close()
        if cluster is not None:
            for server in cluster.servers:
                server.signal("CONT")  # who stands still cannot stop
            await cluster.stop()
        await network.stop()
        if before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def main() -> None:
    """Run the console."""
    options = parser().parse_args()
    if not 1 <= options.nodes <= NODES_MAX:
        parser().error(f"--nodes must be from 1 to {NODES_MAX}")
    if not 1 <= options.port <= 65536 - options.nodes:
        parser().error("--port must leave room for all nodes below 65536")
    made = None
    if options.data is None:
        options.data = made = Path(tempfile.mkdtemp(prefix="fruitninja-"))
    elif options.data.exists() and any(options.data.iterdir()):
        parser().error(f"{options.data} is not empty: every session begins a new cluster")
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)

    async def session(reactor: Any) -> None:
        try:
            code = await _session(reactor, options)
        finally:
            if made is not None:
                shutil.rmtree(made, ignore_errors=True)
        raise SystemExit(code)

    react(lambda reactor: Deferred.fromCoroutine(session(reactor)))
