"""A client's watch over connections that come and go: each change once, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from uring.client import watch as watching
from uring.client.watch import Change, News, Snapshot, Watch
from uring.errors import BadRequest, Forbidden, Unauthorized, Unavailable


class FakeSocket:
    """A connection that the test speaks for."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.observer: Callable[[dict[str, Any]], None] | None = None
        self.closed: Deferred[None] = Deferred()
        self.paused = False

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def drop(self) -> None:
        if not self.closed.called:
            self.closed.callback(None)

    def say(self, **message: Any) -> None:
        assert self.observer is not None
        self.observer(message)

    def put(self, revision: int) -> None:
        self.say(Msg={"channel": "kv", "revision": revision, "msg": {"Put": {"new": revision}}})

    @property
    def wanted(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sent[0]["Subscribe"]
        return found


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sockets: list[FakeSocket] = []
        self.away = False
        self.problem: Exception | None = None
        self.moves = 0
        self.news: list[News] = []

    async def connect_websocket(self) -> Any:
        if self.away:
            raise Unavailable("nobody there")
        if self.problem is not None:
            raise self.problem
        self.sockets.append(FakeSocket())
        return self.sockets[-1]

    def move_on(self) -> None:
        self.moves += 1

    def watch(self, **options: Any) -> Watch:
        watch = Watch(self, self.clock, options.pop("channel", "kv"), **options)
        watch.start()
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(watch.close())))
        return watch

    def read(self, watch: Watch) -> list[News]:
        """Return what can be read without waiting."""
        found = []
        while watch._waiting:
            found.append(self.successResultOf(Deferred.fromCoroutine(watch.__anext__())))
        return found

    def revisions(self, watch: Watch) -> list[int]:
        return [news.revision for news in self.read(watch)]

    def again(self) -> FakeSocket:
        """Let the watch connect again."""
        self.clock.pump([0.05] * 100)
        return self.sockets[-1]

    def test_resumes_elsewhere(self) -> None:
        """A lost connection is followed by one to another node, from where the first one ended."""
        watch = self.watch()
        (first,) = self.sockets
        self.assertNotIn("from", first.wanted)
        first.say(Subscribed={"rid": 1, "channel": "kv", "revision": 4})
        first.put(5)
        first.put(6)
        first.drop()
        second = self.again()
        self.assertEqual((self.moves, second.wanted["from"]), (1, 7))
        second.put(6)
        second.put(7)
        self.assertEqual(self.revisions(watch), [5, 6, 7])

    def test_lost_before_anything_happened(self) -> None:
        """What happens after subscribing is told, even if the first connection told nothing."""
        self.watch()
        self.sockets[0].say(Subscribed={"rid": 1, "channel": "kv", "revision": 4})
        self.sockets[0].drop()
        self.assertEqual(self.again().wanted["from"], 5)

    def test_progress(self) -> None:
        """Progress moves the place to resume from, and is no news."""
        watch = self.watch(prefix="a/", next=3)
        self.assertEqual(self.sockets[0].wanted["from"], 3)
        self.assertEqual(self.sockets[0].wanted["prefix"], "a/")
        self.sockets[0].say(Progress={"rid": 1, "revision": 90})
        self.sockets[0].drop()
        self.assertEqual(self.again().wanted["from"], 91)
        self.assertEqual(self.read(watch), [])

    def test_snapshot(self) -> None:
        """A snapshot that was cut off begins anew; then the changes after it follow."""
        watch = self.watch(snapshot=True)
        first = self.sockets[0]
        self.assertTrue(first.wanted["snapshot"])
        first.say(Snapshot={"rid": 1, "revision": 9, "items": [{"key": "a"}], "last": False})
        first.drop()
        second = self.again()
        self.assertTrue(second.wanted["snapshot"])
        second.say(Snapshot={"rid": 1, "revision": 10, "items": [{"key": "b"}], "last": False})
        second.say(Snapshot={"rid": 1, "revision": 10, "items": [], "last": True})
        second.put(11)
        second.drop()
        self.assertEqual(self.again().wanted["from"], 12)
        pieces = [piece for piece in self.read(watch) if isinstance(piece, Snapshot)]
        self.assertEqual([piece.begins for piece in pieces], [True, True, False])
        self.assertEqual([piece.ends for piece in pieces], [False, False, True])

    def test_compacted(self) -> None:
        """Who comes too late gets what there is, also when that is cut off."""
        watch = self.watch(next=2)
        first = self.sockets[0]
        first.say(Compacted={"rid": 1, "revision": 500, "oldest": 400})
        first.drop()
        second = self.again()
        self.assertTrue(second.wanted["snapshot"])
        self.assertNotIn("from", second.wanted)
        second.say(Snapshot={"rid": 1, "revision": 510, "items": [], "last": True})
        self.assertEqual(self.read(watch), [Snapshot(510, (), True, True)])

    def test_conflicts_do_not_count(self) -> None:
        """A failed compare-and-swap changed nothing: the change of its revision is still told."""
        watch = self.watch(next=5)
        conflict = {"CasConflict": {"key": "a"}}
        self.sockets[0].say(Msg={"channel": "kv", "revision": 5, "msg": conflict})
        self.sockets[0].put(5)
        self.assertEqual(
            self.read(watch), [Change("kv", 5, conflict), Change("kv", 5, {"Put": {"new": 5}})]
        )

    def test_ended(self) -> None:
        """A subscription that the node ends goes on at another one."""
        self.watch(next=5)
        self.sockets[0].put(5)
        self.sockets[0].say(Ended={"rid": 1, "code": 503, "reason": "slow", "from": 6})
        self.assertEqual(self.again().wanted["from"], 6)

    def test_silence(self) -> None:
        """A node that says nothing at all is left."""
        self.watch(next=5)
        for _ in range(10):
            self.clock.advance(watching.PROGRESS_SECONDS)
            self.sockets[0].say(Progress={"rid": 1, "revision": 4})
        self.assertEqual(len(self.sockets), 1)
        self.clock.pump([watching.PROGRESS_SECONDS] * 5)
        self.assertEqual(len(self.sockets), 2)

    def test_slow_reader(self) -> None:
        """An iterator that is behind stops the connection, which is not silence."""
        watch = self.watch(next=1)
        socket = self.sockets[0]
        for revision in range(1, watching.WAITING_MAX + 1):
            socket.put(revision)
        self.assertTrue(socket.paused)
        self.clock.pump([watching.PROGRESS_SECONDS] * 10)
        self.assertEqual(len(self.sockets), 1)
        self.assertEqual(self.revisions(watch), list(range(1, watching.WAITING_MAX + 1)))
        self.assertFalse(socket.paused)

    def test_nobody_there(self) -> None:
        """While no node can be reached it tries again, ever more slowly."""
        self.away = True
        watch = self.watch()
        self.clock.pump([0.05] * 200)
        self.assertLess(self.moves, 20)
        self.away = False
        self.again()
        self.assertEqual(len(self.sockets), 1)
        self.assertEqual(self.read(watch), [])

    def test_refused(self) -> None:
        """What no node would do is raised to the reader."""
        watch = self.watch(channel="snot")
        waiting = Deferred.fromCoroutine(watch.__anext__())
        self.sockets[0].say(rid=1, code=400, error={"detail": "unknown channel"})
        self.failureResultOf(waiting, BadRequest)

    def test_unwelcome(self) -> None:
        """A token that no node knows for some seconds ends the watch; one that is new does not."""

        def refuse_handshake() -> None:
            self.problem = Unauthorized("no WebSocket: [401]")

        def refuse_subscription() -> None:
            self.sockets[-1].say(rid=1, code=401, error={"detail": "who are you?"})

        def end_subscription() -> None:
            self.sockets[-1].say(Ended={"rid": 1, "code": 401, "reason": "token removed"})

        for refuse in (refuse_handshake, refuse_subscription, end_subscription):
            self.problem = None
            watch = self.watch()
            waiting = Deferred.fromCoroutine(watch.__anext__())
            for _ in range(2):  # for a while, twice, and welcome between them
                for _ in range(3):
                    refuse()
                    self.sockets[-1].drop()
                    self.clock.pump([0.05] * 25)
                    self.assertNoResult(waiting)
                self.problem = None
                self.again().say(Subscribed={"rid": 1, "channel": "kv", "revision": 4})
                self.sockets[-1].drop()
                self.again()
            for _ in range(100):
                refuse()
                self.sockets[-1].drop()
                self.clock.pump([0.05] * 45)
                if waiting.called:
                    break
            self.failureResultOf(waiting, Unauthorized)
            connections = len(self.sockets)
            self.clock.pump([1.0] * 100)
            self.assertEqual(len(self.sockets), connections)

    def test_forbidden(self) -> None:
        """A watch that its token is not for any more ends at once."""
        watch = self.watch()
        waiting = Deferred.fromCoroutine(watch.__anext__())
        self.sockets[0].say(Ended={"rid": 1, "code": 403, "reason": "not for these keys"})
        self.failureResultOf(waiting, Forbidden)

    def test_local_events(self) -> None:
        """Events of a node are told as they come, and nothing is resumed."""
        watch = self.watch(channel="uring")
        event = {"StateChange": {"node": 1}}
        for _ in range(2):
            self.sockets[0].say(Msg={"channel": "uring", "revision": 7, "msg": event})
        self.sockets[0].drop()
        self.assertNotIn("from", self.again().wanted)
        self.assertEqual(self.read(watch), [Change("uring", 7, event)] * 2)
