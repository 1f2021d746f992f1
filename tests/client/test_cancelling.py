"""Who stops waiting for a connection stops it: nothing goes on to try."""

from __future__ import annotations

import io
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from uring.client import Client
from uring.client.cancelling import cancellable
from uring.client.websocket import connect


class CancelTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor

    def test_websocket_while_its_name_is_looked_up(self) -> None:
        """A lookup that is cancelled says that it failed; addresses are looked up, too."""
        opening = Deferred.fromCoroutine(connect(self.reactor, "127.0.0.1:1", 5.0))
        self.assertNoResult(opening)
        opening.cancel()
        self.failureResultOf(opening, CancelledError)

    async def test_watch_while_its_name_is_looked_up(self) -> None:
        """A watch that is closed at once had gone on for ever, with nobody to read it."""
        client = Client("127.0.0.1:1")
        watch = client.watch("kv")
        watch.start()
        running: Any = watch._running
        running.addErrback(lambda failure: failure.trap(CancelledError))
        await watch.close()
        self.successResultOf(running)
        await client.close()

    async def test_request_while_its_name_is_looked_up(self) -> None:
        """A request is not sent to the next node by somebody whom nobody waits for."""
        client = Client("127.0.0.1:1", "127.0.0.1:2", patience=30.0)
        asking = Deferred.fromCoroutine(client.get("k"))
        self.assertNoResult(asking)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        await client.close()

    async def test_backup_while_a_name_is_looked_up(self) -> None:
        """Who stops a backup is not told that a node cannot be reached."""
        client = Client("127.0.0.1:1")
        asking = Deferred.fromCoroutine(client.backup(io.BytesIO()))
        self.assertNoResult(asking)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        await client.close()

    def test_results(self) -> None:
        """What was not cancelled comes as it is, be it good or bad."""
        good: Deferred[int] = Deferred()
        bad: Deferred[int] = Deferred()
        found, failed = cancellable(good), cancellable(bad)
        good.callback(1)
        bad.errback(ValueError("no"))
        self.assertEqual(self.successResultOf(found), 1)
        self.failureResultOf(failed, ValueError)
