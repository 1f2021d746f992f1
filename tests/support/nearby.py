"""A cluster of one in memory, and the real client in front of it, without sockets.

Machines, leases, doors of the WebSocket and watches are the real ones.  Requests are answered at
once, get lost, or hang, as the test says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock, LoopingCall
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers

from tests.support.gateway import FakeGateway
from uring.api.limits import Limits
from uring.api.session import Session
from uring.client import Client
from uring.client.websocket import WebSocketSession
from uring.errors import Unavailable
from uring.lessor import Lessor
from uring.machines import leases
from uring.machines.commands import Lease
from uring.machines.table import Applied, Machines

TICK = 0.05
ADDRESS = "127.0.0.1:8081"


class Response:
    """What treq would return."""

    def __init__(self, code: int, body: bytes) -> None:
        self.code = code
        self.headers = Headers()
        self._body = body
        self.length = len(body)

    def deliverBody(self, protocol: Any) -> None:
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))


class MeasuredMachines:
    """Tells of leases, as the node does."""

    def __init__(self, touched: Callable[[list[Lease]], None]) -> None:
        self._machines = Machines()
        self._touched = touched
        self.query = self._machines.query

    def apply(self, *args: Any) -> Applied:
        applied = self._machines.apply(*args)
        self._touched(applied.leases)
        return applied


class Nearby:
    """The cluster; :meth:`client` makes clients of it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        machines: Any = MeasuredMachines(lambda leases: self.lessor.touched(leases))
        self.gateway = FakeGateway(clock=clock, machines=machines)
        self.lessor = Lessor(
            read=lambda after, count: leases.every(self.gateway.state, after, count),
            submit=self.gateway.submit,
            step=2 * TICK,
        )
        self.lessor.tick(True, 0.0)
        self._ticking = LoopingCall(self.lessor.tick, True, TICK)
        self._ticking.clock = clock
        self._ticking.start(TICK)
        self.asked: list[str] = []
        """The commands that came, in order."""
        self.lost_answers: list[str] = []
        """Commands whose next answer gets lost, after they were carried out."""
        self.away = False
        """Whether nobody can reach the cluster."""
        self.hangs = False
        """Whether requests are not answered at all."""
        self._answers: dict[str, Any] = {}
        self._sockets: list[WebSocketSession] = []

    def client(self, **options: Any) -> Client:
        """Return a client that reaches this cluster."""
        client = Client(ADDRESS, reactor=self.clock, http=self, **options)
        client.connect_websocket = self.connect_websocket  # type: ignore[method-assign]
        return client

    def leave(self) -> None:
        """Let nobody reach the cluster any more."""
        self.away = True
        for socket in self._sockets:
            socket.connection_lost("gone")

    # -- requests --------------------------------------------------------------------------------

    def request(self, method: str, url: bytes, **options: Any) -> Deferred[Any]:
        """See treq.client.HTTPClient."""
        if self.away:
            return fail(error.ConnectionRefusedError())
        if self.hangs:
            return Deferred()
        name, fields = self._command(method, url.decode(), options.get("data"))
        self.asked.append(name)
        once = options.get("headers", {}).get("Idempotency-Key")
        reply = self._answers.get(once) if once else None
        if reply is None:
            reply = self._carry_out(name, fields)
            if once:
                self._answers[once] = reply
        if name in self.lost_answers:
            self.lost_answers.remove(name)
            return fail(error.ConnectionLost())
        body = reply["data"] if reply["code"] < 400 else reply.get("error") or {}
        return succeed(Response(reply["code"], json.dumps(body).encode()))

    def _carry_out(self, name: str, fields: dict[str, Any]) -> Any:
        replies: list[Any] = []
        session = Session(
            self.gateway, Limits(), "0", lambda text: replies.append(json.loads(text)), print
        )
        command = {"As": {"protocol": "KV", "cmd": {name: {"rid": 1, **fields}}}}
        session.received(json.dumps(command).encode())
        (reply,) = replies
        if name == "Grant" and reply["code"] == 200:
            reply["code"] = 201
        return reply

    def _command(self, method: str, url: str, data: bytes | None) -> tuple[str, dict[str, Any]]:
        parts = urlsplit(url)
        _, *words = map(unquote, parts.path.split("/"))
        match method, words:
            case "GET", ["kv"]:
                given = {name: values[0] for name, values in parse_qs(parts.query).items()}
                return "List", {**given, "limit": int(given["limit"])}
            case "GET", ["kv", key]:
                return "Look", {"key": key}
            case "POST", ["txn"]:
                return "Txn", json.loads(data or b"")
            case "POST", ["lease"]:
                return "Grant", json.loads(data or b"")
            case "POST", ["lease", lease]:
                return "KeepAlive", {"lease": int(lease)}
            case "DELETE", ["lease", lease]:
                return "Revoke", {"lease": int(lease)}
        raise AssertionError(f"{method} {url}")

    # -- sockets ---------------------------------------------------------------------------------

    async def connect_websocket(self) -> WebSocketSession:
        """Return a session with the real other side."""
        if self.away or self.hangs:
            raise Unavailable("nobody there")

        def hang_up() -> None:
            there.close()
            here.connection_lost("closed")

        def send(text: bytes) -> None:
            self.clock.callLater(0, there.received, text)

        here = WebSocketSession(self.clock, send, hang_up, 5.0)
        there = Session(self.gateway, Limits(), "0", here.text_received, lambda busy: None)
        self._sockets.append(here)
        return here
