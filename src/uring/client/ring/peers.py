"""Both ends of a connection between two nodes of the ring."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from uring.client.ring.messages import (
    FRAME_BYTES_MAX,
    Ack,
    Data,
    Finish,
    Message,
    Start,
    decode_ack,
    decode_message,
    encode,
)
from uring.client.ring.vnodes import Vnodes
from uring.errors import Unavailable

_WAITING_MAX = 64
"""Messages of one connection that wait for the one before; its sender waits for each."""
_log = Logger(namespace="uring.ring")


class Receiving(Int32StringReceiver):
    """Takes what another node sends, one message after the other."""

    MAX_LENGTH = FRAME_BYTES_MAX
    transport: Any

    def __init__(self, vnodes: Vnodes) -> None:
        self._vnodes = vnodes
        self._waiting: deque[bytes] = deque()
        self._busy = False
        self._began: dict[int, int] = {}

    def stringReceived(self, string: bytes) -> None:
        """Let it wait for its turn."""
        if len(self._waiting) >= _WAITING_MAX:
            self.transport.abortConnection()
            return
        self._waiting.append(string)
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._work()).addErrback(self._failed)

    def lengthLimitExceeded(self, length: int) -> None:
        """Nobody who speaks our language sends that much."""
        self.transport.abortConnection()

    async def _work(self) -> None:
        try:
            while self._waiting:
                ack = await self._answer(self._waiting.popleft())
                self.sendString(encode(ack))
        finally:
            self._busy = False

    def _failed(self, failure: Failure) -> None:
        _log.failure("a message of another node failed", failure=failure)
        self.transport.abortConnection()

    async def _answer(self, data: bytes) -> Ack:
        try:
            message = decode_message(data)
        except msgspec.MsgspecError as problem:
            return Ack("", error=f"no message of ours: {problem}")
        try:
            if isinstance(message.HandoffStart, Start):
                return await self._start(message.HandoffStart)
            if isinstance(message.HandoffData, Data):
                return await self._data(message.HandoffData)
            if isinstance(message.HandoffFinish, Finish):
                return await self._finish(message.HandoffFinish)
        except Exception as problem:
            _log.failure("a chunk could not be taken")
            return Ack("", error=f"{type(problem).__name__}: {problem}")
        return Ack("", error="an empty message")

    async def _start(self, start: Start) -> Ack:
        missing = await self._vnodes.begin(start.vnode, start.src, start.began)
        self._began[start.vnode] = start.began
        return Ack("HandoffStart", next=missing)

    async def _data(self, data: Data) -> Ack:
        began = self._began.get(data.vnode)
        if began is None:
            return Ack("HandoffData", error="start first")
        await self._vnodes.store(data.vnode, began, data.chunk, data.data)
        return Ack("HandoffData", chunk=data.chunk)

    async def _finish(self, finish: Finish) -> Ack:
        began = self._began.pop(finish.vnode, None)
        if began is None:
            return Ack("HandoffFinish", error="start first")
        await self._vnodes.complete(finish.vnode, began)
        return Ack("HandoffFinish")


class ReceivingFactory(Factory):
    """Makes a receiver for each connection."""

    noisy = False

    def __init__(self, vnodes: Vnodes) -> None:
        self._vnodes = vnodes

    def buildProtocol(self, address: Any) -> Receiving:
        """Take one more sender."""
        return Receiving(self._vnodes)


class Sending(Int32StringReceiver):
    """Sends messages, each after the one before was acknowledged."""

    MAX_LENGTH = FRAME_BYTES_MAX
    transport: Any

    def __init__(self) -> None:
        self._ack: Deferred[Ack] | None = None
        self._gone = False

    async def tell(self, reactor: Any, timeout: float, message: Message) -> Ack:
        """Return the acknowledgement; raises Unavailable without one in ``timeout`` seconds."""
        if self._gone:
            raise Unavailable("the connection to the target is lost")
        ack: Deferred[Ack] = Deferred()
        self._ack = ack
        self.sendString(encode(message))
        ack.addTimeout(timeout, reactor)
        try:
            answer = await ack
        except Exception as problem:
            self.transport.abortConnection()
            raise Unavailable(f"the target does not answer: {problem}") from problem
        if answer.error:
            raise Unavailable(f"the target refuses: {answer.error}")
        return answer

    def stringReceived(self, string: bytes) -> None:
        """Take an acknowledgement."""
        ack, self._ack = self._ack, None
        if ack is None or ack.called:
            return
        try:
            ack.callback(decode_ack(string))
        except msgspec.MsgspecError as problem:
            ack.errback(Unavailable(f"no acknowledgement: {problem}"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell who waits."""
        self._gone = True
        ack, self._ack = self._ack, None
        if ack is not None and not ack.called:
            ack.errback(Unavailable(reason.getErrorMessage()))

    def close(self) -> None:
        """Hang up."""
        self.transport.loseConnection()


async def send(reactor: Any, address: str, timeout: float, start: Start, vnodes: Vnodes) -> None:
    """Send all of a frozen vnode to the node at ``address``.

    Returns once it has all of it, durably; raises Unavailable if that is not known.  May be called
    again with the same ``start``: what has arrived is not sent again.
    """
    host, _, port = address.rpartition(":")
    endpoint = HostnameEndpoint(reactor, host.strip("[]"), int(port), timeout=timeout)
    try:
        link: Any = await endpoint.connect(_sending())
    except Exception as problem:
        raise Unavailable(f"{address} cannot be reached: {problem}") from problem
    try:
        ack = await link.tell(reactor, timeout, Message(HandoffStart=start))
        number = ack.next
        while (data := await vnodes.chunk(start.vnode, number)) is not None:
            chunk = Data(start.vnode, number, data)
            await link.tell(reactor, timeout, Message(HandoffData=chunk))
            number += 1
        await link.tell(reactor, timeout, Message(HandoffFinish=Finish(start.vnode)))
    finally:
        link.close()


def _sending() -> Any:
    factory: Any = Factory.forProtocol(Sending)
    factory.noisy = False
    return factory
