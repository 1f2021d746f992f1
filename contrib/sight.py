"""What a console sees of the nodes of a cluster: how each one is, who leads, whether they agree."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.task import deferLater

from contrib.cluster import Cluster
from uring.client import Client
from uring.errors import UringError

POLL_SECONDS = 0.1
ANSWER_SECONDS = 2.0
"""A node that takes longer to say how it is is shown as one that does not answer."""
PATIENCE_SECONDS = 10.0

Statuses = dict[int, dict[str, Any] | None]


class Sight:
    """Asks every node by itself."""

    def __init__(self, reactor: Any, cluster: Cluster) -> None:
        self._reactor = reactor
        self.servers = {server.node_id: server for server in cluster.servers}
        self.paused: set[int] = set()
        """Those that stand still, as they were told to: they are not asked."""
        self.clients = {
            node: Client(server.address, reactor=reactor, timeout=ANSWER_SECONDS)
            for node, server in self.servers.items()
        }

    async def close(self) -> None:
        """Close the connections."""
        for client in self.clients.values():
            await client.close()

    async def statuses(self) -> Statuses:
        """Return what each node says of itself, None where it says nothing."""
        found: Statuses = {}
        for node, server in self.servers.items():
            found[node] = None
            if server.running and node not in self.paused:
                try:
                    found[node] = await self.clients[node].status()
                except UringError:
                    continue
        return found

    async def leader(self) -> int:
        """Return who leads, once it is one.  Raises TimeoutError."""
        found: set[int] = set()

        async def known() -> bool:
            found.clear()
            for status in (await self.statuses()).values():
                if status and status["role"] == "Leader":
                    found.add(int(status["id"]))
            return len(found) == 1

        await self.until(known, PATIENCE_SECONDS, "nobody, or more than one, says that it leads")
        return found.pop()

    async def until(self, reached: Callable[[], Awaitable[bool]], seconds: float, why: str) -> None:
        """Wait until ``reached``.  Raises TimeoutError with ``why`` after ``seconds``."""
        end = self._reactor.seconds() + seconds
        while not await reached():
            if self._reactor.seconds() >= end:
                raise TimeoutError(f"after {seconds:g} s: {why}")
            await deferLater(self._reactor, POLL_SECONDS)

    async def converged(self, seconds: float) -> None:
        """Wait until all nodes agree.  Raises TimeoutError."""

        async def reached() -> bool:
            return self.agree(await self.statuses())

        await self.until(reached, seconds, "they do not agree; see `status`")

    def agree(self, statuses: Statuses) -> bool:
        """Tell whether all are there, and say the same of leader, members, and state."""
        known = [status for status in statuses.values() if status is not None]
        roles = [status["role"] for status in known]
        same = {(s["term"], s["leader"], s["applied_index"], len(s["members"])) for s in known}
        return len(known) == len(self.servers) and len(same) == 1 and roles.count("Leader") == 1

    def described(self, node: int, status: dict[str, Any] | None) -> str:
        """Return a few words for a node."""
        if not self.servers[node].running:
            return "down"
        if node in self.paused:
            return "paused"
        if status is None:
            return "no answer"
        return f"{status['role']}  term {status['term']}  applied {status['applied_index']}"
