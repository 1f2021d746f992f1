"""A watch that goes on at another node when its connection is lost, and misses nothing.

async with client.watch("kv", prefix="a/", snapshot=True) as watch:
    async for news in watch:
        if isinstance(news, Snapshot): ...      # what there is; a first piece begins it anew
        else: ...                               # a Change, each once, in the order of revisions
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self, TypeAlias

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from uring.client.answers import describe, error_for
from uring.client.websocket import WebSocketSession
from uring.errors import Forbidden, Unauthorized, Unavailable, UringError

PROGRESS_SECONDS = 5
"""How often a node that has nothing to tell says how far it is."""
SILENCE_SECONDS = 3 * PROGRESS_SECONDS
"""A node that says nothing for so long is left for another one."""
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.05, 2.0
UNWELCOME_SECONDS = 5.0
"""For so long nodes may say that they do not know who watches, before that is believed."""
WAITING_MAX = 1000
"""News that wait for the iterator; then the connection is not read until half of them are gone."""

_log = Logger(namespace="uring.client")


@frozen
class Change:
    """One change, as ``{"Put": {...}}``; see docs/PROTOCOL.md for the events of each channel."""

    channel: str
    revision: int
    event: dict[str, Any]


@frozen
class Snapshot:
    """A piece of what there is at ``revision``: forget what you knew when it ``begins``."""

    revision: int
    items: tuple[dict[str, Any], ...]
    begins: bool
    ends: bool


News: TypeAlias = Change | Snapshot


class Connector(Protocol):
    """What a watch needs of a client."""

    async def connect_websocket(self) -> WebSocketSession:
        """Connect to the node that is asked next."""

    def move_on(self) -> None:
        """Ask another node from now on."""


@define(eq=False)
class Watch:
    """An asynchronous iterator of :data:`News`; see the module."""

    _client: Connector
    _reactor: Any
    channel: str
    prefix: str = ""
    next: int | None = None
    """The revision to go on from: keep it to resume in another life."""
    _snapshot: bool = False
    _waiting: deque[News] = field(factory=deque, init=False)
    _reader: Deferred[None] | None = field(default=None, init=False)
    _failure: UringError | None = field(default=None, init=False)
    _running: Deferred[None] | None = field(default=None, init=False)
    _socket: WebSocketSession | None = field(default=None, init=False)
    _over: Deferred[None] | None = field(default=None, init=False)
    """Fires when the present connection is of no more use."""
    _begins: bool = field(default=True, init=False)
    _paused: bool = field(default=False, init=False)
    _heard: float = field(default=0.0, init=False)
    _listening: IDelayedCall | None = field(default=None, init=False)
    _progress: bool = field(default=False, init=False)
    """Whether the present connection has told anything."""
    _unwelcome: UringError | None = field(default=None, init=False)
    """Why the present connection ended, if the node did not know who watches."""
    _unwelcome_since: float | None = field(default=None, init=False)

    # -- reading ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        self.start()
        return self

    async def __anext__(self) -> News:
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            if self._running is None:
                raise StopAsyncIteration
            if self._reader is not None:
                raise RuntimeError("a watch is read by one reader only")
            self._reader = Deferred(lambda _: setattr(self, "_reader", None))
            await self._reader
        news = self._waiting.popleft()
        if self._paused and len(self._waiting) <= WAITING_MAX // 2 and self._socket is not None:
            self._paused = False
            self._heard = self._reactor.seconds()
            self._socket.resume()
        return news

    def start(self) -> None:
        """Begin to connect; reading does that by itself."""
        if self._running is None and self._failure is None:
            self._running = ensureDeferred(self._run())
            self._running.addErrback(self._failed)

    async def close(self) -> None:
        """End the watch; what waits can still be read."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        await self._hang_up()
        self._wake()

    def _failed(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            if not failure.check(UringError):
                _log.failure("a watch failed", failure=failure)
            error = failure.value
            self._failure = error if isinstance(error, UringError) else Unavailable(str(error))
        self._running = None
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    # -- connections -----------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = PAUSE_SECONDS
        while True:
            self._progress, self._unwelcome = False, None
            try:
                self._socket = await self._client.connect_websocket()
                await self._listen(self._socket)
            except Unavailable as error:
                _log.debug("a watch goes to another node: {error}", error=error)
            except Unauthorized as error:
                self._unwelcome = error
            await self._hang_up()
            self._bear(self._unwelcome)
            self._client.move_on()
            pause = PAUSE_SECONDS if self._progress else min(2 * pause, PAUSE_SECONDS_MAX)
            await deferLater(self._reactor, pause)

    def _bear(self, error: UringError | None) -> None:
        """Raise ``error`` when nodes have said so for too long.

        A node that is behind knows neither a token that was just made nor, perhaps, that it knows
        none at all; what all of them go on to say is so.
        """
        if error is None:
            if self._progress:
                self._unwelcome_since = None
            return
        now = self._reactor.seconds()
        if self._unwelcome_since is None:
            self._unwelcome_since = now
        elif now - self._unwelcome_since >= UNWELCOME_SECONDS:
            raise error

    async def _hang_up(self) -> None:
        if self._listening is not None and self._listening.active():
            self._listening.cancel()
        self._listening = None
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.observer = None
            if self._paused:
                socket.resume()  # or the goodbye would never be read
                self._paused = False
            socket.drop()

    async def _listen(self, socket: WebSocketSession) -> None:
        """Subscribe, and return when the connection is of no more use."""
        over = self._over = Deferred()
        socket.observer = self._received
        socket.closed.addBoth(lambda _: self._end(over))
        wanted: dict[str, Any] = {"rid": 1, "channel": self.channel, "progress": PROGRESS_SECONDS}
        if self.prefix:
            wanted["prefix"] = self.prefix
        if self.channel != "uring":
            if self._snapshot:
                wanted["snapshot"] = self._begins = True
            elif self.next is not None:
                wanted["from"] = self.next
        self._heard = self._reactor.seconds()
        self._watch_silence()
        socket.send({"Subscribe": wanted})
        await over

    def _end(self, over: Deferred[None] | None) -> None:
        if over is not None and not over.called:
            over.callback(None)

    def _watch_silence(self) -> None:
        quiet = self._reactor.seconds() - self._heard
        if quiet >= SILENCE_SECONDS and not self._paused:
            self._end(self._over)
        else:
            self._listening = self._reactor.callLater(PROGRESS_SECONDS, self._watch_silence)

    # -- what comes ------------------------------------------------------------------------------

    def _received(self, message: dict[str, Any]) -> None:
        self._heard = self._reactor.seconds()
        for name, take in self._TAKES.items():
            if name in message:
                take(self, message[name])
                return
        if message.get("code", 200) >= 400:
            self._refused(message)

    def _subscribed(self, body: dict[str, Any]) -> None:
        self._progress = True
        if self.next is None and not self._snapshot and self.channel != "uring":
            self.next = body["revision"] + 1

    def _changed(self, body: dict[str, Any]) -> None:
        revision, event = body.get("revision", 0), body["msg"]
        is_change = self.channel != "uring" and "CasConflict" not in event
        if is_change:
            if self.next is not None and revision < self.next:
                return  # told before
            self.next = revision + 1
        self._put(Change(self.channel, revision, event))

    def _compacted(self, body: dict[str, Any]) -> None:
        """A snapshot follows, and counts until it is whole."""
        self._snapshot = self._begins = True

    def _piece(self, body: dict[str, Any]) -> None:
        piece = Snapshot(body["revision"], tuple(body["items"]), self._begins, body["last"])
        self._begins = False
        if piece.ends:
            self._snapshot = False
            self.next = piece.revision + 1
        self._put(piece)

    def _progressed(self, body: dict[str, Any]) -> None:
        if self.channel != "uring":
            self.next = max(self.next or 0, body["revision"] + 1)

    def _ended(self, body: dict[str, Any]) -> None:
        """What was told counts; ``from`` says the same."""
        _log.debug("a subscription ended: {reason}", reason=body.get("reason"))
        code = body.get("code")
        if code in (Unauthorized.code, Forbidden.code):
            self._refused({"code": code, "error": {"detail": body.get("reason")}})
        self._end(self._over)

    def _refused(self, message: dict[str, Any]) -> None:
        error = error_for(message["code"], describe(message.get("error"), "refused"))
        if isinstance(error, Unauthorized):
            self._unwelcome = error
        elif not isinstance(error, Unavailable):
            self._failure = error
            if self._running is not None:
                self._running.cancel()
        self._end(self._over)

    _TAKES: ClassVar[dict[str, Callable[[Watch, dict[str, Any]], None]]] = {
        "Msg": _changed,
        "Snapshot": _piece,
        "Progress": _progressed,
        "Subscribed": _subscribed,
        "Compacted": _compacted,
        "Ended": _ended,
    }

    def _put(self, news: News) -> None:
        self._waiting.append(news)
        if len(self._waiting) >= WAITING_MAX and not self._paused and self._socket is not None:
            self._paused = True
            self._socket.pause()
        self._wake()
