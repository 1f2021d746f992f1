"""Errors that nobody caught: which of them stop the node."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

import uring
from uring.faults import UnhandledErrors

PACKAGE = Path(uring.__file__).parent


def raising(module: str) -> Callable[[], None]:
    """Return a function that raises, as if it stood in ``module`` of the package."""
    source = "def planted():\n    raise ZeroDivisionError('planted')\n"
    names: dict[str, Any] = {}
    exec(compile(source, str(PACKAGE / module), "exec"), names)
    return names["planted"]  # type: ignore[no-any-return]


class UnhandledTests(TestCase):
    """Real errors in a real reactor."""

    timeout = 20

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.reasons: list[str] = []
        observer = UnhandledErrors(self.reasons.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    async def settle(self) -> int:
        """Let what was planted happen; return how many errors were logged."""
        await deferLater(self.reactor, 0.01, lambda: None)
        gc.collect()
        return len(self.flushLoggedErrors(ZeroDivisionError))

    async def test_timer(self) -> None:
        """A timer that raises in shared code stops the node: what it was for is not done."""
        self.reactor.callLater(0, raising("peers/mesh.py"))
        self.assertEqual(await self.settle(), 1)
        (reason,) = self.reasons
        self.assertIn("timed call", reason)
        self.assertIn("planted", reason)

    async def test_call_from_a_thread(self) -> None:
        """So does what a thread of the store hands over."""
        self.reactor.callFromThread(raising("store/disk.py"))
        self.assertEqual((await self.settle(), len(self.reasons)), (1, 1))

    async def test_deferred(self) -> None:
        """So does the error of a Deferred that nobody took."""
        waiting: Deferred[None] = Deferred()
        waiting.addCallback(lambda _: raising("members.py")())
        waiting.callback(None)
        del waiting
        self.assertEqual((await self.settle(), len(self.reasons)), (1, 1))

    async def test_coroutine(self) -> None:
        """And that of a coroutine."""

        async def planted() -> None:
            raising("peers/link.py")()

        waiting = Deferred.fromCoroutine(planted())
        del waiting
        self.assertEqual((await self.settle(), len(self.reasons)), (1, 1))

    async def test_only_once(self) -> None:
        """The first reason is the one that counts."""
        for _ in range(3):
            self.reactor.callLater(0, raising("node.py"))
        self.assertEqual((await self.settle(), len(self.reasons)), (3, 1))

    async def test_one_client(self) -> None:
        """What serves one client ends with it: no request can stop the node."""
        self.reactor.callLater(0, raising("api/session.py"))
        waiting: Deferred[None] = Deferred()
        waiting.addCallback(lambda _: raising("api/rest.py")())
        waiting.callback(None)
        del waiting
        self.assertEqual((await self.settle(), self.reasons), (2, []))

    async def test_others_code(self) -> None:
        """What never was in uring's code is logged, and nothing else."""
        self.reactor.callLater(0, lambda: 1 / 0)
        fail(ZeroDivisionError("elsewhere"))
        self.assertEqual((await self.settle(), self.reasons), (2, []))


class DescriptorTests(SynchronousTestCase):
    """How many connections clients may have."""

    def test_some_are_kept(self) -> None:
        """Clients get what is left; few files leave half of them."""
        from uring.descriptors import KEPT, left_for_clients

        self.assertEqual(left_for_clients(100_000, 20_000), 20_000)
        self.assertEqual(left_for_clients(1024, 20_000), 1024 - KEPT)
        self.assertEqual(left_for_clients(40, 20_000), 20)
        self.assertEqual(left_for_clients(1, 20_000), 1)
