"""A client's connection: plain requests are served at once, all others are twisted.web's."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from uring.api.hosts import is_ours
from uring.api.limits import Limits
from uring.api.plain import PlainParser
from uring.api.replies import Answer
from uring.api.request import UringRequest
from uring.sockets import write_now

EAGER_BYTES = 16 * 1024
"""What is read of the next requests while one is being answered; as twisted.web does, it is some,
so that it shows when the client hangs up."""
CHUNKED_BYTES = 1024
"""Of a body in chunks between two looks whether it is somebody else's turn: some 2 ms."""
ABORT_SECONDS = 15.0
"""From the end of an idle connection to its abort, if the client does not take what was sent."""


class UringChannel(HTTPChannel):
    """A connection that is watched: slow headers and slow bodies are closed."""

    totalHeadersSize = 32 * 1024
    requestFactory = UringRequest
    began: float | None = None
    """When the first byte of the request under way came."""
    quiet_since = 0.0
    """When the last request was answered, to the second."""
    lingering = False
    in_body = False
    site: Any
    """The UringSite that built it."""
    _asking = False
    """Whether a plain request has no answer yet."""
    _serving = False
    """Whether plain requests are being taken from what was received."""
    _queued = False
    """Whether it waits for its turn."""
    _later: bytes | bytearray = b""
    """What came after the plain request that has no answer yet, or of one that is not complete, or
    before it is the client's turn."""
    _missing = 0
    """How much of it there has to be."""

    def connectionMade(self) -> None:
        super().connectionMade()
        limits = self.site.limits
        self._parser = PlainParser(limits.uri_bytes, limits.body_bytes)
        self.quiet_since = self.site.now
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.connected = 0
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

    def taken_over(self) -> None:
        """Let go: the connection is a WebSocket's.

        What refers to each other is left for the garbage collector; of ten thousand connections
        that is a long pause.
        """
        self.site.channels.discard(self)
        self.requests.clear()

    # -- in --------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self.lingering:
            return
        if self._later:
            self._later += data
            if self._asking or self._waitingForTransport or self._queued:
                self._read_little()
                return
            if len(self._later) < self._missing:
                return
            data, self._later = bytes(self._later), b""
        elif self._asking:
            self._later = bytearray(data)
            self._read_little()
            return
        if self._handlingRequest:  # which has what came before; there is nothing to do yet
            super().dataReceived(data)
            return
        turns = self.site.turns
        if not turns.enter():
            self._queue(data, True)
            return
        try:
            self._take(data)
        finally:
            turns.leave()

    def _queue(self, data: bytes, is_new: bool) -> None:
        """Go on with ``data`` when it is this client's turn again."""
        self._later = bytearray(data)
        self._queued = True
        self._read_little()
        self.site.turns.later(self._have_turn, is_new)

    def _have_turn(self) -> None:
        self._queued = False
        if self.connected and self._later and not self._asking:
            self._go_on()

    def _take(self, data: bytes) -> None:
        if not (self.requests or self._buffer):
            data = self._serve_plain(data)
            if not data:
                return
        if self.began is None:
            self.began = self.site.clock.seconds()
        super().dataReceived(data)

    def _serve_plain(self, data: bytes) -> bytes:
        """Serve the plain requests that ``data`` begins with, and return what is not plain.

        Nothing is returned while one has no answer or is not complete, the client does not read, or
        others have their turn: what follows then waits.
        """
        position = self._missing = 0
        self._serving = True
        while position < len(data):
            if self._asking or self._waitingForTransport:
                break
            if position and self.site.turns.is_over:
                self._serving = False
                self._queue(data[position:], False)
                return b""
            request = self._parser.parse(data, position, self._is_ours)
            keys = self.site.keys
            if request is not None and self.site.access.required:
                keys = self.site.doors.keys_of(request.authorization)
            if request is None or keys is None or not self.persistent:
                self._serving = False
                return data[position:]
            if request.end > len(data):
                self._missing = request.end - position
                if self.began is None:
                    self.began = self.site.clock.seconds()
                self.in_body = True
                break
            self.finished_reading()
            position = request.end
            self._asking = True
            keys.serve(request.method, request.uri, request.body, self._answered)
        self._serving = False
        if position < len(data):
            self._later = bytearray(data[position:])
            self._read_little()
        return b""

    def _is_ours(self, host: str) -> bool:
        return is_ours(host, self.site.allowed_hosts, self.getHost)

    def _read_little(self) -> None:
        """Read no more of the next requests than needs be, while this one waits."""
        if (self._asking or self._queued) and len(self._later) > EAGER_BYTES:
            self._networkProducer.pauseProducing()

    def _answered(self, answer: Answer) -> None:
        """Send the answer to the plain request, and go on with what came after it."""
        self._asking = False
        if not self.connected:
            return
        self.quiet_since = self.site.now
        self.site.count(answer.code)
        self.send(answer)
        if self._later and not (self._serving or self._queued):
            self._go_on()

    def _go_on(self) -> None:
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()
            data, self._later = bytes(self._later), b""
            self.dataReceived(data)

    def send(self, answer: Answer) -> None:
        """Send a whole response; the connection goes on."""
        write_now(self.transport, self.site.response(answer))

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self._later and not (self._asking or self._serving or self._queued):
            self._go_on()

    def lineReceived(self, line: bytes) -> None:
        if line[:1] in (b" ", b"\t"):
            # Twisted would join it to the line before; others might not (RFC 9112, 5.2).
            self._respondToBadRequestAndDisconnect()
        elif not self.requests and self.site.turns.is_over:
            rest, self._buffer = line + self.delimiter + self._buffer, b""
            self._queue(rest, False)
        else:
            super().lineReceived(line)

    def headerReceived(self, line: bytes) -> bool:
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # a length of more digits than int() takes
            self._respondToBadRequestAndDisconnect()
            return False

    def rawDataReceived(self, data: bytes) -> None:
        # Of chunks, each costs as much as a small request, and may hold one byte.
        is_chunked = self.length is None and not self._handlingRequest
        size = CHUNKED_BYTES if is_chunked else len(data)
        super().rawDataReceived(data[:size])
        # Twisted would wait for the end of a chunk however long it says that it is.
        announced = getattr(self._transferDecoder, "length", None) or 0
        if announced > self.site.limits.body_bytes and not self.requests[-1].refused:
            self.requests[-1].refuse_body()
        if self._buffer:  # what this piece had beyond the body; it comes first
            self._buffer += data[size:]
        elif len(data) > size:
            self.dataReceived(data[size:])

    def allHeadersReceived(self) -> None:
        self.in_body = True
        super().allHeadersReceived()

    def finished_reading(self) -> None:
        """The request under way is complete."""
        self.began = None
        self.in_body = False

    def requestDone(self, request: Any) -> None:
        self.quiet_since = self.site.now
        super().requestDone(request)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.lingering = True  # or each piece of what still comes is answered, too
        super()._respondToBadRequestAndDisconnect()

    def forceAbortClient(self) -> None:
        # Twisted logs a line for each: who opens many connections could fill the log.
        transport: Any = self.transport
        transport.abortConnection()

    # -- time ------------------------------------------------------------------------------------

    def check(self, now: float, limits: Limits) -> None:
        """Close if the request under way takes too long to arrive, or none comes for long."""
        if self.began is not None:
            allowed = limits.body_seconds if self.in_body else limits.header_seconds
            if now - self.began >= allowed:
                self.forceAbortClient()
        elif not (self._asking or self._handlingRequest):
            idle = now - self.quiet_since - limits.idle_seconds
            if idle >= ABORT_SECONDS:
                self.forceAbortClient()
            elif idle >= 0:
                self.loseConnection()
