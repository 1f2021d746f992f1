"""Several endpoints: when another node may be asked, and when not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers

from uring.client.transport import Answer, Request, Transport
from uring.errors import OutcomeUnknown, Unavailable

Behaviour = Callable[[], Deferred[Any]]


class Response:
    """What treq would return."""

    def __init__(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.code = code
        self.headers = Headers({name: [value] for name, value in headers.items()})
        self._body = body
        self.length = len(body)

    def deliverBody(self, protocol: Any) -> None:
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))


class TransportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[str] = []
        self.behaviours: dict[str, Behaviour] = {}

    def request(self, method: str, url: bytes, **options: Any) -> Deferred[Any]:
        host = url.split(b"/")[2].decode()
        self.asked.append(host)
        return self.behaviours[host]()

    def transport(self, *endpoints: str, patience: float = 0.0) -> Transport:
        http: Any = self
        return Transport(endpoints, self.clock, 5.0, patience, http)

    def ask(self, transport: Transport, request: Request) -> Deferred[Answer]:
        return Deferred.fromCoroutine(transport.ask(request))

    def test_none(self) -> None:
        """Without an endpoint there is nobody to ask."""
        self.assertRaises(ValueError, self.transport)

    def test_unreachable(self) -> None:
        """A node that cannot be reached is passed over, and not asked first the next time."""
        self.behaviours = {
            "a:1": lambda: fail(error.ConnectionRefusedError()),
            "b:1": lambda: succeed(Response(201)),
        }
        transport = self.transport("a:1", "b:1")
        put = Request("POST", "/kv/a", b"{}")
        self.assertEqual(self.successResultOf(self.ask(transport, put)).code, 201)
        self.successResultOf(self.ask(transport, put))
        self.assertEqual(self.asked, ["a:1", "b:1", "b:1"])

    def test_nobody(self) -> None:
        """When no node can serve, the last one's answer or failure is the answer."""
        self.behaviours = {
            "a:1": lambda: fail(error.ConnectionRefusedError()),
            "b:1": lambda: succeed(Response(503)),
        }
        transport = self.transport("a:1", "b:1")
        self.assertEqual(
            self.successResultOf(self.ask(transport, Request("GET", "/kv/a"))).code, 503
        )
        transport = self.transport("b:1", "a:1")
        self.failureResultOf(self.ask(transport, Request("GET", "/kv/a")), Unavailable)

    def test_patience(self) -> None:
        """All nodes are tried again, ever more slowly, for as long as was asked."""
        self.behaviours = {name: lambda: succeed(Response(503)) for name in ("a:1", "b:1")}
        answer = self.ask(self.transport("a:1", "b:1", patience=10.0), Request("GET", "/"))
        self.clock.pump([0.05] * 100)
        self.assertNoResult(answer)
        self.behaviours["a:1"] = lambda: succeed(Response(200))
        self.clock.pump([0.05] * 40)
        self.assertEqual(self.successResultOf(answer).code, 200)
        self.assertLess(len(self.asked), 30)

    def test_patience_ends(self) -> None:
        """And no longer."""
        self.behaviours = {"a:1": lambda: succeed(Response(503))}
        answer = self.ask(self.transport("a:1", patience=3.0), Request("GET", "/"))
        self.clock.pump([0.05] * 100)
        self.assertEqual(self.successResultOf(answer).code, 503)

    def test_unknown_outcome(self) -> None:
        """A write whose outcome is unknown is not sent to another node, unless it may be."""
        self.behaviours = {
            "a:1": lambda: fail(error.ConnectionLost()),
            "b:1": lambda: succeed(Response(201)),
        }
        put = Request("POST", "/kv/a", b"{}")
        self.failureResultOf(self.ask(self.transport("a:1", "b:1"), put), OutcomeUnknown)
        self.assertEqual(self.asked, ["a:1"])
        again = Request("POST", "/kv/a", b"{}", repeatable=True)
        answer = self.ask(self.transport("a:1", "b:1"), again)
        self.assertEqual(self.successResultOf(answer).code, 201)

    def test_unknown_outcome_as_an_answer(self) -> None:
        """504 is the node's own word that it does not know."""
        self.behaviours = {
            "a:1": lambda: succeed(Response(504)),
            "b:1": lambda: succeed(Response(201)),
        }
        put = Request("POST", "/kv/a", b"{}")
        self.assertEqual(
            self.successResultOf(self.ask(self.transport("a:1", "b:1"), put)).code, 504
        )
        again = Request("POST", "/kv/a", b"{}", repeatable=True)
        answer = self.ask(self.transport("a:1", "b:1"), again)
        self.assertEqual(self.successResultOf(answer).code, 201)

    def test_refused_repetition_was_taken_for_all_attempts(self) -> None:
        """A node that refuses the repetition says nothing of what the first attempt did."""
        again = Request("POST", "/kv/a", b"{}", repeatable=True)
        refusals: list[Behaviour] = [
            lambda: succeed(Response(503)),
            lambda: succeed(Response(507)),
            lambda: fail(error.ConnectionRefusedError()),
        ]
        for refusal in refusals:
            self.behaviours = {"a:1": lambda: fail(error.ConnectionLost()), "b:1": refusal}
            answer = self.ask(self.transport("a:1", "b:1"), again)
            self.failureResultOf(answer, OutcomeUnknown)

    def test_repetition_that_is_decided(self) -> None:
        """What the state answers to the repetition is the answer to the first attempt as well."""
        again = Request("DELETE", "/kv/a", repeatable=True)
        for code in (200, 404, 409, 412):
            self.behaviours = {
                "a:1": lambda: fail(error.ConnectionLost()),
                "b:1": lambda code=code: succeed(Response(code)),  # type: ignore[misc]
            }
            answer = self.successResultOf(self.ask(self.transport("a:1", "b:1"), again))
            self.assertEqual(answer.code, code)

    def test_refused_read_is_only_refused(self) -> None:
        """A read does nothing, however its attempts ended."""
        self.behaviours = {
            "a:1": lambda: fail(error.ConnectionLost()),
            "b:1": lambda: succeed(Response(503)),
        }
        answer = self.ask(self.transport("a:1", "b:1"), Request("GET", "/kv/a"))
        self.assertEqual(self.successResultOf(answer).code, 503)

    def test_refusals_are_answers(self) -> None:
        """What one node refuses another would refuse, too."""
        for code in (400, 404, 409, 412, 413, 507):
            self.asked.clear()
            self.behaviours = {"a:1": lambda code=code: succeed(Response(code))}  # type: ignore[misc]
            answer = self.ask(self.transport("a:1", "b:1"), Request("GET", "/"))
            self.assertEqual(self.successResultOf(answer).code, code)
            self.assertEqual(self.asked, ["a:1"])

    def test_etag(self) -> None:
        """The revision of a value is in its tag."""
        self.behaviours = {"a:1": lambda: succeed(Response(200, b'{"a":1}', etag='"17"'))}
        answer = self.successResultOf(self.ask(self.transport("a:1"), Request("GET", "/")))
        self.assertEqual((answer.etag, answer.json, answer.body), ("17", {"a": 1}, b'{"a":1}'))
