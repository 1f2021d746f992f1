"""The REST client against a stub of the server: what it sends, and what it makes of answers."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from treq.testing import StringStubbingResource, StubTreq
from twisted.internet import defer, error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived

from uring.client import Client, RingNode, Swap
from uring.client.answers import ProtocolError
from uring.errors import (
    BadRequest,
    Conflict,
    DiskFull,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    TooManyFailures,
    Unauthorized,
    Unavailable,
    UringError,
)

ADDRESS = "127.0.0.1:8081"


class ClientTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.seen: list[tuple[str, str, Any]] = []
        self.answer: tuple[int, dict[str, str], Any] = (200, {}, None)
        stub = StubTreq(StringStubbingResource(self.respond))
        self.client = Client(ADDRESS, reactor=Clock(), http=stub)

    def respond(self, method: Any, url: str, params: Any, headers: Any, data: bytes) -> Any:
        self.params = params
        self.seen.append((method.decode(), url, json.loads(data) if data else None))
        code, names, body = self.answer
        encoded = {name.encode(): value.encode() for name, value in names.items()}
        return code, encoded, b"" if body is None else json.dumps(body).encode()

    def answered(self, code: int, body: Any = None, **headers: str) -> None:
        self.answer = (code, {name.replace("_", "-"): v for name, v in headers.items()}, body)

    def result(self, call: Coroutine[Deferred[Any], Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(call))

    def failed(self, call: Coroutine[Deferred[Any], Any, Any], kind: type[UringError]) -> Any:
        return self.failureResultOf(Deferred.fromCoroutine(call), kind).value


class TokenTests(ClientTestCase):
    """Who asks."""

    def test_sent(self) -> None:
        """A token goes with each request; without one there is no such header."""
        given: list[Any] = []

        def respond(method: Any, url: str, params: Any, headers: Any, data: bytes) -> Any:
            given.append(headers.get(b"Authorization"))
            return 201, {}, b""

        stub = StubTreq(StringStubbingResource(respond))
        for token in ("a.b", None):
            client = Client(ADDRESS, reactor=Clock(), http=stub, token=token)
            self.result(client.put("k", "v"))
        self.assertEqual(given, [[b"Bearer a.b"], None])

    def test_no_token(self) -> None:
        """What cannot be a token is refused before anything is sent, and not repeated."""
        for token in ("", "a b", "a\nb", "\u00fc.x"):
            problem = self.assertRaises(ValueError, Client, ADDRESS, token=token)
            if token:
                self.assertNotIn(token, str(problem))

    def test_refused(self) -> None:
        """Each refusal is an exception of its own."""
        for code, kind in ((401, Unauthorized), (403, Forbidden), (429, TooManyFailures)):
            self.answered(code, {"detail": "no"}, Retry_After="5")
            self.failed(self.client.get("k"), kind)

    def test_calls(self) -> None:
        """Tokens are made, listed, removed."""
        made = {"id": "i", "token": "i.s"}
        self.answered(201, made)
        self.assertEqual(self.result(self.client.add_token("read", "app", ["p/"])), made)
        body = {"role": "read", "name": "app", "prefixes": ["p/"]}
        self.assertEqual(self.seen[-1], ("POST", f"http://{ADDRESS}/tokens", body))
        self.answered(200, [made])
        self.assertEqual(self.result(self.client.tokens()), [made])
        self.answered(200, {"id": "i"})
        self.result(self.client.remove_token("i"))
        self.assertEqual(self.seen[-1][:2], ("DELETE", f"http://{ADDRESS}/tokens/i"))
        self.answered(404, {"detail": "no such token"})
        self.failed(self.client.remove_token("i"), NotFound)


class KeyTests(ClientTestCase):
    """Keys and values."""

    def test_put(self) -> None:
        """A put posts the value as JSON."""
        self.answered(201)
        self.result(self.client.put("beep", "boop"))
        self.assertEqual(self.seen, [("POST", f"http://{ADDRESS}/kv/beep", {"value": "boop"})])

    def test_get(self) -> None:
        """A get returns the value, and None for a key that is not there."""
        self.answered(200, {"key": "beep", "value": "boop"})
        self.assertEqual(self.result(self.client.get("beep")), "boop")
        self.answered(404, {"title": "Not Found"})
        self.assertIsNone(self.result(self.client.get("beep")))

    def test_keys_are_escaped(self) -> None:
        """A slash, a percent sign, and any letter of a key stay within its one segment."""
        self.answered(201)
        self.result(self.client.put("a/b%20\u00e9?#", "x"))
        self.assertEqual(self.seen[0][1], f"http://{ADDRESS}/kv/a%2Fb%2520%C3%A9%3F%23")

    def test_batch(self) -> None:
        """A list of commands is posted, and answered in its order, refusals too."""
        refusal = {"code": 503, "data": None, "error": {"detail": "no leader"}}
        self.answered(200, [{"code": 201, "data": None}, refusal])
        commands = [("Put", {"key": "a", "store": "b"}), ("Get", {"key": "c"})]
        stored, refused = self.result(self.client.batch(commands, stale=True))
        self.assertEqual((stored.code, stored.data), (201, None))
        self.assertRaises(Unavailable, refused.expect, 200)
        self.assertEqual(self.params, {b"consistency": [b"stale"]})
        body = [{"Put": {"key": "a", "store": "b"}}, {"Get": {"key": "c"}}]
        self.assertEqual(self.seen, [("POST", f"http://{ADDRESS}/kv", body)])

    def test_batch_that_is_no_batch(self) -> None:
        """None and too many commands are not sent; other answers than a list are recognized."""
        self.failureResultOf(Deferred.fromCoroutine(self.client.batch([])), ValueError)
        many = [("Get", {"key": "a"})] * 1025
        self.failureResultOf(Deferred.fromCoroutine(self.client.batch(many)), ValueError)
        self.assertEqual(self.seen, [])
        wrong: list[Any] = [None, {}, [], [{}], ["x"], [{"code": 200, "data": None}] * 2]
        for body in wrong:
            self.answered(200, body)
            self.failed(self.client.batch(many[:1]), ProtocolError)

    def test_cas(self) -> None:
        """A compare-and-swap tells whether it stored, and what it found when not."""
        self.answered(201)
        self.assertEqual(self.result(self.client.cas("k", None, "b")), Swap(True))
        self.assertEqual(self.seen[0][2], {"check": None, "store": "b"})
        for body in ({"key": "k", "value": "c"}, {"detail": "no", "current": "c"}):
            self.answered(409, body)
            self.assertEqual(self.result(self.client.cas("k", "a", "b")), Swap(False, "c"))

    def test_delete(self) -> None:
        """A delete returns the old value, and None if there was none."""
        self.answered(200, {"key": "k", "value": "old"})
        self.assertEqual(self.result(self.client.delete("k")), "old")
        self.answered(404)
        self.assertIsNone(self.result(self.client.delete("k")))


class RingTests(ClientTestCase):
    """The ring."""

    def test_nodes(self) -> None:
        """A ring comes as its nodes in order."""
        self.answered(200, [{"id": "n1", "vnodes": [0, 1]}, {"id": "n2", "vnodes": [2]}])
        nodes = [RingNode("n1", (0, 1)), RingNode("n2", (2,))]
        self.assertEqual(self.result(self.client.ring_nodes()), nodes)
        self.assertEqual(self.result(self.client.add_ring_node("n2")), nodes)
        self.assertEqual(self.result(self.client.remove_ring_node("n/3")), nodes)
        self.assertEqual(self.seen[-1][:2], ("DELETE", f"http://{ADDRESS}/mring/node/n%2F3"))

    def test_size(self) -> None:
        """A ring without a size has None."""
        self.answered(404)
        self.assertIsNone(self.result(self.client.ring_size()))
        self.answered(200, {"size": 64})
        self.assertEqual(self.result(self.client.ring_size()), 64)

    def test_not_a_ring(self) -> None:
        """An answer that is no ring is a protocol error."""
        self.answered(200, {"nodes": 3})
        self.failed(self.client.ring_nodes(), ProtocolError)


class MemberTests(ClientTestCase):
    """Members."""

    def test_members(self) -> None:
        """Members come with their ids as numbers."""
        members = [{"id": 1, "address": "a:1", "voter": True}, {"id": 2, "address": "b:2"}]
        self.answered(200, {"members": members})
        self.assertEqual(self.result(self.client.members()), {1: "a:1", 2: "b:2"})

    def test_not_members(self) -> None:
        """A status whose members are none is a protocol error."""
        self.answered(200, {"members": [1]})
        self.failed(self.client.members(), ProtocolError)

    def test_register(self) -> None:
        """A member is added by its id, with an address only if one is given."""
        self.result(self.client.register(2))
        self.result(self.client.add_member(3, "c:3"))
        self.assertEqual([body for _, _, body in self.seen], [None, {"address": "c:3"}])


class ErrorTests(ClientTestCase):
    """Refusals."""

    def test_codes(self) -> None:
        """Each code raises its own error, with the text of the problem."""
        kinds = {
            400: BadRequest,
            404: NotFound,
            409: Conflict,
            412: PreconditionFailed,
            413: BadRequest,
            503: Unavailable,
            504: OutcomeUnknown,
            507: DiskFull,
            500: ProtocolError,
        }
        for code, kind in kinds.items():
            self.answered(code, {"detail": f"because {code}"})
            found = self.failed(self.client.put("k", "v"), kind)
            self.assertIn(f"because {code}", str(found))

    def test_overloaded(self) -> None:
        """A 503 that names a time to wait is Overloaded."""
        self.answered(503, {"detail": "busy"}, retry_after="1")
        self.failed(self.client.put("k", "v"), Overloaded)


class Lost:
    """An HTTP client whose every request fails in one way."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def request(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        return defer.fail(self.failure)


