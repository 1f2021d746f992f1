"""One twisted.web site: REST at the root, the WebSocket at /uring, bounds before everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.web.http import RESPONSES, datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from uring.api import replies
from uring.api.channel import UringChannel
from uring.api.doors import Doors
from uring.api.gateway import Gateway
from uring.api.keys import PREFIXES, KeyResource, Keys
from uring.api.limits import Limits
from uring.api.replies import Answer
from uring.api.request import UringRequest
from uring.api.rest import Rest
from uring.api.websocket import SessionFactory
from uring.errors import UringError
from uring.turns import Turns

SWEEP_SECONDS = 1.0

_log = Logger(namespace="uring.http")


class Root(Resource):
    """Gives /uring to the WebSocket when that is asked for, keys to their own resource, and
    everything else to klein: its router costs more than all the rest of a request."""

    isLeaf = True

    def __init__(self, doors: Doors, websocket: WebSocketResource) -> None:
        super().__init__()
        self._doors = doors
        self._websocket = websocket

    def _upgraded(self, request: Any) -> Any:
        channel = request.channel
        rendered = self._websocket.render(request)
        if channel.transport is None:
            channel.taken_over()
        return rendered

    def render(self, request: Any) -> Any:
        try:
            visitor = self._doors.enter(request)
        except UringError as error:
            request.answer(replies.refused(error))
            return NOT_DONE_YET
        if request.path.startswith(PREFIXES):
            return visitor.keys.render(request)
        if request.path == b"/uring":
            asks = request.requestHeaders.hasHeader(b"upgrade") and request.method == b"GET"
            if asks and request.clientproto == b"HTTP/1.1":  # RFC 6455, 4.1
                return self._upgraded(request)
            request.setResponseCode(426, b"Upgrade Required")
            request.setHeader(b"Upgrade", b"websocket")
            request.setHeader(b"Content-Type", b"application/problem+json")
            return replies.problem(426, "this is a WebSocket; connect to ws://host:port/uring")
        # A leaf sees the whole path as consumed; klein wants to route it.
        request.postpath = request.path.split(b"/")[1:]
        request.prepath = []
        return visitor.rest.render(request)


class UringSite(Site):
    """A site without an access log, with limits, and with one sweep for all time-outs."""

    requestFactory = UringRequest
    protocol: Any = UringChannel
    displayTracebacks = False

    def __init__(
        self,
        resource: Resource,
        doors: Doors,
        limits: Limits,
        allowed_hosts: frozenset[str],
        allowed_origins: frozenset[str],
        clock: Any,
        version: str,
        sessions: SessionFactory,
        turns: Turns,
    ) -> None:
        # No timer for each connection: the sweep ends those that are idle.
        super().__init__(resource, requestFactory=UringRequest, reactor=clock)
        self.timeOut = None
        self.doors = doors
        self.keys = doors.anybody.keys.keys
        self.limits = limits
        self.allowed_hosts = allowed_hosts
        self.allowed_origins = allowed_origins
        self.clock = clock
        self.banner = f"uring/{version}".encode()
        self.websockets = sessions
        self.turns = turns
        self.gateway = doors.gateway
        self.access = doors.gateway.access
        self.channels: set[UringChannel] = set()
        self.now: float = clock.seconds()
        """The time of the last sweep: good enough for what takes minutes."""
        self._heads: dict[tuple[int, bytes], bytes] = {}
        self._sweeping: Any = None
        self.noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if len(self.channels) + len(self.websockets.open) >= self.limits.connections:
            return None
        return super().buildProtocol(addr)

    def response(self, answer: Answer) -> bytes:
        """Return a whole response that leaves the connection open."""
        head = self._heads.get((answer.code, answer.kind))
        if head is None:
            head = self._heads[answer.code, answer.kind] = (
                b"HTTP/1.1 %d %b\r\nServer: %b\r\nDate: %b\r\n"
                b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
                b"Content-Type: %b\r\nContent-Length: "
                % (
                    answer.code,
                    RESPONSES.get(answer.code, b"Unknown Status"),
                    self.banner,
                    datetimeToString(),
                    answer.kind,
                )
            )
        if answer.etag is not None:
            more = b'\r\nETag: "%d"\r\n\r\n' % answer.etag
        elif answer.code == 401:
            more = b"\r\nWWW-Authenticate: %b\r\n\r\n" % replies.CHALLENGE
        elif answer.retry_after is not None:
            more = b"\r\nRetry-After: %d\r\n\r\n" % answer.retry_after
        elif answer.allow is not None:
            more = b"\r\nAllow: %b\r\n\r\n" % answer.allow
        else:
            more = b"\r\n\r\n"
        return b"%b%d%b%b" % (head, len(answer.body), more, answer.body)

    def log(self, request: Any) -> None:
        """Count; an access log would cost a fifth of a small GET."""
        self.count(request.code)

    def count(self, code: int) -> None:
        """Take note of one answer."""
        self.gateway.measures.answers[code] += 1

    def startFactory(self) -> None:
        self._sweep()

    def stopFactory(self) -> None:
        if self._sweeping is not None and self._sweeping.active():
            self._sweeping.cancel()
        self._sweeping = None

    def _sweep(self) -> None:
        now = self.now = self.clock.seconds()
        self._heads.clear()  # they hold the date
        self._sweeping = self.clock.callLater(SWEEP_SECONDS, self._sweep)
        for channel in list(self.channels):
            try:
                channel.check(now, self.limits)
            except Exception:  # one client's trouble must not spare the others their time-outs
                _log.failure("a connection could not be checked")
                self.channels.discard(channel)

    def close(self) -> None:
        """Tell every client that the node goes away, and close its connection."""
        self.websockets.close_all()
        for channel in list(self.channels):
            if channel.transport is not None:
                channel.loseConnection()


def make_site(
    gateway: Gateway,
    limits: Limits,
    allowed_hosts: frozenset[str],
    reactor: Any,
    version: str,
    bounds: Mapping[str, float] | None = None,
    allowed_origins: frozenset[str] = frozenset(),
    turns: Turns | None = None,
) -> UringSite:
    """Return the site that serves ``gateway``.

    ``allowed_hosts`` are names under which clients may address this node, beside the loopback ones
    and the address that they connected to; ``bounds`` are shown in /metrics; pages
    of ``allowed_origins`` may do what those of the node's own origin may; ``turns`` are those of
    all clients of this thread.
    """
    turns = Turns(reactor) if turns is None else turns

    def routes(as_seen: Gateway, actor: str) -> tuple[KeyResource, Any]:
        keys = KeyResource(Keys(as_seen, limits))
        rest = Rest(
            as_seen,
            limits,
            version,
            counts=lambda: (len(site.channels), len(sessions.open)),
            bounds=bounds or {},
            actor=actor,
        )
        return keys, rest.app.resource()

    doors = Doors(gateway, limits, reactor, routes)
    sessions = SessionFactory(doors, limits, reactor, version, turns)
    root = Root(doors, WebSocketResource(sessions))
    site = UringSite(
        root, doors, limits, allowed_hosts, allowed_origins, reactor, version, sessions, turns
    )
    return site
