"""Three nodes of a system on loopback, in processes of their own."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


class SystemFailed(Exception):
    """A node or a load does not do what it should; the text says what."""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that were free a moment ago."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def fetch(port: int, method: str, path: str, body: Any = None, timeout: float = 5.0) -> bytes:
    """Return the body of one HTTP request's answer.  Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise OSError(f"{method} {path}: {answer.status} {text[:200]!r}")
        return text
    finally:
        connection.close()


def ask(port: int, method: str, path: str, body: Any = None, timeout: float = 5.0) -> Any:
    """Return the JSON answer of one HTTP request.  Raises OSError, HTTPException, ValueError."""
    text = fetch(port, method, path, body, timeout)
    return json.loads(text) if text else None


class System:
    """Nodes from 0 on.  ``directory`` holds their data and output, and is emptied at the start."""

    name = ""
    protocol = ""
    """What the load generator speaks to it by default."""
    nodes = 3

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports: list[int] = []
        self.processes: list[subprocess.Popen[bytes] | None] = []

    # What each system does its own way

    def command(self, node: int) -> list[str]:
        """Return the words that start a node."""
        raise NotImplementedError

    def leader_of(self, node: int) -> int | None:
        """Return which node the given one takes for the leader.  Raises OSError."""
        raise NotImplementedError

    def form(self) -> None:
        """Make one cluster of the nodes, once they run."""

    @classmethod
    def missing(cls) -> str | None:
        """Return what to do where it is not installed, or None."""
        return None

    def version(self) -> str:
        """Return its version."""
        raise NotImplementedError

    def put_request(self, key: str, value: str) -> bytes:
        """Return a whole request that one node answers, on a connection that may be kept."""
        raise NotImplementedError

    def get_request(self, key: str) -> bytes:
        """Return a whole linearizable read."""
        raise NotImplementedError

    def log_index(self, node: int) -> int:
        """Return the index of a node's last entry.  Raises OSError."""
        raise NotImplementedError

    def log_batches(self, node: int) -> int | None:
        """Return how many batches a node has written to its log, if it tells.  Raises OSError."""
        return None

    def term(self, node: int) -> int:
        """Return the term of a node, which every election raises.  Raises OSError."""
        raise NotImplementedError

    def add_learner(self) -> int:
        """Start a fourth node and begin to add it; return its number."""
        raise NotImplementedError

    def caught_up(self, node: int) -> bool:
        """Tell whether an added node has all that the leader had committed.  Raises OSError."""
        raise NotImplementedError

    # Life

    def start(self) -> None:
        """Start all on empty directories, and return once there is a leader everywhere."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        # Two for each node, and for one that may be added: for clients, and for peers.
        self.ports = free_ports(2 * (self.nodes + 1))
        self.processes = [None] * (self.nodes + 1)
        for node in range(self.nodes):
            self.launch(node)
        self.form()
        self.leader()

    def launch(self, node: int) -> None:
        """Start one node, for the first time or again."""
        environment = dict(os.environ, PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{ROOT}")
        with open(self.directory / f"{node}.log", "ab") as output:
            self.processes[node] = subprocess.Popen(
                self.command(node),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.directory,
            )

    def kill(self, node: int) -> None:
        """End one node as a crash would."""
        process = self.processes[node]
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.processes[node] = None

    def stop(self) -> None:
        """End all, and delete their data."""
        for process in self.processes:
            if process is not None:
                process.terminate()
        for process in self.processes:
            if process is not None:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.processes = []
        shutil.rmtree(self.directory, ignore_errors=True)

    # What can be seen

    def wait_for(self, what: str, check: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
        """Return what ``check`` returns, once that is true.  Raises :exc:`SystemFailed`."""
        end = time.monotonic() + seconds
        problem = ""
        while time.monotonic() < end:
            try:
                if found := check():
                    return found
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                problem = str(error)
            self._check_running()
            time.sleep(0.02)
        raise SystemFailed(f"{self.name}: {what} not within {seconds:g} s: {problem}")

    def _check_running(self) -> None:
        """Raise :exc:`SystemFailed` with its last words if a node ended by itself."""
        for node in self.alive():
            process = self.processes[node]
            if process is not None and process.poll() is not None:
                words = (self.directory / f"{node}.log").read_text(errors="replace")[-500:]
                raise SystemFailed(
                    f"{self.name}: node {node} ended with {process.returncode}: {words}"
                )

    def alive(self) -> list[int]:
        """Return the nodes that run."""
        return [node for node, process in enumerate(self.processes) if process is not None]

    def leader(self) -> int:
        """Return the leader, once all running voters agree on one of them."""

        def agreed() -> tuple[int] | None:
            # A node that was added may be a learner that answers little.
            alive = [node for node in self.alive() if node < self.nodes]
            leaders = {self.leader_of(node) for node in alive}
            leader = leaders.pop()
            return (leader,) if not leaders and leader in alive else None

        return self.wait_for("a leader", agreed)[0]

    def address(self, node: int) -> str:
        """Return where clients reach a node."""
        return f"127.0.0.1:{self.ports[node]}"

    def cpu_seconds(self) -> float:
        """Return what all running nodes have used of the processors."""
        total = 0
        for process in self.processes:
            if process is not None:
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def peak_megabytes(self) -> float:
        """Return the most memory that any running node has had (VmHWM)."""
        peaks = []
        for process in self.processes:
            if process is not None:
                status = Path(f"/proc/{process.pid}/status").read_text()
                found = re.search(r"VmHWM:\s+(\d+) kB", status)
                peaks.append(int(found[1]) / 1024 if found else 0.0)
        return max(peaks)

    def pid(self, node: int) -> int:
        """Return the process of a node that runs."""
        process = self.processes[node]
        if process is None:
            raise SystemFailed(f"{self.name}: node {node} does not run")
        return process.pid
