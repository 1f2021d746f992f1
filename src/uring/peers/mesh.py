"""Who we know, how to reach them, and what to do until they can be reached.

Every node dials every member and sends over what it dialled; the accepted connection of the same
member serves as long as dialling it does not work.  So two connections between the same two nodes
are normal, and never fight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from uring.peers.limits import PeerLimits
from uring.peers.link import PeerLink
from uring.peers.problems import Problems
from uring.peers.proof import Secret
from uring.wire.codec import PeerMessage
from uring.wire.hello import Hello, HelloRefused

if TYPE_CHECKING:  # TLS is loaded only where it is used: see uring.lean
    from uring.peers.tls import PeerTls

RETRY_SECONDS_MIN = 0.05
RETRY_SECONDS_MAX = 2.0
RETRY_FACTOR = 1.7
SWEEP_SECONDS = 1.0

SAY_AGAIN_SECONDS = 600.0
"""How long the same complaint about the same address is not repeated in the log."""
SAID_MAX = 1000


class Random(Protocol):
    """The part of random.Random that dialling needs."""

    def uniform(self, a: float, b: float) -> float: ...


class LinkFactory(Factory):
    """Builds the links of one mesh, dialled ones and accepted ones."""

    noisy = False

    def __init__(self, mesh: Mesh, dialled: str | None) -> None:
        self._mesh = mesh
        self._dialled = dialled

    def buildProtocol(self, addr: IAddress | None) -> PeerLink | None:
        if self._dialled is None and not self._mesh.may_accept(getattr(addr, "host", None)):
            return None
        return PeerLink(self._mesh, self._dialled)


@define(eq=False)
class Dialler:
    """Keeps one address connected, for ever, with jittered growing pauses."""

    mesh: Mesh
    address: str
    _attempts: int = field(default=0, init=False)
    _connecting: Deferred[Any] | None = field(default=None, init=False)
    _waiting: IDelayedCall | None = field(default=None, init=False)
    link: PeerLink | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def dial(self) -> None:
        self._waiting = None
        factory = LinkFactory(self.mesh, self.address)
        # An address that makes no sense is one that cannot be reached.
        self._connecting = maybeDeferred(lambda: self.mesh.connect(self.address).connect(factory))
        self._connecting.addCallbacks(self._connected, self._failed)

    def _connected(self, link: PeerLink) -> None:
        self._connecting = None
        self.link = link
        if self._stopped:
            link.close()

    def _failed(self, failure: Failure) -> None:
        self._connecting = None
        if not failure.check(CancelledError):
            self.mesh.unreachable(self.address, failure)
        self.again()

    def again(self) -> None:
        """Try again, later each time until a hello has been accepted."""
        self.link = None
        if self._stopped or self._waiting is not None:
            return
        pause = min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * RETRY_FACTOR ** min(self._attempts, 20))
        self._attempts += 1
        self._waiting = self.mesh.clock.callLater(
            pause * self.mesh.random.uniform(0.5, 1.0), self.dial
        )

    def succeeded(self) -> None:
        self._attempts = 0

    def hurry(self) -> None:
        """Try at once where a pause is under way."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._attempts = 0
            self.dial()

    def stop(self) -> None:
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._connecting is not None:
            self._connecting.cancel()
        if self.link is not None:
            self.link.close()


def _ignore(*arguments: object) -> None:
    """What happens to news before somebody asked for them."""


