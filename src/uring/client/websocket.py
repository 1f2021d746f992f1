"""A WebSocket to one node: requests matched to their replies by rid, and subscriptions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import orjson
from attrs import define, field
from autobahn.exception import Disconnected
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from uring.client.answers import Reply, check_batch
from uring.client.cancelling import cancellable
from uring.client.tls import SECURE, Trust
from uring.client.transport import authorization
from uring.errors import OutcomeUnknown, Overloaded, Unauthorized, Unavailable, UringError

EVENTS_WAITING_MAX = 10_000
"""Events that a subscription keeps for an iterator that is behind; then it ends."""

MESSAGE_BYTES_MAX = 64 * 2**20

_log = Logger()

EventListener = Callable[[dict[str, Any]], None]


@define(eq=False)
class Subscription:
    """The events of one channel, in order: ``async for event in subscription``.

    Ends when the socket is closed; raises Overloaded when it was not read fast enough.
    """

    channel: str
    _waiting: deque[dict[str, Any]] = field(factory=deque, init=False)
    _reader: Deferred[None] | None = field(default=None, init=False)
    _ended: bool = field(default=False, init=False)
    _overrun: bool = field(default=False, init=False)

    def deliver(self, event: dict[str, Any]) -> None:
        """Keep ``event`` for the iterator."""
        if self._ended:
            return
        if len(self._waiting) >= EVENTS_WAITING_MAX:
            self._overrun = True
            self.end()
            return
        self._waiting.append(event)
        self._wake()

    def end(self) -> None:
        """Let the iterator stop once it has read what is there."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._waiting:
            if self._overrun:
                raise Overloaded(f"more than {EVENTS_WAITING_MAX} events of {self.channel} waited")
            if self._ended:
                raise StopAsyncIteration
            if self._reader is not None:
                raise RuntimeError("a subscription is read by one reader only")
            self._reader = Deferred(lambda _: setattr(self, "_reader", None))
            await self._reader
        return self._waiting.popleft()


