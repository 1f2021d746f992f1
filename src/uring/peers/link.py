"""One connection between two nodes: hello, then frames, bounded in both directions."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from uring.sockets import write_now
from uring.wire.codec import DecodeError, PeerMessage, decode_messages, encode_messages
from uring.wire.framing import FrameDecoder, FrameError, encode_frame
from uring.wire.hello import (
    HELLO_BYTES_MAX,
    MAGIC,
    VERSION,
    Hello,
    HelloRefused,
    decode_hello,
    encode_hello,
)

if TYPE_CHECKING:
    from uring.peers.mesh import Mesh

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""One turn's messages for one peer; larger ones are split by the sender."""
OUTBOX_BYTES_MAX = 32 * 1024 * 1024
"""What waits for a peer that does not read.  Beyond it messages are dropped: Raft sends again."""
HELLO_SECONDS = 5.0
FRAME_SECONDS = 10.0
"""A frame that has begun must be complete by then."""
UNACKNOWLEDGED_MILLISECONDS = 5000
"""Sent bytes that the peer's kernel has not acknowledged for so long mean that it is gone."""

_log = Logger(namespace="uring.peers")


@implementer(IPushProducer)
class PeerLink(Protocol):
    """A connection, dialled by us (``dialled`` is the address) or accepted (None).

    Neither side sends anything but its hello before it has accepted the other's.  The dialling side
    confirms with an empty frame of messages, so that each side knows that both agree.
    """

    def __init__(self, mesh: Mesh, dialled: str | None) -> None:
        self.mesh = mesh
        self.dialled = dialled
        self.peer: Hello | None = None
        """The other side, once it is accepted."""
        self.refusal: HelloRefused | None = None
        """Why there will be no conversation, whoever said so."""
        self.where = dialled or "?"
        self._decoder = FrameDecoder(FRAME_BYTES_MAX, first_limit=HELLO_BYTES_MAX)
        self._deadline: float | None = None
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._paused = False
        self._greeted = False
        self.is_ready = False
        self._closed = False

    # -- life ------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if self.dialled is None:
            self.where = str(getattr(transport.getPeer(), "host", transport.getPeer()))
        self._deadline = self.mesh.clock.seconds() + HELLO_SECONDS
        transport.registerProducer(self, True)
        _tune(transport)
        self.mesh.opened(self)
        if self.dialled is not None:
            transport.write(MAGIC)
            self._greet(self.mesh.me())

    def _greet(self, hello: Hello | HelloRefused) -> None:
        self._greeted = True
        self._write(encode_frame(encode_hello(hello), HELLO_BYTES_MAX))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self.mesh.closed(self)

    def close(self) -> None:
        """Close at once; what waits to be sent is dropped."""
        self._closed = True
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def check(self, now: float) -> None:
        """Close if a hello or a frame is overdue."""
        if self._deadline is not None and now >= self._deadline:
            what = "frame" if self.is_ready else "hello"
            _log.warn(
                "connection with {where} closed: no complete {what}", where=self.where, what=what
            )
            self.close()

    # -- in --------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            frames = self._decoder.feed(data)
            for frame in frames:
                if self._closed:
                    return
                if self.peer is None:
                    self._hello(frame)
                elif not self.is_ready:
                    self._confirmation(frame)
                else:
                    self._messages(frame)
        except (FrameError, DecodeError) as problem:
            _log.warn(
                "connection with {where} closed: {problem}", where=self.where, problem=problem
            )
            self.close()
            return
        if self.is_ready:
            self._watch(bool(frames))

    def _watch(self, has_moved_on: bool) -> None:
        """Set by when the frame under way must be complete."""
        if self._decoder.is_empty:
            self._deadline = None
        elif has_moved_on or self._deadline is None:
            self._deadline = self.mesh.clock.seconds() + FRAME_SECONDS

    def _hello(self, frame: bytes) -> None:
        hello = decode_hello(frame)
        if isinstance(hello, HelloRefused):
            self._refused(hello)
            return
        refusal = self._objection(hello)
        if refusal is not None:
            self._refuse(refusal, hello)
            return
        self.peer = hello
        if self.dialled is None:
            self._greet(self.mesh.me())
        else:
            self._write(encode_frame(encode_messages([]), FRAME_BYTES_MAX))
            self._become_ready()

    def _refuse(self, refusal: HelloRefused, hello: Hello) -> None:
        """Say why, and close; what else comes is not looked at."""
        self.refusal = refusal
        self._greet(refusal)
        self._closed = True
        self.mesh.refused(self, refusal, hello)
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()

    def _confirmation(self, frame: bytes) -> None:
        """Take the first frame after the hellos: messages, or why there will be none."""
        try:
            answer = decode_hello(frame)
        except DecodeError:
            self._become_ready()
            self._messages(frame)
            return
        if isinstance(answer, Hello):
            raise DecodeError("a second hello")
        self._refused(answer)

    def _become_ready(self) -> None:
        self.is_ready = True
        self._deadline = None
        self.mesh.ready(self)

    def _objection(self, hello: Hello) -> HelloRefused | None:
        if hello.version != VERSION:
            return HelloRefused(
                "version", f"protocol version {hello.version} is not spoken here, {VERSION} is"
            )
        return self.mesh.check(hello)

    def _refused(self, refusal: HelloRefused) -> None:
        self.refusal = refusal
        self.mesh.refused(self, refusal, None)
        self.close()

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

    # -- out -------------------------------------------------------------------------------------

    def send(self, messages: Sequence[PeerMessage]) -> bool:
        """Send ``messages`` in one frame; False if they were dropped: too much is waiting."""
        if self._outbox_bytes > OUTBOX_BYTES_MAX or self._closed:
            return False
        payload = encode_messages(messages)
        if len(payload) > FRAME_BYTES_MAX and len(messages) > 1:
            half = len(messages) // 2
            return self.send(messages[:half]) and self.send(messages[half:])
        if len(payload) > FRAME_BYTES_MAX:
            return False
        self._write(encode_frame(payload, FRAME_BYTES_MAX))
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


def _tune(transport: Any) -> None:
    """Send small frames at once; let the kernel notice a peer that has silently gone."""
    if hasattr(transport, "setTcpNoDelay"):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
    handle: Any = getattr(transport, "getHandle", lambda: None)()
    is_tcp = isinstance(handle, socket.socket) and handle.family != socket.AF_UNIX
    if is_tcp and hasattr(socket, "TCP_USER_TIMEOUT"):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)
