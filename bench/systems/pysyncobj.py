"""Nodes of pysyncobj, each in bench/pysyncobj_node.py, with its journal on (it never syncs it)."""

from __future__ import annotations

import importlib.util
import socket
import sys
from importlib.metadata import version

from bench.speakers.lines import line
from bench.systems.base import ROOT, System

TICK_SECONDS = 0.001


class PySyncObj(System):
    """pysyncobj, tuned: with its own defaults it ticks twenty times a second."""

    name = "pysyncobj"
    protocol = "lines"

    def command(self, node: int) -> list[str]:
        """See System."""
        peers = [f"127.0.0.1:{port}" for port in self.ports[self.nodes + 1 :][: self.nodes]]
        own = peers.pop(node)
        words = [sys.executable, str(ROOT / "bench" / "pysyncobj_node.py"), self.address(node), own]
        return [*words, *peers, "--data", f"data-{node}", "--tick", str(TICK_SECONDS)]

    def leader_of(self, node: int) -> int | None:
        """See System."""
        with socket.create_connection(("127.0.0.1", self.ports[node]), 5) as sock:
            sock.sendall(b"leader\n")
            said = sock.makefile().readline().strip()
        port = said.rpartition(":")[2]
        return self.ports.index(int(port)) - self.nodes - 1 if port.isdigit() else None

    @classmethod
    def missing(cls) -> str | None:
        """See System."""
        if importlib.util.find_spec("pysyncobj"):
            return None
        return "pysyncobj is not installed: bench/run does so (or pip install 'uring[bench]')"

    def version(self) -> str:
        """See System."""
        return version("pysyncobj")

    def put_request(self, key: str, value: str) -> bytes:
        """See System."""
        return line(key, value)
