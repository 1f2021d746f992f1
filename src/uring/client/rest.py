"""A typed client of the REST interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Self, cast

from uring.client.answers import ProtocolError, Reply, RingNode, Swap, check_batch, ring
from uring.client.elections import Election
from uring.client.locks import TTL_SECONDS, Lock, this_process
from uring.client.services import ServiceClient, field, path
from uring.client.tls import Trust
from uring.client.transport import Transport
from uring.client.watch import Watch
from uring.client.websocket import WebSocketSession, connect
from uring.errors import Unavailable

DEFAULT_ENDPOINT = "127.0.0.1:8080"

TIMEOUT_SECONDS = 10.0
"""Longer than a node's own time-out, so that the node's answer is what a client usually sees."""


class Client(ServiceClient):
    """Talks to a node, which forwards to its leader what it cannot answer itself.

    Every method raises UringError: Unavailable when nothing was done, OutcomeUnknown when a write
    may or may not have been.
    """

    def __init__(
        self,
        *endpoints: str,
        reactor: Any = None,
        http: Any = None,
        timeout: float = TIMEOUT_SECONDS,
        patience: float = 0.0,
        repeat: bool = False,
        ca: str | None = None,
        token: str | None = None,
    ) -> None:
        """Talk to any of ``endpoints`` (host:port, or https://host:port for TLS).

        ``timeout`` in seconds is for each attempt; ``ca`` names a file with the authorities that
        sign the nodes' certificates, where the operating system does not know them; ``token``
        proves who asks, where nodes want to know.

        With several endpoints each is tried once where another cannot serve; ``patience`` is for
        how many seconds all of them are tried again; ``repeat`` lets writes be sent again whose
        outcome is unknown (see :class:`uring.client.services.ServiceClient`).  ``http`` stands in
        for the ``treq.client.HTTPClient`` that is made otherwise.
        """
        if reactor is None:
            from twisted.internet import reactor as default_reactor

            reactor = default_reactor
        self.timeout = timeout
        self._patience = patience
        self._reactor = reactor
        self._trust = Trust(ca)
        self._token = token
        nodes = endpoints or (DEFAULT_ENDPOINT,)
        super().__init__(
            Transport(nodes, reactor, timeout, patience, http, self._trust, token), repeat
        )

    @property
    def address(self) -> str:
        """The node that is asked next, as host:port."""
        return self._transport.endpoint

    async def close(self) -> None:
        """Close the connections that were kept for the next request."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    # The node and the cluster

    async def status(self) -> dict[str, Any]:
        """Return what the node says of itself: id, role, term, leader, members ..."""
        return cast(dict[str, Any], await self._read("/status"))

    async def timeline(self) -> dict[str, Any]:
        """Return what happened in the last hour, as the node that is asked saw it."""
        return cast(dict[str, Any], await self._read("/cluster/timeline"))

    async def cluster(self) -> list[dict[str, Any]]:
        """Return every member with what it told the node of itself within the last second or so."""
        return cast(list[dict[str, Any]], await self._read("/cluster"))

    async def checks(self) -> str:
        """Return the checks of /readyz, one a line, whether they hold; needs no token."""
        answer = (await self._ask("GET", "/readyz?verbose")).expect(200, 503)
        return answer.body.decode("utf-8", "replace")

    async def probe_disk(self) -> list[float]:
        """Return what some synced writes to the node's disk take now, in milliseconds."""
        answer = (await self._ask("POST", "/disk/probe")).expect(200)
        return [float(each) for each in field(answer, "writes_ms")]

    async def version(self) -> str:
        """Return the version of the node's software."""
        return str(await self._read("/version"))

    async def members(self) -> dict[int, str]:
        """Return id -> address of every member, as far as this node knows."""
        found = (await self.status()).get("members")
        try:
            return {int(each["id"]): str(each["address"]) for each in found or ()}
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"not a list of members: {found!r}") from error

    async def is_member(self, node_id: int) -> bool:
        """Return whether the node is a member."""
        answer = await self._ask("GET", f"/node/{int(node_id)}")
        return answer.expect(200, 404).code == 200

    async def add_member(self, node_id: int, address: str | None = None) -> None:
        """Add a member, and wait until it votes.

        ``address`` is where it listens, needed only if it has not said hello yet.  Raises Conflict
        if it has not, and no address was given; Unavailable if it is a learner by now, and becomes
        a voter by itself once it has caught up.
        """
        body = None if address is None else {"address": address}
        reply = await self._ask("POST", f"/node/{int(node_id)}", body)
        if reply.expect(200, 201, 202).code == 202:
            raise Unavailable(reply.json["detail"])

    register = add_member

    async def remove_member(self, node_id: int) -> None:
        """Remove a member; raises NotFound if it is none."""
        (await self._ask("DELETE", f"/node/{int(node_id)}")).expect(200, 204)

    async def transfer(self, node_id: int) -> None:
        """Make ``node_id`` the leader."""
        (await self._ask("POST", f"/leader/{int(node_id)}")).expect(200)

    async def backup(self, file: BinaryIO, progress: Callable[[int], None] | None = None) -> None:
        """Write a backup of the cluster's state to ``file``; ``progress`` gets sizes in bytes.

        Raises Unavailable if the node cannot give one, or stops in the middle: what was written is
        then no whole backup, and ``uring.restore`` would say so.
        """

        def take(chunk: bytes) -> None:
            file.write(chunk)
            if progress is not None:
                progress(len(chunk))

        await self._transport.fetch("/backup", take)

    # Tokens

    async def add_token(
        self, role: str, name: str = "", prefixes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Make a token; its ``token`` is shown this once.

        ``role`` is read, write or admin.  Raises Conflict if the first is not an admin's.
        """
        body = {"role": role, "name": name, "prefixes": list(prefixes)}
        answer = (await self._ask("POST", "/tokens", body)).expect(201)
        field(answer, "token")
        return cast(dict[str, Any], answer.json)

    async def tokens(self) -> list[dict[str, Any]]:
        """Return all tokens, without what proves them."""
        found = await self._read("/tokens")
        if not isinstance(found, list):
            raise ProtocolError(f"not a list of tokens: {found!r:.200}")
        return found

    async def remove_token(self, token_id: str) -> None:
        """Remove a token; raises NotFound if there is none, Conflict for the last admin's."""
        (await self._ask("DELETE", path("tokens", token_id))).expect(200)

    # Keys and values

    async def get(self, key: str, *, stale: bool = False) -> str | None:
        """Return the value of ``key``, None if there is none.

        The newest value that anyone was told of; with ``stale`` what this node knows, at once.
        """
        suffix = "?consistency=stale" if stale else ""
        answer = await self._ask("GET", path("kv", key) + suffix)
        if answer.expect(200, 404).code == 404:
            return None
        return cast(str, field(answer, "value"))

    async def put(self, key: str, value: str) -> None:
        """Store ``value`` under ``key``."""
        (await self._ask("POST", path("kv", key), {"value": value})).expect(200, 201)

    async def cas(self, key: str, check: str | None, store: str) -> Swap:
        """Store ``store`` if ``key`` holds ``check`` (None: does not exist)."""
        body = {"check": check, "store": store}
        answer = (await self._ask("POST", path("kv", key, "cas"), body)).expect(201, 409)
        if answer.code == 201:
            return Swap(stored=True)
        return Swap(stored=False, current=_current(answer.json))

    async def delete(self, key: str) -> str | None:
        """Remove ``key``; return the value it had, None if there was none."""
        answer = await self._ask("DELETE", path("kv", key))
        if answer.expect(200, 404).code == 404:
            return None
        return _current(answer.json)

    async def batch(
        self, commands: Sequence[tuple[str, Mapping[str, Any]]], *, stale: bool = False
    ) -> list[Reply]:
        """Send up to 1024 commands of keys and values in one request.

        ``commands`` are (name, fields), such as ("Put", {"key": "k", "store": "v"}); names are Get,
        Put, Delete, Cas.  Returns their replies in the same order; each may be a refusal.  They are
        no transaction.  Raises ValueError for none or too many.
        """
        check_batch(commands)
        suffix = "?consistency=stale" if stale else ""
        body = [{name: dict(fields)} for name, fields in commands]
        answers = (await self._ask("POST", f"/kv{suffix}", body)).expect(200).json
        try:
            replies = [
                Reply(None, int(each["code"]), each["data"], each.get("error")) for each in answers
            ]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"no answers to a list of commands: {answers!r}") from error
        if len(replies) != len(commands):
            raise ProtocolError(f"{len(replies)} answers to {len(commands)} commands")
        return replies

    # The ring

    async def ring_size(self) -> int | None:
        """Return the number of vnodes, None while it is not set."""
        answer = (await self._ask("GET", "/mring")).expect(200, 404)
        return int(field(answer, "size")) if answer.code == 200 else None

    async def set_ring_size(self, size: int) -> None:
        """Give the ring its size, once; raises Conflict if it has another one."""
        (await self._ask("POST", "/mring", {"size": size})).expect(200, 201)

    async def ring_nodes(self) -> list[RingNode]:
        """Return the nodes of the ring in the order of adding."""
        return ring(await self._read("/mring/node"))

    async def add_ring_node(self, node: str) -> list[RingNode]:
        """Add a node and return the whole ring; raises PreconditionFailed before it has a size."""
        answer = await self._ask("POST", "/mring/node", {"node": node})
        return ring(answer.expect(200, 201).json)

    async def remove_ring_node(self, node: str) -> list[RingNode]:
        """Remove a node and return what is left; raises NotFound if the ring has no such node."""
        return ring((await self._ask("DELETE", path("mring", "node", node))).expect(200).json)

    async def plan_ring(
        self,
        add: Sequence[str | dict[str, Any]] = (),
        remove: Sequence[str] = (),
        weights: Mapping[str, int] | None = None,
        zones: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return what a change of the ring would come to; its "plan" is for :meth:`commit_ring`."""
        body = {
            "add": list(add),
            "remove": list(remove),
            "weights": dict(weights or {}),
            "zones": dict(zones or {}),
            "format": "ranges",
        }
        answer = await self._ask("POST", "/mring/plan", body)
        return cast(dict[str, Any], answer.expect(200).json)

    async def commit_ring(self, plan: dict[str, Any]) -> list[RingNode]:
        """Do exactly what was planned, or raise Conflict; return the whole ring."""
        return ring((await self._ask("POST", "/mring/commit", {"plan": plan})).expect(200).json)

    async def ring_vnode(self, vnode: int) -> dict[str, Any]:
        """Return the owner, target, state and replicas of a vnode."""
        return cast(dict[str, Any], await self._read(f"/mring/vnode/{vnode}"))

    async def ring_handoffs(self, start: int = 0) -> dict[str, Any]:
        """Return the limits, who takes part, and what is not handed off yet."""
        return cast(dict[str, Any], await self._read(f"/mring/handoff?start={start}"))

    # Watching

    def watch(
        self,
        channel: str = "kv",
        *,
        prefix: str = "",
        start: int | None = None,
        snapshot: bool = False,
    ) -> Watch:
        """Watch the changes of ``channel`` ("kv", "mring", "uring"), of keys with ``prefix``.

        From revision ``start`` on (to resume: the watch's ``next``), or from now on; with
        ``snapshot`` first what there is.  Goes on at the next endpoint when one is lost.
        """
        return Watch(self, self._reactor, channel, prefix, start, snapshot)

    def move_on(self) -> None:
        """Ask the next endpoint from now on."""
        self._transport.move_on()

    # Locks and elections

    def lock(
        self,
        name: str,
        ttl: float = TTL_SECONDS,
        *,
        wait: float | None = None,
        value: str | bytes | None = None,
    ) -> Lock:
        """Return a turn at the lock ``name``: ``async with client.lock("jobs") as lock``.

        See :class:`uring.client.Lock`; ``value`` is host and process if None.  Raises ValueError
        for a name or a time that no lock can have.
        """
        shown = this_process() if value is None else value
        return Lock(self, self._reactor, name, ttl, wait, shown)

    def election(self, name: str, ttl: float = TTL_SECONDS) -> Election:
        """Return the election ``name``, to campaign in and to observe.  Raises ValueError."""
        return Election(self, self._reactor, name, ttl)

    def lasting(self, timeout: float, patience: float) -> ServiceClient:
        """Return calls whose writes are repeated safely, for at least ``patience`` seconds.

        ``timeout`` is for each attempt.  They choose the node that they ask by themselves.
        """
        patience = max(patience, self._patience)
        return ServiceClient(self._transport.apart(timeout, patience), repeat=True)

    # The socket

    async def connect_websocket(self) -> WebSocketSession:
        """Open a WebSocket to the same node; raises Unavailable if that fails."""
        return await connect(self._reactor, self.address, self.timeout, self._trust, self._token)

    async def _read(self, path: str) -> Any:
        return (await self._ask("GET", path)).expect(200).json


def _current(found: Any) -> str | None:
    """Return the value that a delete or a failed compare-and-swap shows."""
    if isinstance(found, dict):
        found = found.get("current", found.get("value"))
    return found if isinstance(found, str) else None
