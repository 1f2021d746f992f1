"""The client for asyncio: Deferreds in tasks, cancelled both ways, and nothing left out."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import uring.client.asyncio as adapted
from uring.client import Client as TwistedClient
from uring.client import LockLost, locks
from uring.client.asyncio import Client, ReactorInUse, as_asyncio
from uring.errors import NotFound


class DeferredTests(SynchronousTestCase):
    """Deferreds awaited in tasks."""

    def test_results(self) -> None:
        """A result is returned, an error raised."""

        async def main() -> None:
            self.assertEqual(await as_asyncio(succeed(7)), 7)
            with self.assertRaises(NotFound):
                await as_asyncio(fail(NotFound("no")))
            later: Deferred[int] = Deferred()
            asyncio.get_running_loop().call_soon(later.callback, 8)
            self.assertEqual(await as_asyncio(later), 8)

        asyncio.run(main())

    def test_cancelled_task(self) -> None:
        """Cancelling the task cancels the Deferred, and waits until it has cleaned up."""
        steps: list[str] = []

        async def main() -> None:
            cleaning: Deferred[None] = Deferred()

            async def work() -> None:
                try:
                    await Deferred()
                except CancelledError:
                    steps.append("cancelled")
                    await cleaning
                    steps.append("clean")
                    raise

            task = asyncio.ensure_future(as_asyncio(Deferred.fromCoroutine(work())))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            self.assertEqual((steps, task.done()), (["cancelled"], False))
            cleaning.callback(None)
            await asyncio.wait((task,))
            self.assertEqual((steps, task.cancelled()), (["cancelled", "clean"], True))

        asyncio.run(main())

    def test_cancelled_deferred(self) -> None:
        """Who awaits what was cancelled is told so in asyncio's way."""

        async def main() -> None:
            deferred: Deferred[None] = Deferred()
            deferred.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await as_asyncio(deferred)

        asyncio.run(main())


class FakeLock:
    """What a facade of a lock is put around."""

    def __init__(self) -> None:
        self.told: Deferred[LockLost] = Deferred()
        self.left: list[Any] = []
        self.token = 5

    async def acquire(self) -> int:
        await succeed(None)
        return self.token

    def when_lost(self) -> Deferred[LockLost]:
        return self.told

    async def __aexit__(self, kind: Any, *raised: Any) -> None:
        self.left.append(kind)
        if kind is None and self.told.called:
            raise LockLost("lost")


class LockTests(SynchronousTestCase):
    """Locks in tasks."""

    def setUp(self) -> None:
        self.original = FakeLock()
        self.lock: Any = adapted.Lock.around(self.original)

    async def lose(self) -> None:
        self.original.told.callback(LockLost("lost"))
        await asyncio.sleep(60)

    def test_held(self) -> None:
        """A block with a lock runs to its end."""

        async def main() -> None:
            async with self.lock as lock:
                self.assertEqual(lock.token, 5)
            self.assertEqual(self.original.left, [None])

        asyncio.run(main())

    def test_lost(self) -> None:
        """A block is ended when its lock is lost, by LockLost and not as if it were cancelled."""

        async def main() -> None:
            with self.assertRaises(LockLost):
                async with self.lock:
                    await self.lose()
            task = asyncio.current_task()
            assert task is not None
            self.assertEqual(task.cancelling(), 0)
            await asyncio.sleep(0)

        asyncio.run(main())

    def test_other_ends(self) -> None:
        """An error of the block, and a cancellation from outside, stay what they are."""

        async def main() -> None:
            with self.assertRaises(KeyError):
                async with self.lock:
                    raise KeyError

            async def hold() -> None:
                async with self.lock:
                    await asyncio.sleep(60)

            task = asyncio.ensure_future(hold())
            await asyncio.sleep(0.01)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        asyncio.run(main())

    def test_run(self) -> None:
        """Work in a task of its own is cancelled when the lock is lost."""

        async def quick() -> int:
            return 7

        async def main() -> None:
            self.assertEqual(await self.lock.run(quick()), 7)
            self.setUp()
            with self.assertRaises(LockLost):
                await self.lock.run(self.lose())

        asyncio.run(main())


class FacadeTests(SynchronousTestCase):
    """The facades as classes."""

    def test_nothing_is_left_out(self) -> None:
        """Every public name of a class is handed on: none is run as if this were Twisted."""
        for original, facade in adapted._FACES.items():
            for name in dir(original):
                if name.startswith("_"):
                    continue
                found = inspect.getattr_static(facade, name)
                self.assertIsNot(found, inspect.getattr_static(original, name), (facade, name))

    def test_signatures(self) -> None:
        """Help and completion show what the original has."""
        self.assertEqual(inspect.signature(Client.put), inspect.signature(TwistedClient.put))
        self.assertEqual(adapted.Lock.put.__doc__, locks.Lock.put.__doc__)

    def test_another_reactor(self) -> None:
        """Where Twisted runs by itself, that is said, and what to do."""
        from twisted.internet import reactor

        if isinstance(reactor, AsyncioSelectorReactor):
            raise SkipTest("this is asyncio's reactor")

        async def main() -> None:
            Client("127.0.0.1:1")

        error = self.assertRaises(ReactorInUse, asyncio.run, main())
        self.assertIn("uring.client", str(error))

    def test_no_loop(self) -> None:
        """A client is made where a loop runs."""
        self.assertRaises(RuntimeError, Client, "127.0.0.1:1")
