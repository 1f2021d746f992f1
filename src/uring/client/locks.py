"""Locks, as Chubby has them: fair, held under a lease, and with a token that fences writes.

Whoever wants the lock NAME puts a key of its own, ``NAME/<lease in 16 hexadecimal digits>``, that
hangs on its lease.  The key that was created first has the lock, and the revision at which it was
created is the fencing token: the next holder's is greater.  Everybody else waits for the one key
before its own to go, so that one goes on when a holder leaves, and not all of them.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar, cast

from attrs import define, field
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from uring.client.held import TTL_SECONDS_MAX, TTL_SECONDS_MIN, HeldLease
from uring.client.services import (
    Item,
    ServiceClient,
    TxnResult,
    Value,
    compare,
    get_op,
    put_op,
)
from uring.client.watch import Snapshot, Watch
from uring.errors import BadRequest, Conflict, NotFound, UringError

TTL_SECONDS = 10.0
"""What a lock outlives its holder by at the most, unless it is told otherwise."""
ATTEMPT_SECONDS_MIN = 0.25
RELEASE_SECONDS = 5.0
"""How long a release is tried: what is not released then goes with its lease."""

_NUMBER = re.compile(r"[0-9a-f]{16}")
_log = Logger(namespace="uring.client")
T = TypeVar("T")


class LockLost(Conflict):
    """The lock may be another's by now; a write that was fenced by it was not done."""


class LockTimeout(Conflict):
    """The lock was another's for all of the time that was given; nothing is left behind."""


class _LeaseLost(Exception):
    """The place in the queue is lost."""


class Home(Protocol):
    """What a lock needs of a client."""

    timeout: float

    def lasting(self, timeout: float, patience: float) -> ServiceClient:
        """Return calls that are repeated safely for ``patience`` seconds."""

    def watch(
        self,
        channel: str = "kv",
        *,
        prefix: str = "",
        start: int | None = None,
        snapshot: bool = False,
    ) -> Watch:
        """Watch the changes of keys with ``prefix``."""


def calls_for(home: Home, ttl: float) -> ServiceClient:
    """Return calls that several nodes can be asked within a lease of ``ttl`` seconds."""
    return home.lasting(min(home.timeout, max(ttl / 6, ATTEMPT_SECONDS_MIN)), ttl / 3)


def check_name(name: str) -> str:
    """Return ``name``.  Raises ValueError unless locks and elections can have it."""
    if not name or name.endswith("/") or not name.isprintable():
        raise ValueError(f"{name!r}: a name has printable letters, the last one no slash")
    return name


async def queue_of(calls: ServiceClient, name: str) -> tuple[list[Item], int]:
    """Return the keys of those who have or want ``name``, the first one first, and the revision."""
    found: list[Item] = []
    revision, cursor = 0, None
    while True:
        page = await calls.page(f"{name}/", cursor, 1000)
        # A page of its own revision may show what came later, but hides none that was there before.
        revision = revision or page.revision
        found += [item for item in page.items if is_ours(name, item.key)]
        cursor = page.cursor
        if cursor is None:
            return sorted(found, key=lambda item: item.created), revision


def is_ours(name: str, key: str) -> bool:
    """Tell whether ``key`` is one of a lock or an election of that name."""
    return key.startswith(f"{name}/") and bool(_NUMBER.fullmatch(key, len(name) + 1))


def this_process() -> str:
    """Return what people can find the owner of a lock by."""
    return f"{socket.gethostname()} {os.getpid()}"


