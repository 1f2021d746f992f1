"""Three nodes of uring or of etcd on loopback, in processes of their own, with fsync on."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0
_TWISTD = "from twisted.scripts.twistd import run; run()"
_TICKS = os.sysconf("SC_CLK_TCK")


class SystemFailed(Exception):
    """A node does not do what it should; the text says which and where its output is."""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that were free a moment ago."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def ask(port: int, method: str, path: str, body: Any = None, timeout: float = 5.0) -> Any:
    """Return the JSON answer of one HTTP request.  Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise OSError(f"{method} {path}: {answer.status} {text[:200]!r}")
        return json.loads(text) if text else None
    finally:
        connection.close()


class System:
    """Three nodes.  ``directory`` holds their data and output, and is emptied at the start."""

    name = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports: list[int] = []
        self.processes: list[subprocess.Popen[bytes] | None] = [None, None, None]

    # What each system does its own way

    def command(self, node: int) -> list[str]:
        """Return the words that start node 0, 1 or 2."""
        raise NotImplementedError

    def leader_of(self, node: int) -> int | None:
        """Return which node the given one takes for the leader.  Raises OSError."""
        raise NotImplementedError

    def form(self) -> None:
        """Make one cluster of the nodes, once they run."""

    # Life

    def start(self) -> None:
        """Start all on empty directories, and return once there is a leader everywhere."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.ports = free_ports(6)
        for node in range(3):
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
        self.processes = [None, None, None]
        shutil.rmtree(self.directory, ignore_errors=True)

    # What can be seen

    def wait_for(self, what: str, check: Callable[[], Any]) -> Any:
        """Return what ``check`` returns, once that is true.  Raises :exc:`SystemFailed`."""
        end = time.monotonic() + START_SECONDS
        problem = ""
        while time.monotonic() < end:
            try:
                if found := check():
                    return found
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                problem = str(error)
            time.sleep(0.02)
        raise SystemFailed(f"{self.name}: {what} not within {START_SECONDS:g} s: {problem}")

    def alive(self) -> list[int]:
        """Return the nodes that run."""
        return [node for node, process in enumerate(self.processes) if process is not None]

    def leader(self) -> int:
        """Return the leader, once all running nodes agree on one of them."""

        def agreed() -> tuple[int] | None:
            alive = self.alive()
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


class Uring(System):
    """This project, with the interpreter that runs the measurement."""

    name = "uring"
    options: Sequence[str] = ()

    def command(self, node: int) -> list[str]:
        """See System."""
        words = [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "uring"]
        words += ["-e", self.address(node), "-i", str(node + 1), "-d", f"data-{node}"]
        for other in range(3):
            if other != node:
                words += ["-p", self.address(other)]
        return [*words, *(["-b"] if node == 0 else []), *self.options]

    def leader_of(self, node: int) -> int | None:
        """See System."""
        leader = ask(self.ports[node], "GET", "/status")["leader"]
        return int(leader) - 1 if leader else None

    def form(self) -> None:
        """See System."""
        for node in (1, 2):
            self.wait_for(f"node {node + 1} as a member", partial(self._add, node))

    def _add(self, node: int) -> bool:
        ask(self.ports[0], "POST", f"/node/{node + 1}")
        return True


class Etcd(System):
    """etcd with its defaults; ``etcd`` must be on the PATH."""

    name = "etcd"

    def command(self, node: int) -> list[str]:
        """See System."""
        members = ",".join(f"n{i}=http://127.0.0.1:{self.ports[3 + i]}" for i in range(3))
        client, peer = f"http://{self.address(node)}", f"http://127.0.0.1:{self.ports[3 + node]}"
        return [
            "etcd",
            *("--name", f"n{node}", "--data-dir", f"data-{node}"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", members, "--initial-cluster-state", "new"),
            *("--log-level", "error", "--quota-backend-bytes", str(8 << 30)),
        ]

    def leader_of(self, node: int) -> int | None:
        """See System."""
        members = {}
        for other in self.alive():
            status = ask(self.ports[other], "POST", "/v3/maintenance/status", {})
            members[status["header"]["member_id"]] = other
            if other == node:
                leader = status.get("leader")
        return members.get(leader)


def missing_etcd() -> str | None:
    """Return what to do where etcd is not installed, or None."""
    if shutil.which("etcd"):
        return None
    return "etcd is not on the PATH: install it (Debian: apt-get install etcd-server)"


def etcd_version() -> str:
    """Return etcd's own word for its version."""
    said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0].rpartition(" ")[2]
