"""A mesh with a clock, and the other ends of its connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from uring.peers.link import PeerLink
from uring.peers.mesh import Mesh
from uring.peers.proof import Secret
from uring.wire.codec import PeerMessage, encode_messages
from uring.wire.framing import encode_frame
from uring.wire.hello import MAGIC, Greeting, Hello, HelloRefused, decode_hello, encode_hello

LIMIT = 1 << 30


def hello(node_id: int, **changes: Any) -> Hello:
    """Return a node's hello."""
    fields: dict[str, Any] = {
        "version": 1,
        "cluster_id": b"c" * 16,
        "node_id": node_id,
        "instance_id": bytes([node_id]) * 16,
        "address": f"10.0.0.{node_id}:1",
        "applied": 0,
    }
    return Hello(**{**fields, **changes})


class Halfway:
    """The middle of every range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@define
class Endpoint:
    """Notes each attempt to connect; the test decides how it ends."""

    bench: MeshBench
    address: str

    def connect(self, factory: Any) -> Deferred[Any]:
        attempt: Deferred[Any] = Deferred()
        self.bench.attempts.append((self.address, self.bench.clock.seconds(), factory, attempt))
        return attempt


@define
class MeshBench:
    """Node 1's mesh, or that of another one."""

    node_id: int = 1
    secret: Secret | None = None
    clock: Clock = field(factory=Clock)
    attempts: list[tuple[str, float, Any, Deferred[Any]]] = field(factory=list)
    news: list[tuple[Any, ...]] = field(factory=list)
    refusal: HelloRefused | None = None
    checked: list[int] = field(factory=list)
    """Whose hello the mesh was asked to judge."""
    mesh: Mesh = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.mesh = Mesh(
            clock=self.clock,
            me=lambda: hello(self.node_id),
            check=self.check,
            connect=lambda address: Endpoint(self, address),  # type: ignore[arg-type, return-value]
            random=Halfway(),
            secret=self.secret,
        )
        self.mesh.on_messages = lambda peer, messages: self.news.append(("got", peer, messages))
        self.mesh.on_up = lambda peer: self.news.append(("up", peer))
        self.mesh.on_down = lambda peer: self.news.append(("down", peer))
        self.mesh.on_hello = lambda greeted: self.news.append(("hello", greeted.node_id))
        self.mesh.start()

    def check(self, greeted: Hello) -> HelloRefused | None:
        self.checked.append(greeted.node_id)
        return self.refusal

    def accept(self) -> Wire:
        """Let somebody connect."""
        link = self.mesh.factory.buildProtocol(None)
        assert link is not None
        return Wire(link)

    def succeed(self, number: int = -1) -> Wire:
        """Let a connection attempt succeed."""
        _, _, factory, attempt = self.attempts[number]
        wire = Wire(factory.buildProtocol(None))
        attempt.callback(wire.link)
        return wire

    def fail(self, number: int = -1) -> None:
        """Let a connection attempt fail."""
        self.attempts[number][3].errback(ConnectionRefusedError("refused"))


class Transport(StringTransport):
    """Tells its protocol when it is closed, at once."""

    protocol: Any = None

    def _close(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            from twisted.internet.error import ConnectionDone
            from twisted.python.failure import Failure

            self.protocol.connectionLost(Failure(ConnectionDone()))

    def loseConnection(self) -> None:
        self._close()

    def abortConnection(self) -> None:
        self._close()


class Wire:
    """The far end of one link."""

    def __init__(self, link: PeerLink) -> None:
        self.link = link
        self.transport = Transport()
        self.transport.protocol = link
        link.makeConnection(self.transport)

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting)

    def frames(self) -> list[bytes]:
        """Return the payloads that were sent."""
        data = self.transport.value()
        if data.startswith(MAGIC):
            data = data[len(MAGIC) :]
        found = []
        while data:
            size = int.from_bytes(data[:4])
            found.append(data[4 : 4 + size])
            data = data[4 + size :]
        return found

    def hellos(self) -> list[Greeting]:
        return [decode_hello(frame) for frame in self.frames()]

    def greet(self, greeting: Hello | HelloRefused) -> Wire:
        self.link.dataReceived(encode_frame(encode_hello(greeting), LIMIT))
        if isinstance(greeting, Hello) and self.link.dialled is None:
            self.say([])  # as the dialling side confirms
        return self

    def say(self, messages: Sequence[PeerMessage]) -> None:
        self.link.dataReceived(encode_frame(encode_messages(messages), LIMIT))