@define(eq=False)
class Lock:
    """One turn at the lock ``name``, by :meth:`uring.client.Client.lock`; use each only once.

    ``async with`` acquires and releases it; its end raises LockLost if the lock was lost meanwhile.
    ``ttl`` (seconds) is for how long the lock outlives a holder that is gone; ``wait`` (seconds)
    for how long to wait for it, None for ever, 0 not at all; ``value`` is shown to who lists the
    keys.
    """

    _home: Home
    _reactor: Any
    name: str
    ttl: float = TTL_SECONDS
    wait: float | None = None
    value: Value = field(factory=this_process)
    token: int = field(default=0, init=False)
    """The fencing token, greater than those of all who had the lock before; 0 without it."""
    _calls: ServiceClient = field(init=False)
    _lease: HeldLease | None = field(default=None, init=False)
    _acquired: bool = field(default=False, init=False)
    _again: bool = field(default=False, init=False)
    """Whether the lease was lost before our turn came: then we queue up once more."""
    _turning: Deferred[None] | None = field(default=None, init=False)
    _why_lost: str = field(default="", init=False)
    _told: list[Deferred[LockLost]] = field(factory=list, init=False)
    _guarding: Deferred[Any] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        check_name(self.name)
        if not TTL_SECONDS_MIN <= self.ttl <= TTL_SECONDS_MAX:
            raise ValueError(f"ttl is {TTL_SECONDS_MIN:g} to {TTL_SECONDS_MAX:g} s: {self.ttl:g}")
        self._calls = calls_for(self._home, self.ttl)

    # -- what it is ------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The key that stands for this turn; empty before there is one."""
        return f"{self.name}/{self._lease.id:016x}" if self._lease is not None else ""

    @property
    def lease(self) -> int:
        """The lease that the key hangs on: what else hangs on it goes with the lock; 0 without."""
        return self._lease.id if self._lease is not None else 0

    @property
    def is_held(self) -> bool:
        """Whether the lock is certainly held now: false before it can be another's."""
        return self._acquired and self._lease is not None and self._lease.is_sure

    @property
    def fence(self) -> dict[str, Any]:
        """What a transaction compares, so that it does nothing once the lock is another's."""
        return compare(self.key, "created", self.token)

    def when_lost(self) -> Awaitable[LockLost]:
        """Return a Deferred that fires, once, when the lock may be lost; never after a release."""
        told: Deferred[LockLost] = Deferred(self._forget)
        if self._why_lost:
            told.callback(self._loss())
        else:
            self._told.append(told)
        return told

    def _forget(self, told: Deferred[LockLost]) -> None:
        if told in self._told:
            self._told.remove(told)

    def _loss(self) -> LockLost:
        return LockLost(f"the lock {self.name!r} is lost: {self._why_lost}")

    # -- with the lock ---------------------------------------------------------------------------

    async def txn(
        self,
        compare: Sequence[Mapping[str, Any]] = (),
        then: Sequence[Mapping[str, Any]] = (),
    ) -> TxnResult:
        """Do ``then`` if every comparison holds and the lock is still held.

        Raises LockLost when it is not: nothing was done.  What is to be done where a comparison
        does not hold is for another transaction; with :attr:`fence` you can write your own.
        """
        if not self.token:
            raise LockLost(f"the lock {self.name!r} is not held")
        done = await self._calls.txn([self.fence, *compare], then, [get_op(self.key)])
        if done.succeeded:
            return done
        mine = done.results[0]
        if mine is None or mine.created != self.token:
            self._lose("its key is gone")
            raise LockLost(f"the lock {self.name!r} is not held any more; nothing was written")
        return TxnResult(False, done.revision, ())

    async def put(self, key: str, value: Value) -> int:
        """Store ``value`` and return its revision, or raise LockLost: nothing was stored then."""
        return (await self.txn(then=[put_op(key, value)])).revision

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``, and cancel it when the lock is lost: LockLost is raised once it ended."""
        running = Deferred.fromCoroutine(work)
        lost = cast("Deferred[Any]", self.when_lost())
        lost.addCallbacks(lambda _: running.cancel(), lambda failure: failure.trap(CancelledError))
        try:
            return await running
        except CancelledError:
            if self._why_lost:
                raise self._loss() from None
            raise
        finally:
            lost.cancel()

    # -- having it -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, kind: Any, *raised: object) -> None:
        if kind is GeneratorExit:
            return  # thrown away: nothing can be awaited, and the lease ends by itself
        await self.release()
        if kind is None and self._why_lost:
            raise self._loss()

    async def acquire(self) -> int:
        """Wait for the lock; return its fencing token.

        Raises LockTimeout when ``wait`` is over, and another UringError when no node could serve
        for a third of ``ttl``.  Whatever is raised, nothing is left behind that outlives ``ttl``;
        cancelling does the same.
        """
        if self._lease is not None:
            raise RuntimeError("a lock is acquired once; ask the client for another")
        taking = Deferred.fromCoroutine(self._take())
        if self.wait:
            taking.addTimeout(self.wait, self._reactor, onTimeoutCancel=self._too_late)
        try:
            await taking
        except Exception:  # a cancellation, too; in what is thrown away nothing can be awaited
            await self.release()
            raise
        return self.token

    async def release(self) -> None:
        """Let the next one have the lock; returns when it can, or after some seconds at the most.

        Never raises: what cannot be told to the nodes comes to pass with the end of the lease.
        """
        self._acquired, self.token, self._told = False, 0, []
        guarding, self._guarding = self._guarding, None
        if guarding is not None:
            guarding.cancel()
        if self._lease is None:
            return
        ending = Deferred.fromCoroutine(self._lease.end())
        ending.addTimeout(min(self.ttl, RELEASE_SECONDS), self._reactor)
        try:
            await ending
        except (UringError, defer.TimeoutError) as error:
            _log.info("{name} is free when its lease ends: {error}", name=self.name, error=error)

    def _too_late(self, result: Any, seconds: float) -> Any:
        raise LockTimeout(f"the lock {self.name!r} was not free within {seconds:g} s")

    async def _take(self) -> None:
        """Queue up until it is our turn; anew, and last, if the lease is lost meanwhile."""
        while not self._acquired:
            self._again = False
            self._lease = lease = HeldLease(self._calls, self._reactor, self.ttl, self._lease_lost)
            self._turning = Deferred.fromCoroutine(self._turn(lease))
            try:
                await self._turning
            except (CancelledError, _LeaseLost) as error:
                if isinstance(error, CancelledError) and not self._again:
                    raise
                lease.stop()
                _log.info("the turn at {name} is lost before it came", name=self.name)
            finally:
                self._turning = None

    async def _turn(self, lease: HeldLease) -> None:
        """Take a place in the queue, and wait until it is the first one."""
        await lease.begin()
        token = await self._enqueue(lease)
        while True:
            queue, revision = await queue_of(self._calls, self.name)
            ahead = [item.key for item in queue if item.created < token]
            if not lease.is_sure or not any(item.created == token for item in queue):
                raise _LeaseLost
            if not ahead:
                break
            if self.wait == 0:
                raise LockTimeout(f"the lock {self.name!r} is another's")
            await self._until_gone(ahead[-1], revision + 1)
        self.token, self._acquired = token, True
        guarding: Deferred[Any] = Deferred.fromCoroutine(self._guard(revision))
        self._guarding = guarding.addCallbacks(self._lose, self._unguarded)

    async def _enqueue(self, lease: HeldLease) -> int:
        """Put our key, once, and return the revision at which it was created."""
        put = put_op(self.key, self.value, lease.id)
        try:
            done = await self._calls.txn(
                [compare(self.key, "created", 0)], [put], [get_op(self.key)]
            )
        except BadRequest:
            try:
                await self._calls.keep_alive(lease.id)
            except NotFound:
                raise _LeaseLost from None
            raise
        there = done.results[0]
        return done.revision if there is None or done.succeeded else there.created

    async def _until_gone(self, key: str, start: int) -> None:
        """Return when ``key`` was removed after ``start``, or when that has to be looked up."""
        watch = self._home.watch("kv", prefix=key, start=start)
        try:
            async for news in watch:
                if isinstance(news, Snapshot) or news.event.get("Delete", {}).get("key") == key:
                    return
        finally:
            await watch.close()

    # -- losing it -------------------------------------------------------------------------------

    async def _guard(self, revision: int) -> str:
        """Return once our key is gone although the lease was not over."""
        while True:
            await self._until_gone(self.key, revision + 1)
            queue, revision = await queue_of(self._calls, self.name)
            if not any(item.created == self.token for item in queue):
                return "its key was removed"

    def _unguarded(self, failure: Any) -> None:
        """The lease alone says now whether the lock is held."""
        if not failure.check(CancelledError):
            _log.info("{name} is not watched: {error}", name=self.name, error=failure.value)

    def _lease_lost(self, reason: str) -> None:
        if self._acquired:
            self._lose(reason)
        else:
            self._again = True
            if self._turning is not None:
                self._turning.cancel()

    def _lose(self, reason: str) -> None:
        if self._why_lost or not self._acquired:
            return
        self._why_lost, self._acquired = reason, False
        told, self._told = self._told, []
        for each in told:
            each.callback(self._loss())
