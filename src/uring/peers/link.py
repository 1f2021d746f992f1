"""One connection between two nodes: hello, then frames, bounded in both directions."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from uring.peers.proof import Secret, Side
from uring.sockets import write_now
from uring.wire.codec import DecodeError, PeerMessage, decode_messages, encode_messages
from uring.wire.framing import FrameDecoder, FrameError, encode_frame
from uring.wire.hello import (
    HELLO_BYTES_MAX,
    MAGIC,
    NEWEST,
    OLDEST,
    Greeting,
    Hello,
    HelloRefused,
    Proof,
    common_version,
    decode_hello,
    encode_hello,
)

if TYPE_CHECKING:
    from uring.peers.mesh import Mesh

UNACKNOWLEDGED_MILLISECONDS = 5000
"""Sent bytes that the peer's kernel has not acknowledged for so long mean that it is gone."""

_CLIENT_HELLO = b"\x16\x03"
"""What TLS begins with."""


@implementer(IPushProducer)
class PeerLink(Protocol):
    """A connection, dialled by us (``dialled`` is the address) or accepted (None).

    The dialling side says hello, then the accepting one.  Where nodes share a secret, both prove to
    have it (see peers/proof.py), and nothing that a hello says is acted on before.  At last the
    dialling side confirms with an empty frame of messages, so that each side knows that both agree.
    """

    def __init__(self, mesh: Mesh, dialled: str | None) -> None:
        self.mesh = mesh
        self.dialled = dialled
        self.peer: Hello | None = None
        """The other side, once it is accepted."""
        self.refusal: HelloRefused | None = None
        """Why there will be no conversation, whoever said so."""
        self.where = dialled or "?"
        self.is_ready = False
        self._decoder = FrameDecoder(HELLO_BYTES_MAX)
        self._expected: Callable[[bytes], None] = self._hello
        """Takes the next frame."""
        self._hellos: dict[Side, bytes] = {}
        """Both, as they were sent, by the side that sent them."""
        self.claims: Hello | None = None
        """Who the other side says it is; not to be believed before it has proved it."""
        self._deadline: float | None = None
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._paused = False
        self._closed = False
        self._certificate_problem: str | None = None

    # -- life ------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if self.dialled is None:
            self.where = str(getattr(transport.getPeer(), "host", transport.getPeer()))
        self._deadline = self.mesh.clock.seconds() + self.mesh.limits.hello_seconds
        transport.registerProducer(self, True)
        _tune(transport)
        self.mesh.opened(self)
        if self.dialled is not None:
            transport.write(MAGIC)
        if self.mesh.tls is not None:
            transport.startTLS(self.mesh.tls.handshake(self._bad_certificate))
        if self.dialled is not None:
            self._greet()

    def _bad_certificate(self, problem: str) -> None:
        self._certificate_problem = problem

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._expected = _nothing  # a method of its own would leave it to the garbage collector
        if self.mesh.tls is not None and not self.is_ready:
            problem = self._certificate_problem or self.mesh.tls.failure_of(reason)
            if problem is not None:
                self.mesh.distrusted(self, problem)
        self.mesh.closed(self)

    def close(self) -> None:
        """Close at once; what waits to be sent is dropped."""
        self._closed = True
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def _fail(self, problem: object) -> None:
        self.mesh.misbehaved(self, str(problem))
        self.close()

    def check(self, now: float) -> None:
        """Close if a hello or a frame is overdue."""
        if self._deadline is not None and now >= self._deadline:
            self._fail("no complete frame" if self.is_ready else "no complete hello")

    # -- in --------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._closed:
            return
        has_moved_on = False
        try:
            for frame in self._decoder.feed(data):
                has_moved_on = True
                self._expected(frame)
                if self._closed:
                    return
        except (FrameError, DecodeError) as problem:
            is_tls = self.claims is None and data.startswith(_CLIENT_HELLO)
            self._fail("it speaks TLS; start this node with --peer-ca, too" if is_tls else problem)
            return
        if self.is_ready:
            self._watch(has_moved_on)

    def _watch(self, has_moved_on: bool) -> None:
        """Set by when the frame under way must be complete."""
        if self._decoder.is_empty:
            self._deadline = None
        elif has_moved_on or self._deadline is None:
            self._deadline = self.mesh.clock.seconds() + self.mesh.limits.frame_seconds

    def _messages(self, frame: bytes) -> None:
        assert self.peer is not None
        messages = decode_messages(frame)
        own, peer = self.mesh.node_id, self.peer.node_id
        for message in messages:
            if message.from_ != peer or message.to != own:
                raise DecodeError(
                    f"a message {message.from_} -> {message.to} on the connection "
                    f"of node {peer} with node {own}"
                )
        if messages:
            self.mesh.on_messages(peer, messages)

    # -- hello -----------------------------------------------------------------------------------

    @property
    def _side(self) -> Side:
        return "accepted" if self.dialled is None else "dialled"

    @property
    def _other_side(self) -> Side:
        return "dialled" if self.dialled is None else "accepted"

    def _greet(self) -> None:
        hello, secret = self.mesh.me(), self.mesh.secret
        if secret is not None:
            hello = msgspec.structs.replace(hello, nonce=secret.nonce())
        self._hellos[self._side] = self._say(hello)

    def _say(self, greeting: Greeting) -> bytes:
        encoded = encode_hello(greeting)
        self._write(encode_frame(encoded, HELLO_BYTES_MAX))
        return encoded

    def _hello(self, frame: bytes) -> None:
        """Take the other side's hello."""
        hello = decode_hello(frame)
        if isinstance(hello, HelloRefused):
            self._refused(hello)
            return
        if not isinstance(hello, Hello):
            raise DecodeError("a proof before a hello")
        self.claims = hello
        self._hellos[self._other_side] = frame
        refusal = self._objection(hello)
        if refusal is not None:
            self._refuse(refusal)
        elif self.mesh.secret is None:
            self._believe()
        else:
            self._expected = self._proof
            if self.dialled is None:
                self._greet()
            else:
                self._prove(self.mesh.secret)

    def _objection(self, hello: Hello) -> HelloRefused | None:
        """Say what speaks against a hello before anything about the cluster is looked at."""
        if common_version(hello) is None:
            newest = max(hello.version, hello.newest)
            return HelloRefused(
                "version",
                f"versions {hello.version} to {newest} of the protocol are not spoken here, "
                f"{OLDEST} to {NEWEST} are: upgrade the older node, by way of a release between "
                "the two if there is one",
            )
        if self.mesh.tls is not None:
            problem = self.mesh.tls.objection(self.transport, hello.node_id)
            if problem is not None:
                return HelloRefused("certificate", problem)
        if bool(hello.nonce) != (self.mesh.secret is not None):
            return HelloRefused(
                "secret", "one side has a --peer-secret-file, the other has none; give it to both"
            )
        return None

    def _prove(self, secret: Secret) -> None:
        hellos = self._hellos
        self._say(Proof(secret.prove(self._side, hellos["dialled"], hellos["accepted"])))

    def _proof(self, frame: bytes) -> None:
        """Take the other side's proof that it shares the secret."""
        proof, secret, hellos = decode_hello(frame), self.mesh.secret, self._hellos
        if isinstance(proof, HelloRefused):
            self._refused(proof)
            return
        if secret is None or not isinstance(proof, Proof):
            raise DecodeError("no proof after the hellos")
        if not secret.is_proof(proof.mac, self._other_side, hellos["dialled"], hellos["accepted"]):
            self._refuse(HelloRefused("secret", "it has not the secret of this node's peers"))
            return
        self._believe()

    def _believe(self) -> None:
        """The other side is who it claims to be: see whether it is wanted."""
        hello, secret = self.claims, self.mesh.secret
        assert hello is not None
        refusal = self.mesh.check(hello)
        if refusal is not None:
            self._refuse(refusal)
            return
        self.peer = hello
        if self.dialled is not None:
            self._write(encode_frame(encode_messages([]), self.mesh.limits.frame_bytes))
            self._become_ready()
            return
        self._expected = self._confirmation
        if secret is None:
            self._greet()
        else:
            self._prove(secret)

    def _confirmation(self, frame: bytes) -> None:
        """Take what ends the hellos: messages, or why there will be none."""
        try:
            answer = decode_hello(frame)
        except DecodeError:
            self._become_ready()
            self._messages(frame)
            return
        if not isinstance(answer, HelloRefused):
            raise DecodeError("a second hello")
        self._refused(answer)

    def _become_ready(self) -> None:
        self.is_ready = True
        self._deadline = None
        self._decoder.limit = self.mesh.limits.frame_bytes
        self._expected = self._messages
        self._hellos.clear()
        self.mesh.ready(self)

    def _refuse(self, refusal: HelloRefused) -> None:
        """Say why, and close; what else comes is not looked at."""
        self.refusal = refusal
        self._say(refusal)
        self._closed = True
        self.mesh.refused(self, refusal, self.claims)
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()

    def _refused(self, refusal: HelloRefused) -> None:
        self.refusal = refusal
        self.mesh.refused(self, refusal, None)
        self.close()

    # -- out -------------------------------------------------------------------------------------

    def send(self, messages: Sequence[PeerMessage]) -> bool:
        """Send ``messages`` in one frame; False if they were dropped: too much is waiting."""
        if self._outbox_bytes > self.mesh.limits.outbox_bytes or self._closed:
            return False
        payload = encode_messages(messages)
        if len(payload) > self.mesh.limits.frame_bytes and len(messages) > 1:
            half = len(messages) // 2
            return self.send(messages[:half]) and self.send(messages[half:])
        if len(payload) > self.mesh.limits.frame_bytes:
            return False
        self._write(encode_frame(payload, self.mesh.limits.frame_bytes))
        return True

    def _write(self, frame: bytes) -> None:
        if self._paused:
            self._outbox.append(frame)
            self._outbox_bytes += len(frame)
        else:
            write_now(self.transport, frame)

    def pauseProducing(self) -> None:
        """The peer does not read as fast as we write."""
        self._paused = True

    def resumeProducing(self) -> None:
        """What was written has left; go on with what waits until it is too much again."""
        self._paused = False
        while self._outbox and not self._paused:
            frame = self._outbox.popleft()
            self._outbox_bytes -= len(frame)
            self.transport.write(frame)  # type: ignore[union-attr]

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._outbox.clear()
        self._outbox_bytes = 0


def _nothing(frame: bytes) -> None:
    """What a closed connection does with a frame."""


def _tune(transport: Any) -> None:
    """Send small frames at once; let the kernel notice a peer that has silently gone."""
    if hasattr(transport, "setTcpNoDelay"):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
    handle: Any = getattr(transport, "getHandle", lambda: None)()
    is_tcp = isinstance(handle, socket.socket) and handle.family != socket.AF_UNIX
    if is_tcp and hasattr(socket, "TCP_USER_TIMEOUT"):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)
