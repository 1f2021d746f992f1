"""The same client for programs of asyncio, in their own loop::

    from uring.client.asyncio import Client

    async def main() -> None:
        async with Client("127.0.0.1:8081") as client:
            await client.put("beep", "boop")
            async with client.lock("jobs") as lock:
                await lock.put("job", "done")

    asyncio.run(main())

What it returns has the methods of :mod:`uring.client`, to be awaited and iterated over in asyncio.
Where that has Deferreds there are futures here.  Cancelling a task cancels what it waits for, and
waits until that has cleaned up.

Twisted's reactor is run by the loop in which the first client is made; nobody needs to install it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import update_wrapper
from types import FunctionType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from uring.client import elections, locks, rest, watch, websocket
from uring.client.loops import ReactorInUse, reactor_of_the_loop

__all__ = [
    "Client",
    "Election",
    "Leadership",
    "Lock",
    "ReactorInUse",
    "Subscription",
    "Watch",
    "WebSocketSession",
]

T = TypeVar("T")
_ASYNC = ("__aenter__", "__aexit__", "__aiter__", "__anext__")


async def as_asyncio(deferred: Deferred[Any]) -> Any:
    """Await a Deferred in a task; who cancels the task cancels it, and waits for what it does then.

    What the Deferred was cancelled with by somebody else is asyncio's CancelledError.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def tell(result: Any) -> None:
        if not future.done():
            future.set_result(result)

    deferred.addBoth(tell)
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            result = await asyncio.shield(future)
            break
        except asyncio.CancelledError as error:
            cancelled = error
            deferred.cancel()
    if cancelled is not None:
        raise cancelled
    if isinstance(result, Failure):
        if result.check(CancelledError):
            raise asyncio.CancelledError
        result.raiseException()
    return result


def _awaitable(deferred: Deferred[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(as_asyncio(deferred))


async def _steps(items: Any) -> AsyncIterator[Any]:
    """Iterate in asyncio over what awaits Deferreds."""
    try:
        while True:
            try:
                item = await as_asyncio(Deferred.fromCoroutine(_next(items)))
            except _Exhausted:
                return
            yield item
    finally:
        closing = getattr(items, "aclose", None)
        if closing is not None:
            await as_asyncio(Deferred.fromCoroutine(_closed(closing)))


class _Exhausted(Exception):
    """Stands for StopAsyncIteration, which no coroutine may raise."""


async def _next(items: Any) -> Any:
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        raise _Exhausted from None


async def _closed(close: Callable[[], Any]) -> None:
    await close()


def _translated(value: Any, facade: Any, original: Any) -> Any:
    """Return what a call of the original returned, as asyncio needs it."""
    if value is original:
        return facade
    if inspect.iscoroutine(value):
        return _finished(value, facade, original)
    if isinstance(value, Deferred):
        return _awaitable(value)
    if inspect.isasyncgen(value):
        return _steps(value)
    face = _FACES.get(type(value))
    return value if face is None else face.around(value)


async def _finished(coroutine: Any, facade: Any, original: Any) -> Any:
    result = await as_asyncio(Deferred.fromCoroutine(coroutine))
    return _translated(result, facade, original)


def _method(name: str, base: Any) -> Any:
    def call(self: Any, *args: Any, **options: Any) -> Any:
        return _translated(getattr(self._original, name)(*args, **options), self, self._original)

    return update_wrapper(call, base)


async def _step(self: Any) -> Any:
    try:
        return await as_asyncio(Deferred.fromCoroutine(_next(self._original)))
    except _Exhausted:
        raise StopAsyncIteration from None


def _attribute(name: str, base: Any) -> property:
    def read(self: Any) -> Any:
        return _translated(getattr(self._original, name), self, self._original)

    def write(self: Any, value: Any) -> None:
        setattr(self._original, name, value)

    return property(read, write, doc=base.__doc__)


class _Facade:
    """Does what its base class does by an original of that class, and translates what comes back.

    So each call is written, documented and typed once, in the base class.
    """

    _original: Any

    def __init_subclass__(cls) -> None:
        for base in cls.__mro__:
            if base is not object and not issubclass(base, _Facade):
                _cover(cls, base)

    @classmethod
    def around(cls, original: Any) -> Any:
        """Return the facade of ``original``."""
        facade = cls.__new__(cls)
        facade._original = original
        return facade

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _translated(getattr(self._original, name), self, self._original)


def _cover(cls: type, base: type) -> None:
    """Let ``cls`` hand on what ``base`` offers, but what it has of its own."""
    own = {name for kind in cls.__mro__ if issubclass(kind, _Facade) for name in vars(kind)}
    for name, member in vars(base).items():
        if name in own or (name.startswith("_") and name not in _ASYNC):
            continue
        if name == "__anext__":
            setattr(cls, name, _step)
        elif isinstance(member, FunctionType):
            setattr(cls, name, _method(name, member))
        elif inspect.isdatadescriptor(member):
            setattr(cls, name, _attribute(name, member))


class Watch(_Facade, watch.Watch):
    """See :class:`uring.client.Watch`."""


class Subscription(_Facade, websocket.Subscription):
    """See :class:`uring.client.Subscription`."""


class WebSocketSession(_Facade, websocket.WebSocketSession):
    """See :class:`uring.client.WebSocketSession`."""


class Lock(_Facade, locks.Lock):
    """See :class:`uring.client.Lock`.

    When the lock is lost, the task within ``async with`` is cancelled as by ``asyncio.timeout``;
    LockLost is raised at the end of the block.
    """

    _task: asyncio.Task[Any] | None = None
    _interrupted = False

    async def __aenter__(self) -> Self:
        """Acquire the lock."""
        await self.acquire()
        self._task = asyncio.current_task()
        self._telling = asyncio.ensure_future(self.when_lost())
        self._telling.add_done_callback(self._interrupt)
        return self

    def _interrupt(self, told: asyncio.Future[Any]) -> None:
        if not told.cancelled() and self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def __aexit__(self, kind: Any, *raised: Any) -> None:
        """Release the lock; raise LockLost if it was lost."""
        task, self._task = self._task, None
        self._telling.cancel()
        if self._interrupted and task is not None and not task.uncancel():
            kind = None if kind is asyncio.CancelledError else kind
        await as_asyncio(Deferred.fromCoroutine(self._original.__aexit__(kind, *raised)))

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``, and cancel it when the lock is lost: LockLost is raised once it ended."""
        task = asyncio.ensure_future(work)
        lost = asyncio.ensure_future(self.when_lost())
        try:
            await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
                if task.cancelled():
                    raise lost.result()
            return task.result()
        finally:
            lost.cancel()
            task.cancel()


class Leadership(Lock, elections.Leadership):
    """See :class:`uring.client.Leadership`."""


class Election(_Facade, elections.Election):
    """See :class:`uring.client.Election`."""


class Client(_Facade, rest.Client):
    """See :class:`uring.client.Client`; make it where a loop is running."""

    if not TYPE_CHECKING:

        def __init__(self, *endpoints: str, **options: Any) -> None:
            """Raises ReactorInUse where Twisted runs in another way in this process."""
            reactor = options.pop("reactor", None) or reactor_of_the_loop()
            self._original = rest.Client(*endpoints, reactor=reactor, **options)


_FACES: dict[type, type[_Facade]] = {
    watch.Watch: Watch,
    websocket.Subscription: Subscription,
    websocket.WebSocketSession: WebSocketSession,
    locks.Lock: Lock,
    elections.Leadership: Leadership,
    elections.Election: Election,
}