class WebSocketSession:
    """The conversation over one socket.  ``send_text`` and ``hang_up`` are the transport's."""

    def __init__(
        self,
        reactor: Any,
        send_text: Callable[[bytes], None],
        hang_up: Callable[[], None],
        timeout: float,
    ) -> None:
        self.closed: Deferred[None] = Deferred()
        """Fires when the connection is gone, whoever closed it."""
        self._reactor = reactor
        self._send_text = send_text
        self._hang_up = hang_up
        self._timeout = timeout
        self._rid = 0
        self._waiting: dict[int, Deferred[Reply]] = {}
        self._listeners: dict[str, list[EventListener]] = {}
        self._subscriptions: list[Subscription] = []
        self._gone: str | None = None
        self.observer: Callable[[dict[str, Any]], None] | None = None
        """Takes every message instead of the session, for a conversation of another kind."""
        self.transport: Any = None
        """The connection, where there is one."""

    # The connection

    def pause(self) -> None:
        """Read no more until :meth:`resume`: the server holds back what it has to tell."""
        if self.transport is not None:
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if self.transport is not None:
            self.transport.resumeProducing()

    def drop(self) -> None:
        """End the connection at once, whatever the other side does."""
        if self.transport is not None:
            self.transport.abortConnection()
        elif self._gone is None:
            self._hang_up()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; raises Unavailable if the connection is closed."""
        self._send(message)

    # Requests

    async def select(self, protocol: str) -> None:
        """Choose the protocol ("KV", "MRing", ...) of the commands that follow."""
        rid = self._next_rid()
        self._send({"Select": {"rid": rid, "protocol": protocol}})
        (await self._reply_to(rid)).expect(200)

    def request(self, command: str, **fields: Any) -> Deferred[Reply]:
        """Send one command of the selected protocol; the Deferred fires with its reply.

        Errbacks with OutcomeUnknown if the connection is lost or the time is up before.
        """
        rid = self._next_rid()
        self._send({command: {"rid": rid, **fields}})
        return self._reply_to(rid)

    def request_as(self, protocol: str, command: str, **fields: Any) -> Deferred[Reply]:
        """Send one command of ``protocol``, whichever is selected."""
        rid = self._next_rid()
        self._send({"As": {"protocol": protocol, "cmd": {command: {"rid": rid, **fields}}}})
        return self._reply_to(rid)

    async def execute_as(self, protocol: str, command: str, **fields: Any) -> Any:
        """Send one command of ``protocol``; return the data of its reply, raise if refused."""
        reply = await self.request_as(protocol, command, **fields)
        return reply.expect(200, 201).data

    async def get(self, key: str) -> str | None:
        """Return the value of ``key``, None if there is none."""
        reply = await self.request_as("KV", "Get", key=key)
        return reply.expect(200).data if reply.code != 404 else None

    async def put(self, key: str, value: str) -> str | None:
        """Store ``value`` under ``key``; return the value it replaced."""
        return (await self.request_as("KV", "Put", key=key, store=value)).expect(200, 201).data

    async def delete(self, key: str) -> str | None:
        """Remove ``key``; return the value it had."""
        reply = await self.request_as("KV", "Delete", key=key)
        return reply.expect(200).data if reply.code != 404 else None

    def batch(self, commands: Sequence[tuple[str, Mapping[str, Any]]]) -> Deferred[list[Reply]]:
        """Send up to 1024 commands of the selected protocol in one message.

        ``commands`` are (name, fields), such as ("Put", {"key": "k", "store": "v"}).  The Deferred
        fires with their replies in the same order; each may be a refusal.  The commands are no
        transaction.  Raises ValueError for none or too many.
        """
        check_batch(commands)
        rids = [self._next_rid() for _ in commands]
        self._send(
            [
                {name: {"rid": rid, **fields}}
                for rid, (name, fields) in zip(rids, commands, strict=True)
            ]
        )
        replies = [self._reply_to(rid) for rid in rids]
        return gatherResults(replies, consumeErrors=True).addErrback(first_error)

    # Subscriptions

    def listen(self, channel: str, listener: EventListener) -> None:
        """Subscribe to "kv", "mring", or "uring"; ``listener`` is called with each event."""
        if channel not in self._listeners:
            self._send({"Subscribe": {"channel": channel}})
        self._listeners.setdefault(channel, []).append(listener)

    def subscribe(self, channel: str) -> Subscription:
        """Subscribe to a channel; the events are iterated over with ``async for``."""
        subscription = Subscription(channel)
        self.listen(channel, subscription.deliver)
        self._subscriptions.append(subscription)
        return subscription

    async def close(self) -> None:
        """Close the connection, and return when it is closed."""
        if self._gone is None:
            self._hang_up()
            # Whoever else waits for `closed` must not see this wait's time-out.
            done: Deferred[None] = Deferred()
            self.closed.addBoth(lambda _: done.callback(None) if not done.called else None)
            await done.addTimeout(self._timeout, self._reactor, onTimeoutCancel=lambda r, _: None)

    # What the transport calls

    def text_received(self, payload: bytes) -> None:
        """Take one message of the server."""
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            _log.warn("the server sent something that is not JSON")
            return
        if isinstance(message, list):
            for each in message:
                if isinstance(each, dict):
                    self._reply(each)
        elif not isinstance(message, dict):
            _log.warn("the server sent something that is no object")
        elif self.observer is not None:
            self.observer(message)
        elif isinstance(event := message.get("Msg"), dict):
            self._publish(event)
        elif isinstance(selected := message.get("Selected"), dict):
            self._reply({"rid": selected.get("rid"), "code": 200, "data": selected})
        else:
            self._reply(message)

    def connection_lost(self, why: str) -> None:
        """Fail what waits: nobody will answer it any more."""
        if self._gone is not None:
            return
        self._gone = why
        waiting, self._waiting = self._waiting, {}
        for reply in waiting.values():
            reply.errback(OutcomeUnknown(f"connection lost ({why}); the outcome is unknown"))
        for subscription in self._subscriptions:
            subscription.end()
        self.closed.callback(None)

    def _next_rid(self) -> int:
        self._rid += 1
        return self._rid

    def _reply_to(self, rid: int) -> Deferred[Reply]:
        """Wait for the reply to what was sent; nobody waits for what could not be."""
        reply: Deferred[Reply] = Deferred(lambda _: self._forget(rid))
        self._waiting[rid] = reply
        reply.addTimeout(self._timeout, self._reactor, onTimeoutCancel=self._timed_out)
        return reply

    def _forget(self, rid: int) -> None:
        self._waiting.pop(rid, None)

    def _timed_out(self, result: Any, seconds: float) -> Any:
        raise OutcomeUnknown(f"no reply in {seconds:g} s; the outcome is unknown")

    def _send(self, message: dict[str, Any] | list[dict[str, Any]]) -> None:
        if self._gone is not None:
            raise Unavailable(f"the connection is closed ({self._gone})")
        self._send_text(orjson.dumps(message))

    def _publish(self, event: dict[str, Any]) -> None:
        for listener in self._listeners.get(event.get("channel", ""), []):
            try:
                listener(event.get("msg", {}))
            except Exception:
                _log.failure("a listener of {channel} failed", channel=event.get("channel"))

    def _reply(self, message: dict[str, Any]) -> None:
        waiting = self._waiting.pop(message.get("rid"), None)  # type: ignore[arg-type]
        if waiting is not None:
            waiting.callback(
                Reply(
                    rid=message.get("rid"),
                    code=message.get("code", 500),
                    data=message.get("data"),
                    error=message.get("error"),
                )
            )
        elif message.get("error") is not None:
            _log.warn("an error of no request: {error}", error=message["error"])


def first_error(failure: Failure) -> Failure:
    """Return what happened to the one of several replies that failed first."""
    if isinstance(failure.value, FirstError):
        return failure.value.subFailure
    return failure


class _Protocol(WebSocketClientProtocol):  # type: ignore[misc]
    """Carries the session's messages."""

    session: WebSocketSession | None = None

    def onOpen(self) -> None:
        """Hand the session to who waits for it."""
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        factory: Any = self.factory
        self.session = WebSocketSession(
            factory.reactor, self.send_text, self.sendClose, factory.timeout
        )
        self.session.transport = transport
        factory.opened.callback(self.session)

    def send_text(self, payload: bytes) -> None:
        """Send a message; raises Unavailable between the goodbye of either side and the end."""
        try:
            self.sendMessage(payload)
        except Disconnected as error:
            raise Unavailable("the connection is closing; nothing was sent") from error

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Pass a message on."""
        if self.session is not None:
            self.session.text_received(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Tell who waits, be it for the session itself or for replies."""
        why = reason or f"code {code}"
        if self.session is not None:
            self.session.connection_lost(why)
        elif not cast(Any, self.factory).opened.called:
            kind = Unauthorized if "[401]" in why else Unavailable
            cast(Any, self.factory).opened.errback(kind(f"no WebSocket: {why}"))


