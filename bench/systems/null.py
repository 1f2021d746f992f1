"""One server that does nothing, to see what the load generator can do."""

from __future__ import annotations

import socket
import sys

from bench.systems.base import ROOT, System


class Null(System):
    """bench/null_node.py; it speaks WebSocket and gRPC."""

    name = "null"
    protocol = "websocket"
    nodes = 1

    def command(self, node: int) -> list[str]:
        """See System."""
        return [sys.executable, str(ROOT / "bench" / "null_node.py"), str(self.ports[node])]

    def leader_of(self, node: int) -> int | None:
        """See System."""
        socket.create_connection(("127.0.0.1", self.ports[node]), 5).close()
        return 0

    def version(self) -> str:
        """See System."""
        return "of this checkout"
