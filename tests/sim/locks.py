"""Clients that contend for a lock, by the real client: its requests and watches, without sockets.

At most one at a time believes that it holds the lock, and what they write under it is in the order
of their tokens, even by who tries although the lock is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.sim.clock import Call
from tests.support.rest import as_command, as_message, as_response
from uring.api.limits import Limits
from uring.api.session import Session
from uring.client import Client, Lock, LockLost, put_op
from uring.client.websocket import WebSocketSession
from uring.errors import Unavailable, UringError

if TYPE_CHECKING:
    from tests.sim.world import Life, World

NAME, FENCED = "lock", "fenced"
DELAY = 0.002
LOST = 0.03
"""The share of requests, and of answers, that get lost."""


@define(eq=False)
class WorldClock:
    """What a client uses of ``IReactorTime``: it measures as the world does."""

    world: World

    def seconds(self) -> float:
        return self.world.now

    def callLater(self, delay: float, function: Callable[..., Any], *arguments: Any) -> Call:
        call = Call(self.world.now + delay)

        def fire() -> None:
            if call.active():
                call.cancel()
                function(*arguments)

        self.world.schedule(delay, "", fire)
        return call


@define(eq=False)
class Contender:
    """Takes the lock again and again, writes under it, and lets it go, or is gone."""

    world: World
    id: int
    random: Any = field(init=False)
    clock: Any = field(init=False)
    client: Client = field(init=False)
    lock: Lock | None = field(default=None, init=False)
    _working: Deferred[None] | None = field(default=None, init=False)
    _over: bool = field(default=False, init=False)
    _cut_off_until: float = field(default=0.0, init=False)
    _sockets: list[tuple[Life, WebSocketSession]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.random = self.world.random(f"contender {self.id}")
        self.clock = WorldClock(self.world)
        ids = list(self.world.hosts)
        self.random.shuffle(ids)
        endpoints = [f"node:{node_id}" for node_id in ids]
        self.client = Client(*endpoints, reactor=self.clock, http=self, patience=1.0, repeat=True)
        self.client.connect_websocket = self.connect_websocket  # type: ignore[method-assign]

    # -- the work --------------------------------------------------------------------------------

    def begin(self) -> None:
        self._working = Deferred.fromCoroutine(self._work())
        self._working.addErrback(self._broken)

    def finish(self) -> None:
        """Take the lock no more."""
        self._over = True
        if self._working is not None:
            self._working.cancel()

    @property
    def finished(self) -> bool:
        """Whether nothing is under way any more."""
        return self._over and self._working is not None and bool(self._working.called)

    def _broken(self, failure: Failure) -> None:
        """Nobody but the world can say what went wrong in a Deferred."""
        if not failure.check(CancelledError):
            self.world.schedule(0.0, "", failure.raiseException)

    async def _work(self) -> None:
        while not self._over:
            await deferLater(self.clock, self.random.uniform(0.0, 1.0))
            ttl, wait = self.random.uniform(1.2, 3.0), self.random.choice((None, None, 0, 1.0))
            lock = self.lock = self.client.lock(NAME, ttl, wait=wait, value=f"contender {self.id}")
            try:
                await lock.acquire()
            except UringError as problem:
                self.world.faults.counts[f"locks: {type(problem).__name__}"] += 1
                continue
            try:
                await self._hold(lock)
            finally:
                await self._leave(lock)

    async def _hold(self, lock: Lock) -> None:
        self.world.faults.counts["locks held"] += 1
        for other in self.world.contenders:
            if other is not self and other.lock is not None and other.lock.is_held and lock.is_held:
                self.world.properties.violated(f"{self.id} and {other.id} both hold the lock")
        token, fence = lock.token, lock.fence
        if self.random.random() < 0.25:
            await self._be_cut_off(lock.ttl * self.random.uniform(0.3, 2.0))
        for _ in range(self.random.randrange(4)):
            await deferLater(self.clock, self.random.choice((0.05, 0.05, 1.0)))
            try:
                self._wrote(await lock.put(FENCED, f"{token}"), token)
            except LockLost:
                self.world.faults.counts["locks lost"] += 1
                break
            except UringError:
                pass
        if self.random.random() < 0.2:  # as one who did not hear that it has lost the lock
            await self._abandon(lock)
            try:
                done = await self.client.txn([fence], [put_op(FENCED, f"{token} late")])
            except UringError:
                return
            if done.succeeded:
                self._wrote(done.revision, token)
            else:
                self.world.faults.counts["locks: late writes refused"] += 1

    async def _be_cut_off(self, seconds: float) -> None:
        """Hear of no node for so long."""
        self._cut_off_until = self.world.now + seconds
        for _, socket in self._sockets:
            socket.connection_lost("cut off")
        await deferLater(self.clock, seconds)

    async def _abandon(self, lock: Lock) -> None:
        """Renew no more, and come back after about the time of the lease."""
        assert lock._lease is not None
        lock._lease.stop()
        await deferLater(self.clock, lock.ttl * self.random.uniform(0.8, 1.5))

    async def _leave(self, lock: Lock) -> None:
        if self.random.random() < 0.15 and not self._over and lock._lease is not None:
            lock._lease.stop()  # as a process that is killed
            if lock._guarding is not None:
                lock._guarding.cancel()
            self.world.faults.counts["locks left behind"] += 1
        else:
            await lock.release()

    def _wrote(self, revision: int, token: int) -> None:
        writes = self.world.fenced
        for other, by in writes:
            if (other < revision and by > token) or (other > revision and by < token):
                self.world.properties.violated(
                    f"{token} wrote under the lock at {revision}, and {by} at {other}"
                )
        writes.append((revision, token))
        self.world.faults.counts["locks: writes"] += 1

    # -- the way to the nodes --------------------------------------------------------------------

    def _life(self, address: str) -> Life | None:
        life = self.world.hosts[int(address.rpartition(":")[2])].life
        return life if life is not None and life.node is not None else None

    def request(self, method: str, url: bytes, **options: Any) -> Deferred[Any]:
        """See treq.client.HTTPClient."""
        name, fields = as_command(method, url.decode(), options.get("data"))
        life = self._life(url.decode().split("/")[2])
        answer: Deferred[Any] = Deferred()
        if life is None or self.world.now < self._cut_off_until:
            return fail(error.ConnectionRefusedError())

        def reply(text: bytes) -> None:
            if self.random.random() >= LOST:
                self.world.schedule(DELAY, "", lambda: tell(json.loads(text)))

        def tell(found: dict[str, Any]) -> None:
            if not answer.called:
                answer.callback(as_response(name, found))

        def ask() -> None:
            Session(life.node, Limits(), "sim", reply, lambda busy: None).received(
                as_message(name, fields)
            )

        if self.random.random() >= LOST:
            life.later(DELAY, "", ask)
        return answer

    async def connect_websocket(self) -> WebSocketSession:
        """Return a session with the real other side."""
        await deferLater(self.clock, DELAY)
        life = self._life(self.client.address)
        if life is None or self.world.now < self._cut_off_until:
            raise Unavailable("nobody there")

        def send(text: bytes) -> None:
            life.later(DELAY, "", lambda: there.received(text))

        def hang_up() -> None:
            life.later(DELAY, "", there.close)
            here.connection_lost("closed")

        def receive(text: bytes) -> None:
            def arrive() -> None:
                if here._gone is None:
                    here.text_received(text)

            self.world.schedule(DELAY, "", arrive)

        here = WebSocketSession(self.clock, send, hang_up, 2.0)
        there = Session(life.node, Limits(), "sim", receive, lambda busy: None)
        self._sockets = [each for each in self._sockets if each[1]._gone is None]
        self._sockets.append((life, here))
        return here

    def lost(self, life: Life) -> None:
        """The connections are gone with the process."""
        for there, socket in self._sockets:
            if there is life:
                self.world.schedule(DELAY, "", lambda socket=socket: socket.connection_lost("gone"))  # type: ignore[misc]