async def connect(
    reactor: Any,
    address: str,
    timeout: float,
    trust: Trust | None = None,
    token: str | None = None,
) -> WebSocketSession:
    """Open the WebSocket of ``address``; raises Unavailable if there is none in ``timeout`` s, and
    Unauthorized where ``token`` will not do."""
    scheme = "wss" if address.startswith(SECURE) else "ws"
    url = f"{scheme}://{address.removeprefix(SECURE)}/uring"
    factory: Any = WebSocketClientFactory(url, reactor=reactor, headers=authorization(token))
    factory.protocol = _Protocol
    factory.noisy = False
    factory.timeout = timeout
    factory.opened = Deferred()
    factory.setProtocolOptions(
        openHandshakeTimeout=timeout,
        closeHandshakeTimeout=min(timeout, 1.0),
        maxMessagePayloadSize=MESSAGE_BYTES_MAX,
        maxFramePayloadSize=MESSAGE_BYTES_MAX,
    )
    protocol: Any = None
    try:
        endpoint = (trust or Trust()).endpoint(reactor, address, timeout)
        protocol = await cancellable(endpoint.connect(factory))
        return await factory.opened  # type: ignore[no-any-return]
    except UringError:
        raise
    except CancelledError:
        if protocol is not None:
            protocol.transport.abortConnection()
        raise
    except Exception as error:
        raise Unavailable(f"{address} cannot be reached: {error}") from error
