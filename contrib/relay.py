"""A network between nodes of this machine that can be cut: each node is dialled through a relay.

A relay reads the hello that a connection of a peer begins with, so it knows between whom the
connection is.  While those two are cut off from each other it takes what they send, new connections
included, and passes nothing on: as packets that are lost, and unlike a port where nobody listens.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from uring.wire.codec import DecodeError
from uring.wire.hello import HELLO_BYTES_MAX, MAGIC, Hello, decode_hello

_LENGTH = 4
_HOST = "127.0.0.1"


def dialler(received: bytes) -> int | None:
    """Return whose connection begins so: a node, 0 for nobody's, None if more is needed."""
    if not received.startswith(MAGIC[: len(received)]):
        return 0
    head = len(MAGIC) + _LENGTH
    if len(received) < head:
        return None
    length = int.from_bytes(received[len(MAGIC) : head], "big")
    if length > HELLO_BYTES_MAX:
        return 0
    if len(received) < head + length:
        return None
    try:
        hello = decode_hello(received[head : head + length])
    except DecodeError:
        return 0
    return hello.node_id if isinstance(hello, Hello) else 0


class Network:
    """The relays of all nodes, and which pairs of nodes are cut off from each other."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._cut: set[frozenset[int]] = set()
        self._links: set[_Link] = set()
        self._factories: dict[int, tuple[int, _Relay]] = {}
        """The port of each node's relay, and what it serves there."""
        self._ports: dict[int, IListeningPort] = {}
        """Where it listens now."""

    def relay(self, node_id: int, port: int) -> str:
        """Begin to relay to node ``node_id``, which listens on ``port``; return host:port."""
        factory = _Relay(self, node_id, port)
        self._factories[node_id] = (0, factory)
        self.up(node_id)
        own = self._ports[node_id].getHost().port  # type: ignore[attr-defined]
        self._factories[node_id] = (own, factory)
        return f"{_HOST}:{own}"

    def up(self, node_id: int) -> None:
        """Listen for a node that runs.  Raises CannotListenError."""
        if node_id not in self._ports:
            port, factory = self._factories[node_id]
            self._ports[node_id] = self.reactor.listenTCP(port, factory, interface=_HOST)

    async def down(self, node_id: int) -> None:
        """Do not listen for a node that is to end: others shall see that nobody is there."""
        port = self._ports.pop(node_id, None)
        if port is not None:
            await maybeDeferred(port.stopListening)

    async def stop(self) -> None:
        """Listen no more, and end all connections."""
        for node_id in list(self._ports):
            await self.down(node_id)
        for link in list(self._links):
            link.abort()

    def partition(self, groups: list[set[int]]) -> None:
        """Let nodes talk only within their group; whatever was cut before is whole again."""
        self.heal()
        for place, group in enumerate(groups):
            for other in groups[place + 1 :]:
                self._cut |= {frozenset((one, two)) for one in group for two in other}

    def heal(self) -> None:
        """Let all talk to all.  Connections with a gap are ended: their nodes connect again."""
        cut, self._cut = self._cut, set()
        for link in [link for link in self._links if link.pair in cut]:
            link.abort()

    def is_cut(self, pair: frozenset[int]) -> bool:
        """Tell whether these two are cut off from each other."""
        return pair in self._cut

    def opened(self, link: _Link) -> None:
        """Take note of a connection."""
        self._links.add(link)

    def closed(self, link: _Link) -> None:
        """Forget it."""
        self._links.discard(link)


class _Relay(Factory[Protocol]):
    """What listens in the place of one node."""

    noisy = False

    def __init__(self, network: Network, node_id: int, port: int) -> None:
        self._about = network, node_id, port

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Link(*self._about)


class _Link(Protocol):
    """One connection, from who dialled to the relay; ``_far`` goes on to the node."""

    def __init__(self, network: Network, target: int, port: int) -> None:
        self.pair: frozenset[int] = frozenset((target,))
        self._network = network
        self._target = target
        self._port = port
        self._kept = b""
        """What came before it was known from whom, and before the node was connected to."""
        self._dialling = False
        self._far: _Far | None = None

    def connectionMade(self) -> None:
        self._network.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if self._far is not None:
            self.pass_on(self._far.transport, data)
            return
        self._kept += data
        who = dialler(self._kept)
        if who is not None and not self._dialling:
            self._dialling = True
            self.pair = frozenset((who, self._target))
            self._dial()

    def _dial(self) -> None:
        endpoint = TCP4ClientEndpoint(self._network.reactor, _HOST, self._port)
        dialled = connectProtocol(endpoint, _Far(self))
        dialled.addCallbacks(self._dialled, lambda failure: self.abort())

    def _dialled(self, far: _Far) -> None:
        if not self.connected:
            far.transport.abortConnection()  # type: ignore[union-attr]
            return
        self._far = far
        near: Any = self.transport
        beyond: Any = far.transport
        # A node that stands still is a slow reader: who sends to it has to notice.
        near.registerProducer(beyond, True)
        beyond.registerProducer(near, True)
        self.pass_on(beyond, self._kept)
        self._kept = b""

    def pass_on(self, transport: Any, data: bytes) -> None:
        """Write ``data`` to the other side, unless it gets lost."""
        if not self._network.is_cut(self.pair):
            transport.write(data)

    def abort(self) -> None:
        """End both sides."""
        for side in (self, self._far):
            if side is not None and side.transport is not None:
                side.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._network.closed(self)
        if self._far is not None:
            self._far.transport.abortConnection()  # type: ignore[union-attr]


class _Far(Protocol):
    """The side of the node."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def dataReceived(self, data: bytes) -> None:
        self._link.pass_on(self._link.transport, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._link.abort()