@define(eq=False)
class Mesh:
    """All connections of one node."""

    clock: IReactorTime
    me: Callable[[], Hello]
    check: Callable[[Hello], HelloRefused | None]
    """Says why the sender of a hello is refused, or None."""
    connect: Callable[[str], IStreamClientEndpoint]
    random: Random
    tls: PeerTls | None = None
    """Where nodes show each other certificates."""
    secret: Secret | None = None
    """Where they share one."""
    limits: PeerLimits = field(factory=PeerLimits)
    log: Logger = field(factory=lambda: Logger(namespace="uring.peers"))
    on_messages: Callable[[int, Sequence[PeerMessage]], None] = _ignore
    on_hello: Callable[[Hello], None] = _ignore
    on_up: Callable[[int], None] = _ignore
    on_down: Callable[[int], None] = _ignore
    on_refused: Callable[[int], None] = _ignore
    """Told of a member at whose address nobody listens: its process has ended."""
    factory: LinkFactory = field(init=False)
    """For the listening port: builds the accepted links."""
    _problems: Problems = field(init=False)
    _links: set[PeerLink] = field(factory=set, init=False)
    _ready: dict[int, list[PeerLink]] = field(factory=dict, init=False)
    """By node: dialled links first."""
    _diallers: dict[str, Dialler] = field(factory=dict, init=False)
    _seeds: set[str] = field(factory=set, init=False)
    _members: dict[int, str] = field(factory=dict, init=False)
    _self: set[str] = field(factory=set, init=False)
    """Addresses at which this node answered itself."""
    _met_itself: bool = field(default=False, init=False)
    _said: dict[tuple[str, str], float] = field(factory=dict, init=False)
    """What was logged of whom, and when."""
    _running: bool = field(default=False, init=False)
    _sweeping: IDelayedCall | None = field(default=None, init=False)
    _closing: Deferred[None] | None = field(default=None, init=False)

    node_id: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.factory = LinkFactory(self, None)
        self._problems = Problems(self.clock)
        self.node_id = self.me().node_id

    # -- whom to reach ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to dial."""
        self._running = True
        self._sweep()
        self._redial()

    def stop(self) -> Deferred[None]:
        """Close everything; fires when the last connection is gone."""
        self._running = False
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for dialler in self._diallers.values():
            dialler.stop()
        self._diallers.clear()
        closing: Deferred[None] = Deferred()
        self._closing = closing
        for link in list(self._links):
            link.close()
        self._perhaps_closed()
        return closing

    def set_members(self, members: Mapping[int, str]) -> None:
        """Dial these (id -> "host:port"), and nobody else but the seeds."""
        own = self.node_id
        self._members = {
            node_id: address for node_id, address in members.items() if node_id != own and address
        }
        self._redial()

    def add_seed(self, address: str) -> None:
        """Dial ``address``, whoever is there."""
        self._seeds.add(address)
        self._redial()

    def _redial(self) -> None:
        if not self._running:
            return
        wanted = (set(self._members.values()) | self._seeds) - self._self
        for address in self._diallers.keys() - wanted:
            self._diallers.pop(address).stop()
        for address in sorted(wanted - self._diallers.keys()):
            dialler = self._diallers[address] = Dialler(self, address)
            dialler.dial()

    def connected(self) -> set[int]:
        """Return the nodes that can be written to."""
        return set(self._ready)

    def problems(self) -> list[dict[str, Any]]:
        """Return why others are not connected, as far as that was met of late, JSON-ready."""
        return self._problems.shown()

    def send(self, to: int, messages: Sequence[PeerMessage]) -> bool:
        """Send in one frame.  False if nothing was sent: no connection, or too much waits."""
        links = self._ready.get(to)
        return links is not None and links[0].send(messages)

    def renew(self, peer: int) -> None:
        """Close what connects ``peer``: it will be dialled again, with new hellos."""
        for link in list(self._ready.get(peer, ())):
            link.close()

    # -- what links report -----------------------------------------------------------------------

    def may_accept(self, host: str | None) -> bool:
        """Tell whether there is room for one more stranger, who comes from ``host``."""
        from_where = [
            link.where for link in self._links if not link.is_ready and link.dialled is None
        ]
        return (
            self._running
            and len(from_where) < self.limits.strangers
            and (host is None or from_where.count(host) < self.limits.strangers_per_address)
        )

    def opened(self, link: PeerLink) -> None:
        """A connection exists; nothing is known of its other side."""
        self._links.add(link)

    def ready(self, link: PeerLink) -> None:
        """The hellos are accepted."""
        assert link.peer is not None
        hello = link.peer
        links = self._ready.setdefault(hello.node_id, [])
        if link.dialled is None:
            # The same node again: its older connection is half open, or about to be closed.
            for old in [each for each in links if each.dialled is None]:
                links.remove(old)
                old.close()
            links.append(link)
        else:
            links.insert(0, link)
            dialler = self._diallers.get(link.dialled)
            if dialler is not None:
                dialler.succeeded()
        news = (link.where, hello.address)
        self._problems.over(*news)
        self._said = {said: when for said, when in self._said.items() if said[0] not in news}
        self.on_hello(hello)
        if len(links) == 1:
            self.log.info(
                "node {node} at {address} is connected", node=hello.node_id, address=hello.address
            )
            self.on_up(hello.node_id)

    def closed(self, link: PeerLink) -> None:
        """A connection is gone."""
        self._links.discard(link)
        hello = link.peer
        if hello is not None:
            links = self._ready.get(hello.node_id, [])
            if link in links:
                links.remove(link)
                if not links:
                    del self._ready[hello.node_id]
                    if self._running:
                        self.log.warn(
                            "node {node} at {address} is disconnected",
                            node=hello.node_id,
                            address=hello.address,
                        )
                    self.on_down(hello.node_id)
                    self._find_out(hello.address)
        dialler = self._diallers.get(link.dialled or "")
        if dialler is not None and dialler.link is link:
            dialler.again()
        self._perhaps_closed()

    def _find_out(self, address: str) -> None:
        """Dial without a pause: whether somebody still listens there may decide an election."""
        dialler = self._diallers.get(address)
        if dialler is not None:
            dialler.hurry()

    def refused(self, link: PeerLink, refusal: HelloRefused, hello: Hello | None) -> None:
        """One side does not want the other; said once, not at every attempt."""
        if refusal.code == "self":
            # Both ends are this node: the accepted one says so first, and only then is it believed.
            if hello is not None:
                self._met_itself = True
            elif link.dialled is not None and self._met_itself:
                self._self.add(link.dialled)
                self._redial()
            return
        where = link.where if hello is None else hello.address
        by = "there" if hello is None else "here"
        claims = link.claims
        self._problems.note(
            link.dialled or (claims.address if claims else where),
            refusal.code,
            refusal.reason,
            by,
            claims.node_id if claims else 0,
        )
        self._say_once(
            where,
            f"{by}:{refusal.code}",
            "connection with {where} refused {by}: {reason}",
            by=by,
            reason=refusal.reason,
        )

    def unreachable(self, address: str, failure: Failure) -> None:
        """An address does not answer; said once until it does."""
        reason = failure.getErrorMessage()
        self._problems.note(address, "unreachable", reason)
        self._say_once(
            address,
            "unreachable",
            "{where} cannot be reached, trying on: {reason}",
            reason=reason,
        )
        if failure.check(error.ConnectionRefusedError):
            for node_id, of_member in self._members.items():
                if of_member == address and node_id not in self._ready:
                    self.on_refused(node_id)

    def distrusted(self, link: PeerLink, problem: str) -> None:
        """TLS failed: one side does not believe the other's certificate."""
        text = "connection with {where} refused: {reason}"
        self._problems.note(link.where, "tls", problem)
        self._say_once(link.where, f"tls:{problem}", text, reason=problem)

    def misbehaved(self, link: PeerLink, problem: str) -> None:
        """The other side sent what makes no sense, or nothing."""
        text = "connection with {where} closed: {problem}"
        if link.is_ready:
            self.log.warn(text, where=link.where, problem=problem)
        else:
            self._problems.note(link.where, "closed", problem)
            self._say_once(link.where, "closed", text, problem=problem)

    def _say_once(self, where: str, what: str, text: str, **fields: object) -> None:
        """Log a line unless the same was said lately: strangers must not fill the log."""
        now = self.clock.seconds()
        if len(self._said) >= SAID_MAX:
            self._said = {
                said: when for said, when in self._said.items() if now - when < SAY_AGAIN_SECONDS
            }
        last = self._said.get((where, what), -SAY_AGAIN_SECONDS)
        if now - last >= SAY_AGAIN_SECONDS and len(self._said) < SAID_MAX:
            self._said[where, what] = now
            self.log.warn(text, where=where, **fields)

    def _sweep(self) -> None:
        now = self.clock.seconds()
        for link in list(self._links):
            link.check(now)
        self._sweeping = self.clock.callLater(SWEEP_SECONDS, self._sweep)

    def _perhaps_closed(self) -> None:
        if self._closing is not None and not self._links:
            closing, self._closing = self._closing, None
            closing.callback(None)
