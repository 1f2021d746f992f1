"""Locks: one holder at a time, in order, with tokens that fence; whatever gets lost on the way."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.nearby import TICK, Nearby
from uring.client import Client, Lock, LockLost, LockTimeout, compare, put_op
from uring.client.locks import RELEASE_SECONDS
from uring.errors import Unavailable

TTL = 3.0


class NearbyTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.cluster = Nearby(self.clock)
        self.client = self.cluster.client()
        self._started: list[Deferred[Any]] = []
        self._locks: list[Lock] = []

    def tearDown(self) -> None:
        """Let nothing wait for ever."""
        self.cluster.away = self.cluster.hangs = False
        for started in self._started:
            started.addErrback(lambda failure: None)
            started.cancel()
        for lock in self._locks:
            Deferred.fromCoroutine(lock.release())
        self.pass_time(1.0)

    def lock(self, name: str = "jobs", ttl: float = TTL, **options: Any) -> Lock:
        """Return a lock that is released when the test ends."""
        lock = self.client.lock(name, ttl, **options)
        self._locks.append(lock)
        return lock

    def start(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Begin ``work``, and let everybody be told of it."""
        started = Deferred.fromCoroutine(work)
        self._started.append(started)
        self.clock.pump([0.0] * 5)
        return started

    def done(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what ``work`` returns without waiting."""
        return self.successResultOf(self.start(work))

    def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps."""
        self.clock.pump([TICK] * round(seconds / TICK))

    def keys(self, name: str = "") -> list[str]:
        """Return the keys that there are."""

        async def read() -> list[str]:
            return [item.key async for item in self.cluster.client().keys(name)]

        found: list[str] = self.done(read())
        return found

    def held(self, name: str = "jobs", **options: Any) -> Lock:
        """Return a lock that is held."""
        lock = self.lock(name, **options)
        self.done(lock.acquire())
        return lock


class LockTests(NearbyTestCase):
    """Having it, waiting for it, letting it go."""

    def test_held(self) -> None:
        """A lock is a key under its name, and its token the revision of that key."""

        async def work() -> None:
            async with self.lock("jobs", TTL, value="me") as lock:
                item = await self.client.look(lock.key)
                assert item is not None
                self.assertEqual((item.value, item.created, item.lease), ("me", lock.token, 1))
                self.assertTrue(lock.is_held)
                self.assertEqual(self.keys(), [f"jobs/{1:016x}"])
            self.assertFalse(lock.is_held)

        self.done(work())
        self.assertEqual(self.keys(), [])
        self.assertEqual(self.cluster.lessor.measured, 0)

    def test_renewed(self) -> None:
        """A lock is held for as long as its holder lives, far beyond its time."""
        lock = self.held()
        self.pass_time(10 * TTL)
        self.assertTrue(lock.is_held)
        self.assertEqual(len(self.keys()), 1)

    def test_order(self) -> None:
        """Who came first has it first, and the tokens grow."""
        locks = [self.lock("jobs", TTL) for _ in range(4)]
        taking = [self.start(lock.acquire()) for lock in locks]
        tokens = []
        for lock, taken in zip(locks, taking, strict=True):
            tokens.append(self.successResultOf(taken))
            self.assertEqual([each.is_held for each in locks].count(True), 1)
            self.done(lock.release())
        self.assertEqual(tokens, sorted(set(tokens)))

    def test_no_herd(self) -> None:
        """When a holder leaves, the next one alone asks whether it is its turn."""
        first = self.held()
        waiting = [self.lock("jobs", TTL) for _ in range(5)]
        taking = [self.start(lock.acquire()) for lock in waiting]
        del self.cluster.asked[:]
        self.done(first.release())
        self.assertEqual(self.cluster.asked, ["Revoke", "List"])
        self.successResultOf(taking[0])
        self.assertNoResult(taking[1])

    def test_one_in_the_middle_leaves(self) -> None:
        """When one leaves that only waits, who waited for it waits for the one before."""
        first = self.held()
        second, third = (self.lock("jobs", TTL) for _ in range(2))
        leaving, staying = self.start(second.acquire()), self.start(third.acquire())
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.assertEqual(len(self.keys()), 2)
        self.assertNoResult(staying)
        self.done(first.release())
        self.assertEqual(self.successResultOf(staying), third.token)

    def test_others_keys(self) -> None:
        """What is no turn at the lock does not hold it: other names, and keys of other kinds."""
        self.held("jobs/b")
        for key in ("jobs/x", "jobs/0123", "jobs/00000000000000zz"):
            self.done(self.client.txn(then=[put_op(key, "1")]))
        self.assertTrue(self.held("jobs").is_held)

    def test_wait(self) -> None:
        """Who waits no longer leaves nothing behind; who waits not at all is told at once."""
        self.held()
        patient = self.start(self.lock("jobs", TTL, wait=5.0).acquire())
        self.failureResultOf(self.start(self.lock("jobs", TTL, wait=0).acquire()), LockTimeout)
        self.pass_time(4.9)
        self.assertNoResult(patient)
        self.pass_time(0.2)
        self.failureResultOf(patient, LockTimeout)
        self.assertEqual(len(self.keys()), 1)
        self.assertEqual(self.cluster.lessor.measured, 1)

    def test_wrong_use(self) -> None:
        """Names and times that cannot be are refused, and a turn is taken once."""
        for name in ("", "jobs/", "a\nb"):
            self.assertRaises(ValueError, self.client.lock, name)
        for ttl in (0.5, 31 * 24 * 3600.0, float("nan")):
            self.assertRaises(ValueError, self.client.lock, "jobs", ttl)
        lock = self.held()
        self.failureResultOf(self.start(lock.acquire()), RuntimeError)
        self.assertTrue(lock.is_held)


class UnknownTests(NearbyTestCase):
    """Answers that get lost."""

    def test_lost_answers(self) -> None:
        """Whichever answer gets lost, there is one turn, and it ends."""
        for name in ("Grant", "Txn", "List", "Revoke"):
            self.cluster.lost_answers = [name]
            lock = self.lock("jobs", TTL)
            taking = self.start(lock.acquire())
            self.pass_time(1.0)
            self.successResultOf(taking)
            self.assertEqual(len(self.keys()), 1, name)
            leaving = self.start(lock.release())
            self.pass_time(1.0)
            self.successResultOf(leaving)
            self.assertEqual((self.keys(), self.cluster.lost_answers), ([], []), name)
        self.pass_time(2 * TTL)
        self.assertEqual(self.cluster.lessor.measured, 0)

    def test_nobody_there(self) -> None:
        """While no node can be reached, that is what is told, in bounded time."""
        self.cluster.leave()
        taking = self.start(self.lock("jobs", TTL).acquire())
        self.pass_time(TTL + RELEASE_SECONDS)
        self.failureResultOf(taking, Unavailable)

    def test_release_without_nodes(self) -> None:
        """A release that nobody hears returns, however patient; the lock goes with its lease."""
        self.client = self.cluster.client(patience=60.0)
        lock = self.held()
        self.cluster.hangs = True
        leaving = self.start(lock.release())
        self.assertFalse(lock.is_held)
        self.pass_time(RELEASE_SECONDS)
        self.successResultOf(leaving)
        self.cluster.hangs = False
        self.pass_time(TTL)
        self.assertEqual(self.keys(), [])

    def test_cancelled_while_asking(self) -> None:
        """Who is cancelled before it was answered leaves no key for longer than its lease."""
        self.cluster.hangs = True
        taking = self.start(self.lock("jobs", TTL).acquire())
        taking.cancel()
        self.failureResultOf(taking, CancelledError)


class LossTests(NearbyTestCase):
    """Losing it."""

    def lost(self, lock: Lock) -> Deferred[Any]:
        told: Any = lock.when_lost()
        return told

    def test_told_in_time(self) -> None:
        """A holder that reaches no node is told before the lock can be another's."""
        lock = self.held()
        told = self.lost(lock)
        other: Client = self.cluster.client()
        self.cluster.away = True
        key = lock.key
        for _ in range(200):
            self.clock.advance(TICK)
            if told.called:
                break
            self.assertTrue(lock.is_held)
        self.assertFalse(lock.is_held)
        self.assertIsInstance(self.successResultOf(told), LockLost)
        self.cluster.away = False
        self.assertEqual(self.keys(), [key])
        following = other.lock("jobs", TTL)
        self._locks.append(following)
        taking = self.start(following.acquire())
        self.assertNoResult(taking)
        self.pass_time(TTL)
        self.assertEqual(self.keys()[:1], [f"jobs/{2:016x}"])
        self.assertGreater(self.successResultOf(taking), lock.token)

    def test_hanging_nodes(self) -> None:
        """A node that hangs for less than the lease costs nobody the lock."""
        lock = self.held()
        self.pass_time(TTL / 3 - TICK)
        self.cluster.hangs = True
        self.pass_time(TTL / 3)
        self.cluster.hangs = False
        self.pass_time(3 * TTL)
        self.assertTrue(lock.is_held)

    def test_revoked(self) -> None:
        """Who takes the lease away, or the key, takes the lock, and it is told at once."""
        lock = self.held()
        told = self.lost(lock)
        self.done(self.cluster.client().revoke(1))
        self.assertIn("jobs", str(self.successResultOf(told)))
        self.assertFalse(lock.is_held)
        self.done(lock.release())
        self.assertEqual(self.cluster.lessor.measured, 0)

    def test_end_of_the_block(self) -> None:
        """A block that went on although the lock was lost does not end as if nothing had been."""

        async def work(problem: Exception | None) -> None:
            async with self.lock("jobs", TTL) as lock:
                await self.cluster.client().revoke(lock.lease)
                self.clock.pump([0.0] * 5)
                if problem is not None:
                    raise problem

        self.failureResultOf(self.start(work(None)), LockLost)
        self.failureResultOf(self.start(work(KeyError())), KeyError)

    def test_fenced(self) -> None:
        """A write under the lock is done while it is held, and refused after."""
        lock = self.held()
        revision = self.done(lock.put("a", "1"))
        unlike = self.done(lock.txn([compare("a", "value", "2")], [put_op("a", "3")]))
        self.assertFalse(unlike.succeeded)
        self.assertTrue(lock.is_held)
        fence = lock.fence
        self.done(self.cluster.client().revoke(lock.lease))
        self.failureResultOf(self.start(lock.put("a", "4")), LockLost)
        self.assertFalse(self.done(self.client.txn([fence], [put_op("a", "5")])).succeeded)
        self.done(lock.release())
        self.failureResultOf(self.start(lock.put("a", "6")), LockLost)
        item = self.done(self.client.look("a"))
        self.assertEqual((item.value, item.revision), ("1", revision))

    def test_run(self) -> None:
        """Work is cancelled when the lock is lost, not before, and told apart from other ends."""
        ended: list[str] = []

        async def work() -> None:
            try:
                await Deferred()
            except CancelledError:
                ended.append("cancelled")
                raise

        async def quick() -> int:
            return 7

        lock = self.held()
        self.assertEqual(self.done(lock.run(quick())), 7)
        cancelled = self.start(lock.run(work()))
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        running = self.start(lock.run(work()))
        self.assertEqual(ended, ["cancelled"])
        self.done(self.cluster.client().revoke(lock.lease))
        self.failureResultOf(running, LockLost)
        self.failureResultOf(self.start(lock.run(work())), LockLost)
        self.assertEqual(ended, ["cancelled"] * 3)

    def test_lost_while_waiting(self) -> None:
        """Who loses its place while it waits queues up again, and gets the lock in the end."""
        first = self.held()
        second = self.lock("jobs", TTL)
        taking = self.start(second.acquire())
        self.done(self.cluster.client().revoke(second.lease))
        self.pass_time(TTL)
        self.assertNoResult(taking)
        self.assertEqual(len(self.keys()), 2)
        self.done(first.release())
        self.pass_time(1.0)
        self.assertEqual(self.successResultOf(taking), second.token)
        self.done(second.release())
        self.assertEqual(self.keys(), [])
