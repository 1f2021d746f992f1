"""The seed's client: one node's REST routes and WebSocket commands under short names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import deferLater

from uring.client import Client, Reply, Swap, WebSocketSession
from uring.errors import UringError

POLL_SECONDS = 0.05


class RaftClient:
    """Talks to one node; ``node_id`` is the node that :meth:`register` adds."""

    def __init__(
        self,
        port: int = 8081,
        *,
        host: str = "127.0.0.1",
        node_id: int | None = None,
        reactor: Any = None,
        timeout: float = 10.0,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor as default_reactor

            reactor = default_reactor
        self.node_id = node_id
        self.address = f"{host}:{port}"
        self.rest = Client(self.address, reactor=reactor, timeout=timeout)
        self.ws: WebSocketSession | None = None
        self._reactor = reactor

    # REST

    async def status(self) -> dict[str, Any]:
        """Return what GET /status shows."""
        return await self.rest.status()

    async def register(self, node_id: int | None = None, address: str | None = None) -> None:
        """Have ``node_id`` (this client's own by default) added by the node we talk to."""
        chosen = self.node_id if node_id is None else node_id
        if chosen is None:
            raise ValueError("no node id was given, neither here nor to the constructor")
        await self.rest.add_member(chosen, address)

    async def get(self, key: str, stale: bool = False) -> str | None:
        """Return the value of ``key``, None if there is none."""
        return await self.rest.get(key, stale=stale)

    async def put(self, key: str, value: str) -> None:
        """Store ``value`` under ``key``."""
        await self.rest.put(key, value)

    async def cas(self, key: str, check: str | None, store: str) -> Swap:
        """Store ``store`` if ``key`` holds ``check``."""
        return await self.rest.cas(key, check, store)

    async def delete(self, key: str) -> str | None:
        """Remove ``key``; return the value it had."""
        return await self.rest.delete(key)

    async def wait_until_up(self, timeout: float = 30.0) -> dict[str, Any]:
        """Return the node's first status; raises the last UringError after ``timeout`` seconds."""
        return await self.wait_for(lambda status: True, timeout)

    async def wait_for(
        self, accept: Callable[[dict[str, Any]], bool], timeout: float = 10.0
    ) -> dict[str, Any]:
        """Poll /status until ``accept`` takes one, and return it.

        Raises TimeoutError with the last status or the last failure after ``timeout`` seconds.
        """
        end = self._reactor.seconds() + timeout
        while True:
            last: Any
            try:
                last = await self.rest.status()
                if accept(last):
                    return last  # type: ignore[no-any-return]
            except UringError as error:
                last = error
            if self._reactor.seconds() >= end:
                raise TimeoutError(f"{self.address} after {timeout:g} s: {last}")
            await deferLater(self._reactor, POLL_SECONDS)

    # WebSocket

    async def ws_start(self) -> WebSocketSession:
        """Open the WebSocket, if that was not done."""
        if self.ws is None or self.ws.closed.called:
            self.ws = await self.rest.connect_websocket()
        return self.ws

    async def close(self) -> None:
        """Close the socket and the kept connections."""
        if self.ws is not None:
            await self.ws.close()
        await self.rest.close()

    async def select(self, protocol: str) -> None:
        """Select a protocol on the socket."""
        await (await self.ws_start()).select(protocol)

    async def execute_as(self, protocol: str, command: str, **fields: Any) -> Reply:
        """Run one command of ``protocol`` on the socket."""
        return await (await self.ws_start()).request_as(protocol, command, **fields)

    async def subscribe(self, channel: str, handler: Callable[[dict[str, Any]], None]) -> None:
        """Have ``handler`` called with every event of ``channel``."""
        (await self.ws_start()).listen(channel, handler)

    async def kv_get(self, key: str) -> Reply:
        """Get over the socket."""
        return await self.execute_as("KV", "Get", key=key)

    async def kv_put(self, key: str, store: str) -> Reply:
        """Put over the socket."""
        return await self.execute_as("KV", "Put", key=key, store=store)

    async def kv_cas(self, key: str, check: str | None, store: str) -> Reply:
        """Compare and swap over the socket."""
        return await self.execute_as("KV", "Cas", key=key, check=check, store=store)

    async def kv_delete(self, key: str) -> Reply:
        """Delete over the socket."""
        return await self.execute_as("KV", "Delete", key=key)

    async def mring_get_size(self) -> Reply:
        """Read the ring's size over the socket."""
        return await self.execute_as("MRing", "GetSize")

    async def mring_set_size(self, size: int) -> Reply:
        """Set the ring's size over the socket."""
        return await self.execute_as("MRing", "SetSize", size=size)

    async def mring_get_nodes(self) -> Reply:
        """Read the ring over the socket."""
        return await self.execute_as("MRing", "GetNodes")

    async def mring_add_node(self, name: str) -> Reply:
        """Add a node to the ring over the socket."""
        return await self.execute_as("MRing", "AddNode", node=name)

    async def mring_remove_node(self, name: str) -> Reply:
        """Remove a node from the ring over the socket."""
        return await self.execute_as("MRing", "RemoveNode", node=name)