class LostTests(ClientTestCase):
    """Requests without an answer."""

    def test_refused_connection(self) -> None:
        """What could not be sent was certainly not done."""
        client = Client(ADDRESS, reactor=Clock(), http=Lost(error.ConnectionRefusedError()))
        self.assertTrue(self.failed(client.put("k", "v"), Unavailable).definite)

    def test_lost_write(self) -> None:
        """A write whose answer was lost may have been done, a read was not."""
        for failure in (error.ConnectionLost(), defer.TimeoutError()):
            client = Client(ADDRESS, reactor=Clock(), http=Lost(failure))
            self.assertFalse(self.failed(client.put("k", "v"), OutcomeUnknown).definite)
            self.failed(client.get("k"), Unavailable)

    def test_cancelled(self) -> None:
        """Who cancels a call is told nothing else, and it is not tried again at another node."""
        ways: list[Exception] = [
            defer.CancelledError(),
            ResponseNeverReceived([Failure(defer.CancelledError())]),
            error.ConnectingCancelledError(IPv4Address("TCP", "127.0.0.1", 8081)),
            error.DNSLookupError("cancelled while the name was looked up"),
        ]
        for way in ways:
            asked: list[Deferred[Any]] = []

            class Hanging:
                def request(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
                    asked.append(Deferred(lambda it: it.errback(way)))  # noqa: B023
                    return asked[-1]  # noqa: B023

            client = Client(ADDRESS, "b:1", reactor=Clock(), http=Hanging(), repeat=True)
            call = Deferred.fromCoroutine(client.put("k", "v"))
            call.cancel()
            self.failureResultOf(call, defer.CancelledError)
            self.assertEqual(len(asked), 1)

    def test_time_out(self) -> None:
        """A node that does not answer in time is left for the next one."""
        clock = Clock()
        answers: list[Deferred[Any]] = [Deferred(), Deferred()]
        urls: list[bytes] = []

        class Hanging:
            def request(self, method: str, url: bytes, **kwargs: Any) -> Deferred[Any]:
                urls.append(url)
                return answers[len(urls) - 1]

        client = Client(ADDRESS, "b:1", reactor=clock, http=Hanging(), timeout=2.0)
        call = Deferred.fromCoroutine(client.get("k"))
        clock.advance(2.0)
        self.assertEqual(urls[1], b"http://b:1/kv/k")
        clock.advance(2.0)
        self.failureResultOf(call, Unavailable)
