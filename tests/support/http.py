"""A site on a loopback port, and clients that send it exactly the bytes they are given."""

from __future__ import annotations

import base64
import os
import struct
from typing import Any

import orjson
from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.support.gateway import FakeGateway
from uring.api.limits import Limits
from uring.api.site import make_site


class RawClient(Protocol):
    """Collects what comes; ``until`` waits for it."""

    def __init__(self) -> None:
        self.received = b""
        self.closed = False
        self._waiting: list[tuple[Any, Deferred[bytes]]] = []

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._check()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self._check()

    def until(self, condition: Any) -> Deferred[bytes]:
        """Fire with all that came, once ``condition(received)`` holds or nothing more can come."""
        waiting: Deferred[bytes] = Deferred()
        self._waiting.append((condition, waiting))
        self._check()
        return waiting

    def until_closed(self) -> Deferred[bytes]:
        return self.until(lambda received: False)

    def _check(self) -> None:
        for item in list(self._waiting):
            if self.closed or item[0](self.received):
                self._waiting.remove(item)
                item[1].callback(self.received)


@define
class Response:
    """One HTTP response, taken apart."""

    code: int
    line: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


def complete(received: bytes) -> bool:
    """Tell whether a whole response with a Content-Length is there."""
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return head.startswith((b"HTTP/1.1 204", b"HTTP/1.1 101"))


def has_head(received: bytes) -> bool:
    """Tell whether all headers are there; a response to HEAD has nothing else."""
    return b"\r\n\r\n" in received


def parse(received: bytes) -> Response:
    """Return the first response in ``received``."""
    head, _, body = received.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)
    }
    if "content-length" in headers:
        body = body[: int(headers["content-length"])]
    return Response(int(line.split()[1]), line, headers, body)


def masked(payload: bytes, first: int = 0x81) -> bytes:
    """Return a client's frame; ``first`` is its first byte."""
    key = os.urandom(4)
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", first, 0x80 | size)
    elif size < 65536:
        head = struct.pack(">BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", first, 0x80 | 127, size)
    body = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload)) if size < 10000 else None
    if body is None:
        key, body = bytes(4), payload
    return head + key + body


def frames(received: bytes) -> list[tuple[int, bytes]]:
    """Return (first byte, payload) of each whole frame of a server."""
    found = []
    position = 0
    while len(received) - position >= 2:
        first, size = received[position], received[position + 1]
        start = position + 2
        if size == 126:
            size, start = int.from_bytes(received[start : start + 2]), start + 2
        elif size == 127:
            size, start = int.from_bytes(received[start : start + 8]), start + 8
        if len(received) < start + size:
            break
        found.append((first, received[start : start + size]))
        position = start + size
    return found


class WebSocketClient:
    """A WebSocket made of raw frames."""

    def __init__(self, raw: RawClient, skip: int) -> None:
        self.raw = raw
        self._skip = skip

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        return frames(self.raw.received[self._skip :])

    @property
    def texts(self) -> list[Any]:
        return [orjson.loads(payload) for first, payload in self.frames if first == 0x81]

    @property
    def close_code(self) -> int | None:
        for first, payload in self.frames:
            if first == 0x88:
                return int.from_bytes(payload[:2]) if payload else 1005
        return None

    def send(self, message: Any) -> None:
        text = message if isinstance(message, bytes) else orjson.dumps(message)
        self.raw.write(masked(text))

    async def receive(self, count: int = 1) -> list[Any]:
        """Return all texts, once there are ``count`` or the connection is closed."""
        await self.raw.until(lambda received: len(self.texts) >= count)
        return self.texts

    async def ask(self, message: Any) -> Any:
        """Send one message; return the next text."""
        count = len(self.texts)
        self.send(message)
        texts = await self.receive(count + 1)
        return texts[count] if len(texts) > count else None


class SiteTestCase(TestCase):
    """Runs a site with a fake gateway; its clock stands still unless it is advanced."""

    limits = Limits()
    origins: frozenset[str] = frozenset()
    timeout = 20

    async def setUp(self) -> None:  # type: ignore[override]
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.clock = HybridClock(reactor)
        self.gateway = FakeGateway(clock=self.clock)
        self.site = make_site(
            self.gateway,
            self.limits,
            frozenset({"uring.example"}),
            self.clock,
            "1.2.3",
            allowed_origins=self.origins,
        )
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self.port = await endpoint.listen(self.site)
        self.number = self.port.getHost().port
        self.clients: list[RawClient] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for client in self.clients:
            if not client.closed:
                assert client.transport is not None
                client.transport.abortConnection()  # type: ignore[attr-defined]
                await client.until_closed()
        await self.port.stopListening()
        for channel in list(self.site.channels):
            if channel.transport is not None:
                channel.forceAbortClient()
        for session in list(self.site.websockets.open):
            session.dropConnection(abort=True)
        # Autobahn gathers time-outs in buckets, which outlive the connections that they were for.
        for call in self.reactor.getDelayedCalls():
            call.cancel()

    async def connect(self) -> RawClient:
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.number)
        client: Any = await endpoint.connect(Factory.forProtocol(RawClient))
        self.clients.append(client)
        return client

    async def raw(self, data: bytes) -> Response:
        """Send ``data`` on a connection of its own; return the response."""
        client = await self.connect()
        client.write(data)
        received = await client.until(has_head if data.startswith(b"HEAD") else complete)
        self.assertTrue(received, "closed without an answer")
        return parse(received)

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Send a well-formed request."""
        text = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        fields = {"Host": f"127.0.0.1:{self.number}", **headers}
        if text or method == "POST":
            fields["Content-Length"] = str(len(text))
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        return await self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + text)

    async def alive(self) -> None:
        """Check that another client is served."""
        response = await self.request("GET", "/version")
        self.assertEqual((response.code, response.json()), (200, "1.2.3"))

    async def handshake(self, **headers: str) -> tuple[RawClient, Response]:
        """Ask for a WebSocket."""
        fields = {
            "Host": f"127.0.0.1:{self.number}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        client = await self.connect()
        client.write(f"GET /uring HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
        received = await client.until(lambda data: b"\r\n\r\n" in data)
        return client, parse(received)

    async def websocket(self, protocol: str | None = "KV") -> WebSocketClient:
        """Return an open WebSocket, with ``protocol`` selected."""
        client, response = await self.handshake()
        self.assertEqual(response.code, 101)
        socket = WebSocketClient(client, client.received.index(b"\r\n\r\n") + 4)
        if protocol is not None:
            reply = await socket.ask({"Select": {"rid": 0, "protocol": protocol}})
            self.assertEqual(reply, {"Selected": {"rid": 0, "protocol": protocol}})
        return socket


class HybridClock(Clock):
    """Time stands still until it is advanced; what is due at once happens in the real reactor."""

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:  # noqa: A002
        if delay == 0:
            return self._reactor.callLater(0, callable, *args, **kw)
        return super().callLater(delay, callable, *args, **kw)

    def callFromThread(self, what: Any, *args: Any, **kwargs: Any) -> None:
        self._reactor.callFromThread(what, *args, **kwargs)
