"""Autobahn's WebSocket around a session: frames in, the replies of one turn out together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from uring.api.doors import Doors
from uring.api.frames import parse_text_frames, text_frames
from uring.api.guard import Guard
from uring.api.limits import Limits
from uring.api.session import Session
from uring.errors import UringError
from uring.sockets import write_now
from uring.turns import Turns

_log = Logger(namespace="uring.websocket")

FLUSHES_A_TURN = 500
"""Sends in one turn; so many take some 5 ms."""
TEXTS = 64
"""Messages between two looks whether it is somebody else's turn."""
PIECE_BYTES = 1024
"""For autobahn between two such looks: some 150 pings."""
GOING_AWAY = 1001
POLICY = 1008
"""Section 7.4.1 of RFC 6455; autobahn lets applications send codes from 3000 only by hand."""
CLOSE_SECONDS = 2
"""For a client's part of the closing handshake.  Autobahn's timer counts from the last whole second
on: of 1 nothing may be left, and the close frame is lost in the reset that follows."""


class Silence(Logger):
    """Where autobahn tells of clients: strangers must not fill the log, and headers hold tokens."""

    def emit(self, level: object, format: str | None = None, **fields: object) -> None:  # noqa: A002
        """Say nothing, at any level."""


@implementer(IPushProducer)
class SessionProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    """One client."""

    log = Silence(namespace="uring.websocket")
    factory: SessionFactory
    transport: Any
    session: Session | None = None
    _is_closing_frame = False
    _later = b""
    """What came while it was not this client's turn."""
    _is_queued = False
    _full = False
    _busy = False

    def onOpen(self) -> None:
        factory = self.factory
        peer = getattr(self.transport.getPeer(), "host", "")
        self._replies: list[bytes] = []
        self._held = 0
        self._flushing = False
        self.session = Session(
            self._guard(peer),
            factory.limits,
            factory.version,
            self._reply,
            self._set_busy,
            send_all=self._reply_all,
            full=lambda: self._full,
            hang_up=self._hang_up,
            prove=lambda token: factory.doors.prove(token, peer).guard,
        )
        factory.open.add(self)
        # HTTP was the producer of this transport before the upgrade.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)

    def _guard(self, peer: str) -> Guard:
        """Return the gateway as who sent the handshake may use it."""
        doors = self.factory.doors
        try:
            return doors.visitor(self.http_headers.get("authorization"), peer).guard
        except UringError:  # the token was good when the request came in
            return doors.anybody.guard

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.session is None:
            return
        if isBinary:
            self.session.binary()
        else:
            self.session.received(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.open.discard(self)
        if self.session is not None:
            self.session.close()
            self.session = None

    def onCloseFrame(self, code: Any, reasonRaw: bytes) -> bool | None:
        """Let a close frame that says what was wrong with the client's leave before the end."""
        self._is_closing_frame = True
        try:
            result: bool | None = super().onCloseFrame(code, reasonRaw)
        finally:
            self._is_closing_frame = False
        return result

    def dropConnection(self, abort: bool = False) -> None:
        super().dropConnection(abort=abort and not self._is_closing_frame)

    def onMessageBegin(self, isBinary: bool) -> None:
        super().onMessageBegin(isBinary)
        self._fragments = 0

    def onMessageFrameBegin(self, length: int) -> None:
        self._fragments += 1
        if self._fragments > self.factory.limits.fragments and not self.failedByMe:
            self._fail_connection(POLICY, "a message in too many fragments")
        super().onMessageFrameBegin(length)

    def dataReceived(self, data: bytes) -> None:
        # Autobahn's own makes a text for its debug log of every piece, whether it is read or not.
        self._dataReceived(data)

    def _dataReceived(self, data: bytes) -> None:
        """Take what came, as much of it as fits into this client's turn."""
        if self._is_queued:
            self._later += data
            return
        turns = self.factory.turns
        if not turns.enter():
            self._queue(data, True)
            return
        try:
            rest = self._take(data)
        finally:
            turns.leave()
        if rest and self.state != self.STATE_CLOSED:
            self._queue(rest, False)

    def _queue(self, data: bytes, is_new: bool) -> None:
        """Go on with ``data`` when it is this client's turn again."""
        self._later = data
        self._is_queued = True
        self._regulate()
        self.factory.turns.later(self._have_turn, is_new)

    def _have_turn(self) -> None:
        self._is_queued = False
        data, self._later = self._later, b""
        if self.state != self.STATE_CLOSED:
            self._regulate()
            self._dataReceived(data)

    def _take(self, data: bytes) -> bytes:
        """Take whole, plain texts at once; everything else is autobahn's.  Return the rest."""
        session, turns, position = self.session, self.factory.turns, 0
        if (
            session is not None
            and self.state == self.STATE_OPEN
            and not self.data
            and not self.inside_message
            and self.current_frame is None
        ):
            while True:
                position, texts = parse_text_frames(
                    data, self.factory.limits.message_bytes, position, TEXTS
                )
                if texts:
                    session.received(*texts)
                if self.session is None:
                    return b""
                if len(texts) < TEXTS:
                    break
                if turns.is_over:
                    return data[position:]
        while position < len(data):
            end = position + max(PIECE_BYTES, self._missing())
            super()._dataReceived(data[position:end])
            position = end
            if turns.is_over:
                break
        return data[position:]

    def _missing(self) -> int:
        """Return how many bytes the frame under way, whose head is known, still has."""
        if self.session is None or self.current_frame is None:
            return 0
        missing: int = self.current_frame.length - self.current_frame_masker.pointer()
        return missing

    # -- out -------------------------------------------------------------------------------------

    def _reply(self, reply: bytes) -> None:
        self._reply_all((reply,))

    def _reply_all(self, replies: Sequence[bytes]) -> None:
        """Queue replies; all of one turn leave in one write."""
        if self.session is None:
            return
        self._replies.extend(replies)
        self._held += sum(map(len, replies))
        if self._full:
            if self._held > self.factory.limits.backlog_bytes:
                _log.warn("{peer} does not read its replies and is closed", peer=self.peer)
                self.session.close()
                self.session = None
                self._replies.clear()
                self.dropConnection(abort=True)
        elif self._held > self.factory.limits.turn_bytes:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            self.factory.flush_later(self)

    def _flush(self) -> None:
        self._flushing = False
        if not self._replies or self._full or self.session is None or self.state != self.STATE_OPEN:
            return
        replies, self._replies, self._held = self._replies, [], 0
        write_now(self.transport, text_frames(replies))

    def pauseProducing(self) -> None:
        """The client does not read as fast as it is answered: hold replies, read no more."""
        self._full = True
        self._regulate()

    def resumeProducing(self) -> None:
        """What was written has been read."""
        self._full = False
        self._regulate()
        self._flush()
        if self.session is not None:
            self.session.subscriptions.resume()

    def stopProducing(self) -> None:
        """The connection is gone; onClose follows."""

    def _hang_up(self, reason: str) -> None:
        """Say why, and close."""
        self._flush()
        self.sendCloseFrame(POLICY, reason.encode()[:120])

    def _set_busy(self, busy: bool) -> None:
        self._busy = busy
        self._regulate()

    def _regulate(self) -> None:
        if self._full or self._busy or self._is_queued:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()


class SessionFactory(WebSocketServerFactory):  # type: ignore[misc]
    """Builds the sessions of one node."""

    protocol: Any = SessionProtocol
    noisy = False

    def __init__(
        self, doors: Doors, limits: Limits, clock: Any, version: str, turns: Turns
    ) -> None:
        super().__init__(server=f"uring/{version}", reactor=clock)
        self.doors = doors
        self.limits = limits
        self.clock = clock
        self.version = version
        self.turns = turns
        self.open: set[SessionProtocol] = set()
        self._with_replies: list[SessionProtocol] = []
        self.setProtocolOptions(
            versions=[13],
            webStatus=False,
            maxFramePayloadSize=limits.message_bytes,
            maxMessagePayloadSize=limits.message_bytes,
            autoPingInterval=limits.ping_seconds,
            autoPingTimeout=limits.ping_seconds,
            autoPingRestartOnAnyTraffic=True,
            openHandshakeTimeout=5,
            closeHandshakeTimeout=CLOSE_SECONDS,
            failByDrop=False,  # say why first
            tcpNoDelay=True,
            perMessageCompressionAccept=lambda offers: None,
            # Host and Origin have been checked where the request came in.
            allowedOrigins=["*"],
            allowNullOrigin=True,
        )
        _report_extension()

    def flush_later(self, protocol: SessionProtocol) -> None:
        """Let the replies of ``protocol`` leave at the end of this turn: one timer serves all."""
        if not self._with_replies:
            self.clock.callLater(0, self.flush)
        self._with_replies.append(protocol)

    def flush(self) -> None:
        """Send the replies that wait for the end of a turn.

        A change for many thousand subscribers is sent over several turns: nobody else waits for all
        of them.
        """
        protocols = self._with_replies
        self._with_replies = protocols[FLUSHES_A_TURN:]
        if self._with_replies:
            self.clock.callLater(0, self.flush)
        for protocol in protocols[:FLUSHES_A_TURN]:
            try:
                protocol._flush()
            except Exception:  # the others still wait for theirs
                _log.failure("replies could not be sent")
                protocol.dropConnection(abort=True)

    def close_all(self) -> None:
        """Tell every client that the node goes away."""
        for protocol in list(self.open):
            protocol._flush()
            protocol.sendCloseFrame(GOING_AWAY, b"the node is stopping")


def _report_extension() -> None:
    """Say when autobahn's native extension is missing: messages then cost three times as much."""
    try:
        from autobahn.nvx import Utf8Validator  # noqa: F401
    except ImportError:
        _log.warn("autobahn's native extension is missing; WebSocket messages are slower")
