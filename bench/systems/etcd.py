"""Nodes of etcd with its defaults."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from bench.speakers.http import gateway_request
from bench.systems.base import System, ask


class Etcd(System):
    """etcd; it must be on the PATH."""

    name = "etcd"
    protocol = "grpc"

    def command(self, node: int) -> list[str]:
        """See System."""
        peers = self.ports[self.nodes + 1 :]
        count = self.nodes + (node == self.nodes)
        members = ",".join(f"n{i}=http://127.0.0.1:{peers[i]}" for i in range(count))
        client, peer = f"http://{self.address(node)}", f"http://127.0.0.1:{peers[node]}"
        return [
            "etcd",
            *("--name", f"n{node}", "--data-dir", f"data-{node}"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", members),
            *("--initial-cluster-state", "new" if node < self.nodes else "existing"),
            *("--log-level", "error", "--quota-backend-bytes", str(8 << 30)),
        ]

    def _status(self, node: int) -> dict[str, Any]:
        said: dict[str, Any] = ask(self.ports[node], "POST", "/v3/maintenance/status", {})
        return said

    def leader_of(self, node: int) -> int | None:
        """See System."""
        members = {}
        leader = None
        for other in self.alive():
            if other == self.nodes:
                continue
            status = self._status(other)
            members[status["header"]["member_id"]] = other
            if other == node:
                leader = status.get("leader")
        return members.get(leader)

    @classmethod
    def missing(cls) -> str | None:
        """See System."""
        if shutil.which("etcd"):
            return None
        return "etcd is not on the PATH: install it (Debian: apt-get install etcd-server)"

    def version(self) -> str:
        """See System: etcd's own word for it."""
        said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
        return said.stdout.splitlines()[0].rpartition(" ")[2]

    def put_request(self, key: str, value: str) -> bytes:
        """See System."""
        return gateway_request(key, value)

    def get_request(self, key: str) -> bytes:
        """See System."""
        return gateway_request(key, None)

    def log_index(self, node: int) -> int:
        """See System."""
        return int(self._status(node)["raftIndex"])

    def term(self, node: int) -> int:
        """See System."""
        return int(self._status(node)["raftTerm"])

    def add_learner(self) -> int:
        """See System."""
        node = self.nodes
        peer = f"http://127.0.0.1:{self.ports[self.nodes + 1 + node]}"
        body = {"peerURLs": [peer], "isLearner": True}
        ask(self.ports[self.leader()], "POST", "/v3/cluster/member/add", body)
        self.launch(node)
        return node

    def caught_up(self, node: int) -> bool:
        """See System: it has applied what the leader had committed when it was asked."""
        wanted = int(self._status(self.leader())["raftIndex"])
        return int(self._status(node).get("raftAppliedIndex", 0)) >= wanted - 1000
