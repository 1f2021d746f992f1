"""One twisted.web site: REST at the root, the WebSocket at /uring, bounds before everything."""

from __future__ import annotations

import re
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from uring.api import replies
from uring.api.gateway import Gateway
from uring.api.limits import Limits
from uring.api.rest import Rest
from uring.api.websocket import SessionFactory

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
# What a header's value must not hold: autobahn would take some of these for the end of a line.
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f\x85]")
SWEEP_SECONDS = 1.0


def host_of(header: str) -> str | None:
    """Return the host of a Host header, lower-case, or None if it is malformed."""
    match = _HOST.fullmatch(header)
    return None if match is None else match[1].strip("[]").lower().rstrip(".")


class UringRequest(Request):
    """A request that is refused as early as it can be."""

    channel: Any  # a UringChannel; Twisted only promises an HTTPChannel
    refused = False
    authority: bytes | None = None
    """The host that an absolute request target names."""
    _held = 0

    def gotLength(self, length: int | None) -> None:
        """The headers are here: refuse before a byte of the body is kept."""
        limits = self.channel.site.limits
        if length is not None and length > limits.body_bytes:
            self.refuse_body()
        super().gotLength(0)  # kept in memory: Twisted would spool what has no length to a file

    def handleContentChunk(self, data: bytes) -> None:
        if self.refused:
            return
        self._held += len(data)
        if self._held > self.channel.site.limits.body_bytes:
            self.refuse_body()
            return
        super().handleContentChunk(data)

    def refuse_body(self) -> None:
        """Answer without having read the body, and close: what follows is no next request."""
        self.refused = True
        limit = self.channel.site.limits.body_bytes
        body = replies.problem(413, f"a body may have at most {limit} bytes")
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.transport.write(
            b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/problem+json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        self.channel.linger()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.channel.finished_reading()
        if self.refused:
            return
        if not path.startswith(b"/") and b"://" in path:
            # The absolute form, meant for proxies (RFC 9112, 3.2.2).
            self.authority, _, rest = path.partition(b"://")[2].partition(b"/")
            path = b"/" + rest
        # Twisted would look for forms, by the parser of e-mail: a quarter of the cost of a POST.
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Answer, unless something about the request itself is wrong."""
        self.setHeader(b"X-Content-Type-Options", b"nosniff")
        self.setHeader(b"Cache-Control", b"no-store")
        objection = self._objection()
        if objection is None:
            super().process()
            return
        code, detail = objection
        self.setHeader(b"Server", self.channel.site.banner)
        self.setResponseCode(code)
        self.setHeader(b"Content-Type", b"application/problem+json")
        body = replies.problem(code, detail)
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def _objection(self) -> tuple[int, str] | None:
        limits = self.channel.site.limits
        if self.method not in METHODS:
            return 501, "unknown method"
        if len(self.uri) > limits.uri_bytes:
            return 414, f"a path may have at most {limits.uri_bytes} bytes"
        for _, values in self.requestHeaders.getAllRawHeaders():
            if any(_FORBIDDEN.search(value) for value in values):
                return 400, "a header holds a control character"
        encodings = self.requestHeaders.getRawHeaders(b"content-encoding", [])
        if any(each.strip().lower() != b"identity" for each in encodings):
            return 415, "send the body as it is, without Content-Encoding"
        return self._foreign()

    def _foreign(self) -> tuple[int, str] | None:
        """Keep web pages out: by the Host they think they talk to, and by where they are from."""
        hosts = self.requestHeaders.getRawHeaders(b"host", [])
        if len(hosts) > 1 or (not hosts and self.clientproto != b"HTTP/1.0"):
            return 400, "send one Host header"
        host = hosts[0].decode("latin-1") if hosts else "localhost"
        if not self._is_ours(host):
            return 421, "this node does not go by that Host; see --advertise"
        if self.authority is not None and self.authority.decode("latin-1") != host:
            return 400, "the request's target names another host"
        upgrade = self.requestHeaders.hasHeader(b"upgrade")
        if self.method in _SAFE and not upgrade:
            return None
        origins = self.requestHeaders.getRawHeaders(b"origin", [])
        for origin in origins:
            if origin.decode("latin-1").lower() not in (
                f"http://{host}".lower(),
                f"https://{host}".lower(),
            ):
                return 403, "pages of another origin may not do this"
        sites = self.requestHeaders.getRawHeaders(b"sec-fetch-site", [])
        if any(site not in (b"same-origin", b"none") for site in sites):
            return 403, "pages of another site may not do this"
        return None

    def _is_ours(self, header: str) -> bool:
        host = host_of(header)
        if host is None:
            return False
        if host in _LOCAL or host in self.channel.site.allowed_hosts:
            return True
        local = self.channel.getHost()
        return isinstance(local, IPv4Address | IPv6Address) and host == local.host

    def render(self, resrc: Any) -> None:
        self.setHeader(b"Server", self.channel.site.banner)
        super().render(resrc)


class UringChannel(HTTPChannel):
    """A connection that is watched: slow headers and slow bodies are closed."""

    totalHeadersSize = 32 * 1024
    requestFactory = UringRequest
    began: float | None = None
    """When the first byte of the request under way came."""
    lingering = False
    in_body = False
    site: Any
    """The UringSite that built it."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.channels.discard(self)
        super().connectionLost(reason)

    def linger(self) -> None:
        """Send no more, and read what still comes without keeping it (RFC 9112, 9.6).

        To close with unread data would reset the connection, and the client's kernel might then
        throw away the answer before it was read.  :meth:`check` ends it if the client does not.
        """
        self.lingering = True
        transport: Any = self.transport
        transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.lingering:
            return
        if self.began is None and not self._handlingRequest:
            self.began = self.site.clock.seconds()
        super().dataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # a length of more digits than int() takes
            self._respondToBadRequestAndDisconnect()
            return False

    def rawDataReceived(self, data: bytes) -> None:
        super().rawDataReceived(data)
        # Twisted would wait for the end of a chunk however long it says that it is.
        announced = getattr(self._transferDecoder, "length", None) or 0
        if announced > self.site.limits.body_bytes and not self.requests[-1].refused:
            self.requests[-1].refuse_body()

    def allHeadersReceived(self) -> None:
        self.in_body = True
        super().allHeadersReceived()

    def finished_reading(self) -> None:
        """The request under way is complete."""
        self.began = None
        self.in_body = False

    def check(self, now: float, limits: Limits) -> None:
        """Close if the request under way takes too long to arrive."""
        if self.transport is None:
            self.site.channels.discard(self)  # a WebSocket took it over
        elif self.began is not None:
            allowed = limits.body_seconds if self.in_body else limits.header_seconds
            if now - self.began >= allowed:
                self.forceAbortClient()


class Root(Resource):
    """Gives /uring to the WebSocket when that is asked for, and everything else to klein."""

    isLeaf = True

    def __init__(self, rest: Any, websocket: WebSocketResource) -> None:
        super().__init__()
        self._rest = rest
        self._websocket = websocket

    def render(self, request: Any) -> Any:
        if request.path == b"/uring":
            if request.requestHeaders.hasHeader(b"upgrade") and request.method == b"GET":
                return self._websocket.render(request)
            request.setResponseCode(426)
            request.setHeader(b"Upgrade", b"websocket")
            request.setHeader(b"Content-Type", b"application/problem+json")
            return replies.problem(426, "this is a WebSocket; connect to ws://host:port/uring")
        # A leaf sees the whole path as consumed; klein wants to route it.
        request.postpath = request.path.split(b"/")[1:]
        request.prepath = []
        return self._rest.render(request)


class UringSite(Site):
    """A site without an access log, with limits, and with one sweep for all time-outs."""

    requestFactory = UringRequest
    protocol: Any = UringChannel
    displayTracebacks = False

    def __init__(
        self,
        resource: Resource,
        limits: Limits,
        allowed_hosts: frozenset[str],
        clock: Any,
        version: str,
        sessions: SessionFactory,
    ) -> None:
        super().__init__(
            resource, requestFactory=UringRequest, timeout=limits.idle_seconds, reactor=clock
        )
        self.limits = limits
        self.allowed_hosts = allowed_hosts
        self.clock = clock
        self.banner = f"uring/{version}".encode()
        self.websockets = sessions
        self.channels: set[UringChannel] = set()
        self._sweeping: Any = None
        self.noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if len(self.channels) + len(self.websockets.open) >= self.limits.connections:
            return None
        return super().buildProtocol(addr)

    def log(self, request: Any) -> None:
        """An access log would cost a fifth of a small GET."""

    def startFactory(self) -> None:
        self._sweep()

    def stopFactory(self) -> None:
        if self._sweeping is not None and self._sweeping.active():
            self._sweeping.cancel()
        self._sweeping = None

    def _sweep(self) -> None:
        now = self.clock.seconds()
        for channel in list(self.channels):
            channel.check(now, self.limits)
        self._sweeping = self.clock.callLater(SWEEP_SECONDS, self._sweep)

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
) -> UringSite:
    """Return the site that serves ``gateway``.

    ``allowed_hosts`` are names under which clients may address this node, beside the loopback ones
    and the address that they connected to.
    """
    sessions = SessionFactory(gateway, limits, reactor, version)
    rest = Rest(gateway, limits, version)
    root = Root(rest.app.resource(), WebSocketResource(sessions))
    return UringSite(root, limits, allowed_hosts, reactor, version, sessions)
