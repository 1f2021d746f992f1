"""Requests that are served without twisted.web: which they are, and that nobody can tell."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.http import SiteTestCase, complete, parse
from uring.api.channel import ABORT_SECONDS, EAGER_BYTES
from uring.api.plain import PlainParser, PlainRequest
from uring.api.request import UringRequest
from uring.api.site import SWEEP_SECONDS
from uring.errors import Unavailable
from uring.machines.base import MemoryState
from uring.machines.commands import PutOp, Txn

GET = b"GET /kv/k HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b'{"value":"v"}'
POST = b"POST /kv/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n" + BODY


class Parser:
    """A parser of a node that goes by two names."""

    def __init__(self) -> None:
        self._parser = PlainParser(uri_bytes=100, body_bytes=1000)

    def parse(self, data: bytes, start: int) -> PlainRequest | None:
        return self._parser.parse(data, start, lambda host: host in ("localhost", "me:1"))


class ParserTests(SynchronousTestCase):
    """What is plain."""

    def test_plain(self) -> None:
        """Whole requests are taken apart, also in the middle of what came."""
        for line in (b"GET /kv/a%2fb?consistency=stale", b"DELETE /data/k", b"POST /kv/k/cas"):
            for fields in (
                b"Host: localhost",
                b"hOST:me:1\r\nUser-Agent: curl/8 (x; y)\r\naccept: */*\r\nConnection: Keep-Alive",
                b"Content-Type: text/plain\r\nHost:   localhost\r\nAccept-Encoding: gzip",
            ):
                data = b"before" + line + b" HTTP/1.1\r\n" + fields + b"\r\n\r\nafter"
                found = Parser().parse(data, 6)
                assert found is not None, data
                self.assertEqual((found.method, found.uri), tuple(line.split()))
                self.assertEqual((found.body, found.end), (b"", len(data) - 5))

    def test_headers_that_come_again(self) -> None:
        """What was found of headers holds for the same ones, whatever other ones were between."""
        requests = Parser()
        for data, body in ((GET, b""), (GET, b""), (POST, BODY), (GET, b""), (POST, BODY)):
            found = requests.parse(data + b"more", 0)
            assert found is not None
            self.assertEqual((found.body, found.end), (body, len(data)))
        self.assertIsNone(requests.parse(POST.replace(b"localhost", b"elsewhere"), 0))
        self.assertIsNone(requests.parse(b"GET /kv/k HTTP/1.1\r\n\r\n", 0))

    def test_a_body_that_is_not_all_there(self) -> None:
        """The end of a request is known once its headers are there."""
        found = Parser().parse(POST[:-5], 0)
        assert found is not None
        self.assertEqual(found.end, len(POST))

    def test_not_plain(self) -> None:
        """Whatever could mean something, or be objected to, is left alone."""
        for data in (
            b"",
            GET[:-2],
            b"\r\n" + GET,
            b"PUT" + GET[3:],
            b"HEAD" + GET[3:],
            b"get" + GET[3:],
            GET.replace(b" /kv", b"  /kv"),
            GET.replace(b"/kv/", b"/status"),
            GET.replace(b"/kv/", b"//kv/"),
            GET.replace(b"/kv/", b"http://localhost/kv/"),
            GET.replace(b"/kv/k", b"/kv/\x80"),
            GET.replace(b"/kv/k", b"/kv/\t"),
            GET.replace(b"/kv/k", b"/kv/" + b"k" * 100),
            GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
            GET.replace(b"\r\n", b"\n"),
            GET.replace(b"localhost", b"evil.example"),
            GET.replace(b"localhost", b""),
            GET.replace(b"localhost", b"localhost "),
            GET.replace(b"localhost", b"localhost\r\n folded"),
            GET.replace(b"localhost", b"localhost\x00"),
            GET.replace(b"localhost", b"localhost\r\nHost: localhost"),
            GET.replace(b"Host:", b"Host :"),
            GET.replace(b"Host: localhost\r\n", b""),
            *(
                GET.replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n\r\n")
                for field in (
                    b"Origin: http://localhost",
                    b"Sec-Fetch-Site: none",
                    b"Upgrade: websocket",
                    b"Connection: close",
                    b"Connection: keep-alive, Upgrade",
                    b"Content-Encoding: gzip",
                    b"Transfer-Encoding: chunked",
                    b"Expect: 100-continue",
                    b"Content-Length: +1",
                    b"Content-Length: 1,1",
                    b"Content-Length: 1001",
                    b"Content-Length: " + b"1" * 5000,
                    b"Accept: a\x0bb",
                    b"Accept: a\x85b",
                    b"Accept:",
                    b"Accept: a\r\nAccept: b",
                    b"X-Anything: a",
                    b"no colon",
                    b"Accept: " + b"a" * 20_000 + b"\r\nUser-Agent: b",
                )
            ),
        ):
            self.assertIsNone(Parser().parse(data, 0), data[:80])

    @given(st.binary(max_size=60), st.integers(0, len(POST)))
    @settings(deadline=None)
    def test_any_bytes(self, junk: bytes, place: int) -> None:
        """Bytes in the middle of a request never raise, and never hide what is not plain."""
        data = POST[:place] + junk + POST[place:]
        found = Parser().parse(data, 0)
        if found is not None:
            head = data[: min(found.end, len(data)) - len(found.body)]
            self.assertTrue(head.endswith(b"\r\n\r\n"))
            self.assertEqual(head.count(b"\r\n\r\n"), 1)
            self.assertEqual(head.lower().count(b"\nhost:"), 1)


class SameAnswerTests(SiteTestCase):
    """The answer is the same whoever serves a request."""

    async def test_same_answers(self) -> None:
        """A header without a meaning changes the way of a request, and nothing of its answer."""
        taken_apart = self._count_requests()
        answers = []
        for number, extra in enumerate(
            ({}, {"X_Slow": "1"}, {"Origin": f"http://127.0.0.1:{self.number}"})
        ):
            self.gateway.state = MemoryState()
            answers.append([await self._answer(*each, **extra) for each in self.CASES])
            self.assertEqual(taken_apart[0], number * len(self.CASES))
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(answers[0], answers[2])

    CASES: tuple[tuple[str, str, Any], ...] = (
        ("DELETE", "/kv/k", None),
        ("GET", "/kv/k", None),
        ("POST", "/kv/k", {"value": "v"}),
        ("POST", "/kv/k", {"value": 'quotes " and \\ backslashes'}),
        ("POST", "/kv/k", b'{"value":"\xff"}'),
        ("POST", "/kv/k", b'{"value":"a","value":"b"}'),
        ("POST", "/kv/k", b'["value"]'),
        ("POST", "/kv/k", b""),
        ("POST", "/kv/k", {"value": "🐍" * 7000}),
        ("GET", "/kv/k", None),
        ("GET", "/kv/k?consistency=stale", None),
        ("GET", "/kv/k?consistency=maybe", None),
        ("GET", "/kv/k?consistency=stale&consistency=stale", None),
        ("GET", "/kv/k?other=1", None),
        ("GET", "/kv/", None),
        ("GET", "/kv/%00", None),
        ("GET", "/data/%ff", None),
        ("POST", "/kv/k/cas", {"check": "x", "store": "a"}),
        ("POST", "/data/k/cas", {"store": "a"}),
        ("POST", "/kv/c/cas", {"store": "a"}),
        ("DELETE", "/data/c", None),
        ("DELETE", "/kv/c", None),
    )

    async def _answer(self, method: str, path: str, body: Any, **extra: str) -> tuple[Any, ...]:
        response = await self.request(method, path, body, **extra)
        response.headers["date"] = "today"
        return response.line, response.headers, response.body

    def _count_requests(self) -> list[int]:
        count, received = [0], UringRequest.requestReceived

        def request_received(request: Any, *args: Any) -> None:
            count[0] += 1
            received(request, *args)

        self.patch(UringRequest, "requestReceived", request_received)
        return count

    async def test_every_answer_is_counted_once(self) -> None:
        """What /metrics counts does not depend on the way of a request."""
        answers = self.gateway.measures.answers
        extras: tuple[dict[str, str], ...] = ({}, {"X_Slow": "1"}, {"Connection": "close"})
        for number, extra in enumerate(extras, 1):
            await self.request("GET", "/kv/k", **extra)
            await self.request("POST", "/kv/c", {"value": "v"}, **extra)
            self.assertEqual((answers[404], answers[201]), (number, number))

    async def test_head_and_options(self) -> None:
        """HEAD has the headers of GET and no body; OPTIONS tells what there is."""
        await self.request("POST", "/kv/k", {"value": "v"})
        got = await self.request("GET", "/kv/k")
        head = await self.request("HEAD", "/kv/k")
        self.assertEqual((head.code, head.body), (200, b""))
        self.assertEqual(head.headers["content-length"], got.headers["content-length"])
        options = await self.request("OPTIONS", "/kv/k")
        self.assertEqual(options.headers["allow"], "DELETE, GET, HEAD, OPTIONS, POST, PUT")

    async def test_no_room_for_old_clients(self) -> None:
        """HTTP/1.0 and Connection: close are answered and closed."""
        for data in (
            GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
            GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        ):
            client = await self.connect()
            client.write(data)
            self.assertEqual(parse(await client.until_closed()).code, 404)


class ConversationTests(SiteTestCase):
    """Several requests on one connection."""

    async def turn(self) -> None:
        from twisted.internet.task import deferLater

        await deferLater(self.reactor, 0.01, lambda: None)

    async def test_ways_may_change(self) -> None:
        """Plain and other requests in one write are answered in order."""
        self.gateway.holding = True
        client = await self.connect()
        slow = GET.replace(b"\r\n\r\n", b"\r\nX-Slow: 1\r\n\r\n")
        version = slow.replace(b"/kv/k", b"/version")
        client.write(POST + version + GET + slow + POST + GET + version)
        while client.received.count(b"HTTP/1.1") != 7:
            await self.turn()
            self.gateway.release()
        codes = [part[:3] for part in client.received.split(b"HTTP/1.1 ")[1:]]
        self.assertEqual(codes, [b"201", b"200", b"200", b"200", b"201", b"200", b"200"])
        self.assertEqual(self.gateway.applied, 2)

    async def test_one_at_a_time(self) -> None:
        """A connection's next request waits for the answer to the one before."""
        self.gateway.holding = True
        client = await self.connect()
        client.write(POST + POST)
        while not self.gateway.held:
            await self.turn()
        client.write(GET)
        await self.turn()
        self.assertEqual(len(self.gateway.held), 1)
        for count in (1, 2, 3):
            self.gateway.release()
            await client.until(lambda received, count=count: received.count(b"HTTP/1.1") == count)

    async def test_in_pieces(self) -> None:
        """Wherever a request is cut, it is answered once."""
        client = await self.connect()
        for place in range(1, len(POST)):
            client.received = b""
            client.write(POST[:place])
            await self.turn() if place % 7 == 0 or place > len(POST) - 14 else None
            client.write(POST[place:])
            self.assertEqual(parse(await client.until(complete)).code, 201, place)
        self.assertEqual(self.gateway.applied, len(POST) - 1)

    async def test_what_waits_is_bounded(self) -> None:
        """While a request has no answer, its connection's next ones are not read without end."""
        self.gateway.holding = True
        client = await self.connect()
        client.write(POST + GET * 20_000)
        while not self.gateway.held:
            await self.turn()
        for _ in range(20):
            await self.turn()
        (channel,) = self.site.channels
        self.assertLess(len(channel._later), EAGER_BYTES + 2**17)
        self.gateway.holding = False
        self.gateway.release()
        await client.until(lambda received: received.count(b"HTTP/1.1") == 20_001)

    async def test_a_client_that_does_not_read(self) -> None:
        """No more is answered than the transport takes."""
        await self.request("POST", "/kv/k", {"value": "v" * 100_000})
        client = await self.connect()
        client.transport.pauseProducing()  # type: ignore[union-attr]
        reads = self._counted_reads()
        client.write(GET * 100)
        for _ in range(30):
            await self.turn()
        self.assertLess(reads[0], 90)
        client.transport.resumeProducing()  # type: ignore[union-attr]
        await client.until(lambda received: len(received) > 100 * 100_000)
        self.assertEqual(client.received.count(b"HTTP/1.1 200 OK"), 100)

    def _counted_reads(self) -> list[int]:
        reads, query = [0], self.gateway.query

        def count(*args: Any, **more: Any) -> None:
            reads[0] += 1
            query(*args, **more)

        self.patch(type(self.gateway), "query", lambda gateway, *args, **more: count(*args, **more))
        return reads

    async def test_hanging_up(self) -> None:
        """A client that goes before its answer has its command applied, and harms nobody."""
        self.gateway.holding = True
        client = await self.connect()
        client.write(POST + GET)
        while not self.gateway.held:
            await self.turn()
        client.transport.abortConnection()  # type: ignore[union-attr]
        while self.site.channels:
            await self.turn()
        self.gateway.holding = False
        self.gateway.release()
        self.assertEqual(self.gateway.applied, 1)
        await self.alive()

    async def test_errors_have_their_headers(self) -> None:
        """A refusal says when to try again."""
        self.gateway.error = Unavailable("no leader at the moment")
        response = await self.request("GET", "/kv/k")
        self.assertEqual((response.code, response.headers["retry-after"]), (503, "1"))
        self.assertEqual(response.headers["content-type"], "application/problem+json")

    async def test_bytes_that_are_no_text(self) -> None:
        """A value that is no UTF-8 is shown as base64, by either way."""
        self.gateway.submit(Txn([], [PutOp("k", b"\xff")]), lambda result: None)
        for extra in ({}, {"X_Slow": "1"}):
            response = await self.request("GET", "/kv/k", **extra)
            self.assertEqual(response.json(), {"key": "k", "value": {"base64": "/w=="}})

    async def test_a_fault_of_ours(self) -> None:
        """What fails inside is a 500 without a word of it, logged."""
        self.patch(type(self.gateway), "query", lambda *args: 1 / 0)
        for extra in ({}, {"X_Slow": "1"}):
            response = await self.request("GET", "/kv/k", **extra)
            self.assertEqual(response.code, 500)
            self.assertNotIn(b"ZeroDivision", response.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        await self.alive()


class TimeTests(SiteTestCase):
    """Connections that take their time."""

    def advance(self, seconds: float) -> None:
        for _ in range(int(seconds / SWEEP_SECONDS)):
            self.clock.advance(SWEEP_SECONDS)

    async def test_body_that_does_not_come(self) -> None:
        """The body of a plain request must be complete in time, too."""
        client = await self.connect()
        client.write(POST[:-5])
        await self.alive()
        self.advance(self.limits.header_seconds + 1)
        await self.alive()
        self.assertFalse(client.closed)
        self.advance(self.limits.body_seconds + 1)
        await client.until_closed()
        self.assertEqual(self.gateway.applied, 0)

    async def test_idle_connections(self) -> None:
        """A kept connection is closed some time after its last answer, not before."""
        client, other = await self.connect(), await self.connect()
        for one, data in ((client, GET), (other, GET.replace(b"/kv/k", b"/version"))):
            one.write(data)
            await one.until(complete)
        self.advance(self.limits.idle_seconds - 1)
        await self.alive()
        self.assertFalse(client.closed or other.closed)
        client.received = b""
        client.write(GET)
        await client.until(complete)
        self.advance(2)
        await other.until_closed()
        self.assertFalse(client.closed)
        self.advance(self.limits.idle_seconds)
        await client.until_closed()

    async def test_waiting_is_not_idle(self) -> None:
        """A request that waits for its answer is not cut off by the time for idle connections."""
        self.gateway.holding = True
        client, other = await self.connect(), await self.connect()
        client.write(GET)
        other.write(GET.replace(b"\r\n\r\n", b"\r\nX-Slow: 1\r\n\r\n"))
        while len(self.gateway.held) < 2:
            await self.alive()
        self.advance(self.limits.idle_seconds + ABORT_SECONDS + 1)
        self.gateway.release()
        for one in (client, other):
            self.assertEqual(parse(await one.until(complete)).code, 404)
