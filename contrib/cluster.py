"""Several nodes on this machine, started and joined."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from contrib.clients import POLL_SECONDS, RaftClient
from contrib.servers import NodeStopped, UringServer, stop_all
from uring.errors import UringError

Item = TypeVar("Item")


class ConfigError(Exception):
    """A cluster file that cannot be used; the text says where and why."""


class PortTaken(Exception):
    """A port that a node was to listen on is in use."""


@frozen
class Node:
    """One line of a cluster file."""

    port: int
    node_id: int
    bootstrap: bool


def rotate(items: Sequence[Item]) -> list[Item]:
    """Return ``items`` with the first one moved to the end."""
    return [*items[1:], *items[:1]]


def read_config(path: Path | str) -> list[Node]:
    """Read a cluster file: ``[{"port": 8081, "id": "1", "bootstrap": true}, ...]``.

    Raises ConfigError if it is not one, or repeats an id or a port, or not exactly one node
    founds the cluster.
    """
    try:
        entries = json.loads(Path(path).read_text("utf-8"))
        nodes = [
            Node(int(entry["port"]), int(entry["id"]), bool(entry.get("bootstrap", False)))
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error
    if len({node.node_id for node in nodes}) != len(nodes):
        raise ConfigError(f"{path}: two nodes have the same id")
    if len({node.port for node in nodes}) != len(nodes):
        raise ConfigError(f"{path}: two nodes have the same port")
    if sum(node.bootstrap for node in nodes) != 1:
        raise ConfigError(f"{path}: exactly one node must have bootstrap: true")
    return nodes


def require_free(host: str, ports: Iterable[int]) -> None:
    """Raise PortTaken, naming the first port that cannot be listened on."""
    for port in ports:
        with socket.socket() as probe:
            # As the nodes' own listeners do: a port that only waits for old packets is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise PortTaken(
                    f"port {port} on {host} cannot be used ({error.strerror}): "
                    "stop what listens there, for example another cluster, and start again"
                ) from error


class Cluster:
    """A test cluster on loopback.  Data is in ``directory``/raft-leveldb-ID."""

    def __init__(
        self,
        nodes: Sequence[Node],
        directory: Path | str = ".",
        *,
        options: Sequence[str] = (),
        host: str = "127.0.0.1",
        reactor: Any = None,
    ) -> None:
        """Describe a cluster; ``options`` are further words for every node's command line."""
        if reactor is None:
            from twisted.internet import reactor as default_reactor

            reactor = default_reactor
        self._reactor = reactor
        self.host = host
        self.directory = Path(directory).absolute()
        self.servers: list[UringServer] = []
        self.clients: list[RaftClient] = []
        around = list(nodes)
        for node in nodes:
            around = rotate(around)
            self.servers.append(self._server(node, around[:-1], options))
            self.clients.append(
                RaftClient(node.port, host=host, node_id=node.node_id, reactor=reactor)
            )

    def _server(self, node: Node, others: Sequence[Node], options: Sequence[str]) -> UringServer:
        return UringServer(
            node.node_id,
            node.port,
            peers=[f"{self.host}:{other.port}" for other in others],
            bootstrap=node.bootstrap,
            host=self.host,
            data_dir=self.directory / f"raft-leveldb-{node.node_id}",
            log_file=self.directory / f"node-{node.node_id}.log",
            options=options,
            reactor=self._reactor,
        )

    @classmethod
    def configure(cls, path: Path | str, directory: Path | str = ".", **more: Any) -> Cluster:
        """Describe the cluster of a cluster file."""
        return cls(read_config(path), directory, **more)

    def reset(self) -> None:
        """Delete the data of every node of this cluster, and nothing else."""
        for server in self.servers:
            server.reset()

    async def start(self, timeout: float = 15.0) -> None:
        """Start every node; return once each answers /status.

        Raises PortTaken before anything is started, NodeStopped if a node ends meanwhile,
        TimeoutError if one does not answer.
        """
        require_free(self.host, [server.port for server in self.servers])
        self.directory.mkdir(parents=True, exist_ok=True)
        for server in self.servers:
            server.start()
        await self._while_running(
            gatherResults(
                [Deferred.fromCoroutine(each.wait_until_up(timeout)) for each in self.clients],
                consumeErrors=True,
            )
        )

    async def join(self, timeout: float = 15.0) -> None:
        """Have the founder add the others, and return once every node knows of all of it.

        Nodes that are members already, after a restart, are left as they are.
        """
        everyone = {server.node_id for server in self.servers}
        await self._while_running(Deferred.fromCoroutine(self._join(everyone, timeout)))

    async def _join(self, everyone: set[int], timeout: float) -> None:
        end = self._reactor.seconds() + timeout
        founder = next(
            client
            for client, server in zip(self.clients, self.servers, strict=True)
            if server.bootstrap
        )
        await founder.wait_for(lambda status: bool(status.get("leader")), timeout)
        for client, server in zip(self.clients, self.servers, strict=True):
            if not server.bootstrap:
                address = server.advertise or server.address
                await self._add(founder, client.node_id or 0, address, end)
        for client in self.clients:
            await client.wait_for(
                lambda status: (
                    bool(status.get("leader")) and len(status["members"]) >= len(everyone)
                ),
                max(0.1, end - self._reactor.seconds()),
            )

    async def _add(self, founder: RaftClient, node_id: int, address: str, end: float) -> None:
        """Add one member; again while there is no leader, or another change is under way.

        Adding twice does no harm, so an unknown outcome is tried again, too.
        """
        while True:
            try:
                return await founder.register(node_id, address)
            except UringError:
                if self._reactor.seconds() >= end:
                    raise
            await deferLater(self._reactor, POLL_SECONDS)

    async def _while_running(self, work: Deferred[Any]) -> None:
        """Wait for ``work``, but no longer than every node lives."""

        def give_up(server: UringServer, code: int | None) -> None:
            stopped = f"node {server.node_id} stopped with exit code {code}:\n{server.output()}"
            failure.append(NodeStopped(stopped))
            work.cancel()

        failure: list[NodeStopped] = []
        previous = [server.unasked for server in self.servers]
        for server in self.servers:
            server.unasked = give_up
        try:
            await work
        except Exception:
            if failure:
                raise failure[0] from None
            raise
        finally:
            for server, before in zip(self.servers, previous, strict=True):
                server.unasked = before

    async def stop(self, timeout: float = 5.0) -> None:
        """Stop every node, and close every client."""
        for client in self.clients:
            await client.close()
        await stop_all(self.servers, timeout)
