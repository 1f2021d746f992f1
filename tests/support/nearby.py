"""A cluster of one in memory, and the real client in front of it, without sockets.

Machines, leases, doors of the WebSocket and watches are the real ones.  Requests are answered at
once, get lost, or hang, as the test says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock, LoopingCall

from tests.support.gateway import FakeGateway
from tests.support.rest import as_command, as_message, as_response
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
        name, fields = as_command(method, url.decode(), options.get("data"))
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
        return succeed(as_response(name, reply))

    def _carry_out(self, name: str, fields: dict[str, Any]) -> Any:
        replies: list[Any] = []
        session = Session(
            self.gateway, Limits(), "0", lambda text: replies.append(json.loads(text)), print
        )
        session.received(as_message(name, fields))
        (reply,) = replies
        return reply

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
