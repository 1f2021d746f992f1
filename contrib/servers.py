"""One node in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

SOURCE = Path(__file__).resolve().parent.parent / "src"
KEPT_BYTES = 16_384
"""The end of a node's output that is kept, to show when it stops unasked."""

# twistd is a console script; in a checkout there may be none beside this interpreter.
_TWISTD = "from twisted.scripts.twistd import run; run()"


class NodeStopped(Exception):
    """A node's process ended though nobody asked it to; the text has the end of its output."""


class _Process(ProcessProtocol):
    """Reads what a node prints, and knows when it has ended."""

    def __init__(self, log: Any) -> None:
        self.ended: Deferred[int | None] = Deferred()
        self.kept = b""
        self._log = log

    def outReceived(self, data: bytes) -> None:
        """Write output to the log file and keep the end of it."""
        self.kept = (self.kept + data)[-KEPT_BYTES:]
        if self._log is not None:
            self._log.write(data)
            self._log.flush()

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """Fire ``ended`` with the exit code, None after a signal."""
        if self._log is not None:
            self._log.close()
        code = 0 if reason.check(ProcessDone) else getattr(reason.value, "exitCode", None)
        self.ended.callback(code)


class UringServer:
    """One node: ``twistd -n uring`` with this interpreter, whether uring is installed or not."""

    def __init__(
        self,
        node_id: int,
        port: int,
        *,
        peers: Sequence[str] = (),
        advertise: str | None = None,
        bootstrap: bool = False,
        host: str = "127.0.0.1",
        data_dir: Path | str | None = None,
        options: Sequence[str] = (),
        log_file: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
        reactor: Any = None,
    ) -> None:
        """Describe a node; ``data_dir`` defaults to ./raft-leveldb-ID, as the node's own does.

        ``advertise`` is where peers are to dial it, if that is elsewhere than where it listens.
        ``options`` are further words of its command line, ``environment`` further variables;
        ``log_file`` gets what it prints.
        """
        self.node_id = int(node_id)
        self.port = int(port)
        self.host = host
        self.peers = list(peers)
        self.advertise = advertise
        self.bootstrap = bootstrap
        self.data_dir = Path(data_dir or f"raft-leveldb-{self.node_id}").absolute()
        self.options = list(options)
        self.environment = dict(environment or {})
        self.log_file = None if log_file is None else Path(log_file)
        self.unasked: Callable[[UringServer, int | None], None] | None = None
        """Called with the server and the exit code when the process ends by itself."""
        if reactor is None:
            from twisted.internet import reactor as default_reactor

            reactor = default_reactor
        self._reactor = reactor
        self._process: _Process | None = None
        self._transport: Any = None
        self._asked = False

    @property
    def address(self) -> str:
        """Where the node listens, as host:port."""
        return f"{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its process lives, as far as we were told."""
        return self._process is not None and not self._process.ended.called

    def pid(self) -> int | None:
        """Return the id of its process, None if it has none."""
        return self._transport.pid if self.running else None

    def output(self) -> str:
        """Return the end of what the node printed since its last start."""
        kept = b"" if self._process is None else self._process.kept
        return kept.decode("utf-8", "replace")

    def command(self) -> list[str]:
        """Return the words that start the node."""
        words = [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "uring"]
        words += ["-e", self.address, "-i", str(self.node_id), "-d", str(self.data_dir)]
        for peer in self.peers:
            words += ["-p", peer]
        if self.advertise is not None:
            words += ["--advertise", self.advertise]
        if self.bootstrap:
            words.append("-b")
        return words + self.options

    def reset(self) -> None:
        """Delete the node's data.  Refuses anything that does not look like a data directory."""
        if self.running:
            raise RuntimeError(f"node {self.node_id} is running")
        if not self.data_dir.name.startswith("raft-leveldb-"):
            raise ValueError(f"{self.data_dir} is not named raft-leveldb-*: not deleted")
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def start(self) -> None:
        """Start the process; it serves only some time later, see RaftClient.wait_until_up."""
        if self.running:
            raise RuntimeError(f"node {self.node_id} is running already")
        self._asked = False
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        log = None if self.log_file is None else open(self.log_file, "ab")  # noqa: SIM115
        self._process = _Process(log)
        self._process.ended.addCallback(self._ended)
        environment = {**os.environ, **self.environment}
        others = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{SOURCE}{os.pathsep}{others}" if others else str(SOURCE)
        command = self.command()
        self._transport = self._reactor.spawnProcess(
            self._process, command[0], command, env=environment, path=str(self.data_dir.parent)
        )

    def _ended(self, code: int | None) -> int | None:
        if not self._asked and self.unasked is not None:
            self.unasked(self, code)
        return code

    def ended(self) -> Deferred[int | None]:
        """Return a Deferred that fires with the exit code (None after a signal) at the end."""
        if self._process is None:
            raise RuntimeError(f"node {self.node_id} was never started")
        waiter: Deferred[int | None] = Deferred()

        def tell(code: int | None) -> int | None:
            if not waiter.called:
                waiter.callback(code)
            return code

        self._process.ended.addCallback(tell)
        return waiter

    def signal(self, name: str) -> None:
        """Send a signal ("KILL", "STOP", "CONT", "TERM"); nothing happens if it has ended."""
        if self.running:
            # It may have ended, with its output not read to the end: then we are not told yet.
            with suppress(ProcessExitedAlready):
                # Twisted knows only some signals by name.
                self._transport.signalProcess(signal.Signals[f"SIG{name}"])

    async def die(self) -> None:
        """Kill the node as a power cut would, and return when it is gone."""
        await self._end("KILL", 5.0)

    async def stop(self, timeout: float = 5.0) -> int | None:
        """Ask the node to stop, kill it after ``timeout`` seconds; return its exit code."""
        return await self._end("TERM", timeout)

    async def _end(self, name: str, timeout: float) -> int | None:
        if self._process is None:
            return None
        self._asked = True
        self.signal(name)
        killer = self._reactor.callLater(timeout, self.signal, "KILL")
        try:
            return await self.ended()
        finally:
            if killer.active():
                killer.cancel()


async def stop_all(servers: Sequence[UringServer], timeout: float = 5.0) -> None:
    """Stop several nodes at the same time."""
    started = [Deferred.fromCoroutine(server.stop(timeout)) for server in servers]
    await DeferredList(started, consumeErrors=True)
