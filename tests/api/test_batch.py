"""Many commands in one message, over the WebSocket and over REST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.gateway import FakeGateway
from tests.support.http import SiteTestCase
from uring.api.batch import plain_array, plain_texts
from uring.api.limits import Limits
from uring.api.session import READS, Session
from uring.errors import Overloaded
from uring.together import DoneAll


def put(rid: int, key: str = "k", value: str = "v") -> dict[str, Any]:
    return {"Put": {"rid": rid, "key": key, "store": value}}


def get(rid: int, key: str = "k") -> dict[str, Any]:
    return {"Get": {"rid": rid, "key": key}}


@frozen
class Conversation:
    """A session without a socket."""

    limits: Limits = field(factory=Limits)
    gateway: FakeGateway = field(factory=FakeGateway)
    sent: list[Any] = field(factory=list)
    busy: list[bool] = field(factory=list)
    session: Session = field(init=False)

    def __attrs_post_init__(self) -> None:
        session = Session(
            self.gateway,
            self.limits,
            "1.2.3",
            lambda reply: self.sent.append(orjson.loads(reply)),
            self.busy.append,
        )
        object.__setattr__(self, "session", session)
        self.ask({"Select": {"rid": 0, "protocol": "KV"}})

    def ask(self, message: Any) -> Any:
        """Send a message; return its answer, or None if it has none yet."""
        before = len(self.sent)
        self.session.received(message if isinstance(message, bytes) else orjson.dumps(message))
        assert len(self.sent) <= before + 1
        return self.sent[before] if len(self.sent) > before else None


class ArrayTests(SynchronousTestCase):
    """Arrays on a WebSocket."""

    def test_in_the_order_of_the_commands(self) -> None:
        """One array answers an array, whichever command was answered first."""
        talk = Conversation()
        talk.gateway.holding = True
        self.assertIsNone(talk.ask([put(1, "a", "x"), get(2, "a"), put(3, "b"), get(4, "c")]))
        talk.gateway.held.reverse()
        talk.gateway.release()
        (answers,) = talk.sent[1:]
        self.assertEqual([each["rid"] for each in answers], [1, 2, 3, 4])
        self.assertEqual([each["code"] for each in answers], [201, 404, 201, 404])

    def test_every_command(self) -> None:
        """The commands of all protocols may be in an array, with As and without."""
        answers = Conversation().ask(
            [
                put(1),
                {"Cas": {"rid": 2, "key": "k", "check": "v", "store": 'with " and \\'}},
                get(3),
                {"Delete": {"rid": 4, "key": "k"}},
                {"As": {"protocol": "MRing", "cmd": {"SetSize": {"rid": 5, "size": 8}}}},
                {"Version": {"rid": 6}},
            ]
        )
        self.assertEqual(
            answers,
            [
                {"rid": 1, "code": 201, "data": None},
                {"rid": 2, "code": 201, "data": "set"},
                {"rid": 3, "code": 200, "data": 'with " and \\'},
                {"rid": 4, "code": 200, "data": 'with " and \\'},
                {"rid": 5, "code": 200, "data": 8},
                {"rid": 6, "code": 200, "data": "1.2.3"},
            ],
        )

    def test_what_is_wrong_is_answered_in_its_place(self) -> None:
        """Bad commands get their errors; the others run."""
        talk = Conversation()
        bad: list[Any] = [
            None,
            7,
            "Get",
            [],
            [put(1)],
            {},
            {"Nope": {"rid": 1}},
            {"Get": {"rid": 1}},
            {"Put": {"rid": 1, "key": "", "store": "v"}},
            {"Put": {"rid": 1.5, "key": "k", "store": "v"}},
        ]
        answers = talk.ask([put(1, "a"), *bad, put(2, "b")])
        self.assertEqual([each["code"] for each in answers], [201, *([400] * len(bad)), 201])
        self.assertEqual(talk.gateway.applied, 2)
        self.assertEqual(answers[6]["rid"], None)
        self.assertEqual(answers[7]["rid"], 1)
        self.assertTrue(all(each["error"]["detail"] for each in answers[1:-1]))

    def test_errors_of_the_node(self) -> None:
        """What the node refuses is refused for each command."""
        talk = Conversation()
        talk.gateway.error = Overloaded("too much")
        answers = talk.ask([put(1), get(2), {"Delete": {"rid": 3, "key": "k"}}])
        self.assertEqual(
            [(each["rid"], each["code"]) for each in answers], [(1, 503), (2, 503), (3, 503)]
        )

    def test_the_conversation_is_not_changed(self) -> None:
        """Select, Subscribe and Unsubscribe are refused in an array, also within As."""
        talk = Conversation()
        alone: list[Any] = [
            {"Select": {"rid": 1, "protocol": "MRing"}},
            {"Subscribe": {"rid": 1, "channel": "kv"}},
            {"Subscribe": {"channel": "kv"}},
            {"Unsubscribe": {"rid": 1, "channel": "kv"}},
            {"As": {"protocol": "KV", "cmd": {"Subscribe": {"channel": "kv"}}}},
        ]
        answers = talk.ask([*alone, put(9)])
        self.assertEqual([each["code"] for each in answers], [400] * 5 + [201])
        self.assertEqual(talk.gateway.hub.count("kv"), 0)
        self.assertEqual(talk.ask(get(3))["data"], "v")

    def test_nothing_selected(self) -> None:
        """Without a protocol each command is told so, and As works."""
        talk = Conversation()
        talk.session._protocol = ""
        answers = talk.ask([put(1), {"As": {"protocol": "KV", "cmd": put(2)}}])
        self.assertEqual([each["code"] for each in answers], [400, 201])

    def test_how_many(self) -> None:
        """None and too many are refused as a whole, and nothing is run."""
        talk = Conversation()
        limit = talk.limits.batch_commands
        refused: list[list[Any]] = [
            [],
            [put(n) for n in range(limit + 1)],
            [{}] * (limit + 1),
            [0] * 10**6,
        ]
        for message in refused:
            answer = talk.ask(message)
            self.assertEqual((answer["rid"], answer["code"]), (None, 400))
        self.assertEqual(talk.gateway.applied, 0)
        longest = [{"As": {"protocol": "KV", "cmd": put(2**63 + n)}} for n in range(limit)]
        for taken in ([put(n) for n in range(limit)], longest):
            answers = talk.ask(taken)
            self.assertEqual({each["code"] for each in answers}, {201})
            self.assertEqual(len(answers), limit)

    def test_answers_that_are_too_large(self) -> None:
        """What the whole answer cannot hold is left out: a read is refused, a write unknown."""
        talk = Conversation(limits=evolve(Limits(), batch_answer_bytes=5000))
        talk.ask([put(n, f"k{n}", "v" * 2000) for n in range(4)])
        answers = talk.ask([*(get(n, f"k{n}") for n in range(4)), put(4, "k0", "new")])
        self.assertEqual([each["code"] for each in answers], [200, 200, 413, 413, 504])
        self.assertEqual([each["rid"] for each in answers], [0, 1, 2, 3, 4])
        self.assertEqual(talk.ask(get(5, "k0"))["data"], "new")

    def test_large_values_are_read_a_few_at_a_time(self) -> None:
        """Not all the values that a message or a piece of them asks for are in memory at once."""
        gets = [orjson.dumps(get(n)) for n in range(100)]
        sizes: list[int] = []

        def query_all(gateway: FakeGateway, queries: Sequence[Any], done: DoneAll) -> None:
            sizes.append(len(queries))
            done([None] * len(queries))

        self.patch(FakeGateway, "query_all", query_all)
        talk = Conversation()
        talk.session.received(*gets)
        talk.session.received(b"[%b]" % b",".join(gets))
        answers = [*talk.sent[1:101], *talk.sent[101]]
        self.assertEqual([each["rid"] for each in answers], [*range(100), *range(100)])
        self.assertEqual((sum(sizes), max(sizes)), (200, READS))

    def test_what_is_in_flight(self) -> None:
        """Each command of an array counts: beyond the limit the socket is not read from."""
        for message in ([put(n) for n in range(8)], [{"Delete": {"rid": 1, "key": "k"}}] * 8):
            talk = Conversation(limits=evolve(Limits(), in_flight=8))
            talk.gateway.holding = True
            talk.ask(message)
            self.assertEqual((talk.session.in_flight, talk.busy), (8, [True]))
            talk.gateway.release()
            self.assertEqual((talk.session.in_flight, talk.busy), (0, [True, False]))

    def test_a_closed_session_keeps_its_commands(self) -> None:
        """An array whose socket has gone is carried out."""
        talk = Conversation()
        talk.gateway.holding = True
        talk.ask([put(1), {"Delete": {"rid": 2, "key": "other"}}])
        talk.session.close()
        talk.gateway.holding = False
        talk.gateway.release()
        self.assertEqual(talk.gateway.applied, 2)

    @given(
        st.lists(
            st.builds(put, st.integers(-3, 3), st.text(max_size=3), st.text(max_size=3))
            | st.builds(get, st.integers(-3, 3), st.text(max_size=3))
            | st.sampled_from(
                [{}, None, {"Get": None}, {"Put": {"rid": 1}}, {"Get": {}, "Put": {}}]
            ),
            min_size=1,
            max_size=5,
        )
    )
    @settings(deadline=None)
    def test_as_one_by_one(self, commands: list[Any]) -> None:
        """An array is answered as its commands are when each is sent by itself."""
        together, alone, stream = Conversation(), Conversation(), Conversation()
        answers = [alone.ask(each) for each in commands]
        self.assertEqual(together.ask(commands), answers)
        stream.session.received(*map(orjson.dumps, commands))
        self.assertEqual(stream.sent[1:], answers)


class PlainTests(SynchronousTestCase):
    """Commands that are decoded in one go."""

    def test_what_is_plain(self) -> None:
        """Good Puts and Gets are, with whatever texts but those with quotes."""
        found = plain_array(orjson.dumps([put(1, "{}[]:,é"), get(2)]), 2)
        assert found is not None
        self.assertEqual(len(found), 2)
        found = plain_texts((orjson.dumps(put(1, "é")), b" " + orjson.dumps(get(2)) + b"\r\t"))
        assert found is not None
        self.assertEqual([args.rid for args in found], [1, 2])

    def test_what_is_not(self) -> None:
        """Anything that wants a second look is left alone."""
        for text in (
            b"[]",
            b"[{}]",
            b'[{"Get":{"rid":1,"key":"a\\nb"}}]',
            b'[{"Get":{"rid":1,"key":"a","key":"b"}},{"Put":{"rid":1,"key":"k"}}]',
            b'[{"Get":{"rid":1,"key":"a"},"Get":{"rid":1,"key":"b"}}]',
            b'[{"Get":{"rid":1,"key":"a"},"Put":{"rid":1,"key":"b","store":"c"}}]',
            b'[{"Get":{"rid":1,"key":""}}]',
            b'[{"Get":{"rid":18446744073709551616,"key":"a"}}]',
            b'[{"Get":{"rid":1,"key":"%b"}}]' % (b"x" * 1025),
            b'[{"Delete":{"rid":1,"key":"a"}}]',
            b'[{"Get":{"rid":1,"key":"\xff"}}]',
            orjson.dumps([get(n) for n in range(11)]),
            b"[" + b"{}," * 100_000 + b'{"Get":{"rid":1,"key":"k"}}]',
        ):
            self.assertIsNone(plain_array(text, 10), text[:60])
            if text.count(b"rid") < 2:
                self.assertIsNone(plain_texts((text[1:-1],)) or None, text[:60])

    def test_texts_that_are_good_only_together(self) -> None:
        """Each text is a command by itself, however well others would make up for it."""
        one, other = orjson.dumps(get(1)), orjson.dumps(put(2))
        tries: list[tuple[bytes, ...]] = []
        for text in (one, other):
            for cut in range(len(text)):
                first, second = text[:cut], text[cut:]
                tries += [(first, second), (first, second, one), (first, second + one)]
                tries += [(first, second, one + b"],[" + one)]
        for between in (b"", b" ", b",", b"\n", b"\r\n", b"\r", b"],[", b"] , ["):
            twice = one + between + other
            tries += [(twice,), (twice, b""), (b" ", twice), (twice, b"\r", one)]
            tries += [(twice, b"],["), (b"{}", twice), (b"[", twice, b"]"), (b"]", b"[")]
        for texts in tries:
            self.assertIsNone(plain_texts(texts), texts)


class ListTests(SiteTestCase):
    """POST /kv."""

    limits = evolve(Limits(), batch_answer_bytes=100_000)

    async def ask(self, commands: Any, query: str = "") -> Any:
        response = await self.request("POST", f"/kv{query}", commands)
        self.assertEqual(response.code, 200, response.body)
        return response.json()

    async def test_all_commands(self) -> None:
        """A list is answered by a list of codes and data, in its order."""
        answers = await self.ask(
            [
                {"Put": {"key": "a", "store": "1"}},
                {"Get": {"key": "a"}},
                {"Cas": {"key": "a", "check": "2", "store": "3"}},
                {"Delete": {"key": "a"}},
                {"Get": {"key": "a"}},
            ]
        )
        self.assertEqual(
            answers,
            [
                {"code": 201, "data": None},
                {"code": 200, "data": "1"},
                {"code": 409, "data": "1"},
                {"code": 200, "data": "1"},
                {"code": 404, "data": None},
            ],
        )

    async def test_what_is_wrong_is_answered_in_its_place(self) -> None:
        """Bad commands get their errors; the others run."""
        bad: list[Any] = [
            None,
            {},
            [],
            {"Nope": {}},
            {"Get": None},
            {"Get": {"rid": 1, "key": "k"}},
            {"Get": {"key": "k", "consistency": "maybe"}},
            {"Put": {"key": "k"}},
            {"Select": {"protocol": "KV"}},
            {"Subscribe": {"channel": "kv"}},
            {"As": {"protocol": "KV", "cmd": {"Get": {"key": "k"}}}},
            {"Status": {}},
        ]
        answers = await self.ask([*bad, {"Put": {"key": "k", "store": "v"}}])
        self.assertEqual([each["code"] for each in answers], [400] * len(bad) + [201])
        self.assertTrue(all(each["error"]["detail"] for each in answers[:-1]))
        self.assertFalse(any("rid" in each for each in answers))

    async def test_what_is_refused_as_a_whole(self) -> None:
        """What is no list of commands is a 400, and nothing is run."""
        command = {"Put": {"key": "k", "store": "v"}}
        many = [command] * (self.limits.batch_commands + 1)
        for body in ([], {}, command, b"", b"[", b"[1,", many, b"[" + b"0," * 900_000 + b"0]"):
            response = await self.request("POST", "/kv", body)
            self.assertEqual(response.code, 400, str(body)[:40])
            self.assertTrue(response.json()["detail"])
        response = await self.request("POST", "/kv?consistency=maybe", [command])
        self.assertEqual(response.code, 400)
        self.assertEqual(self.gateway.applied, 0)
        foreign = await self.request("POST", "/kv", [command], Origin="http://evil.example")
        self.assertEqual(foreign.code, 403)
        self.assertEqual(self.gateway.applied, 0)

    async def test_stale_reads(self) -> None:
        """The query says how all reads of the list are done that do not say it themselves."""
        await self.ask([{"Put": {"key": "k", "store": "v"}}])
        self.gateway.error = Overloaded("no leader")
        commands = [
            {"Get": {"key": "k"}},
            {"Get": {"key": "k", "consistency": "linearizable"}},
            {"Put": {"key": "k", "store": "w"}},
        ]
        codes = [each["code"] for each in await self.ask(commands, "?consistency=stale")]
        self.assertEqual(codes, [200, 503, 503])

    async def test_answers_that_are_too_large(self) -> None:
        """What the whole answer cannot hold is left out, and said so."""
        await self.ask([{"Put": {"key": "k", "store": "v" * 60_000}}])
        answers = await self.ask([{"Get": {"key": "k"}}] * 3)
        self.assertEqual([each["code"] for each in answers], [200, 413, 413])

    async def test_many(self) -> None:
        """As many commands as one list may have are answered at once."""
        commands = [
            {"Put": {"key": str(n), "store": "v"}} for n in range(self.limits.batch_commands)
        ]
        answers = await self.ask(commands)
        self.assertEqual(answers, [{"code": 201, "data": None}] * len(commands))
        self.assertEqual((await self.request("GET", "/kv/7")).json()["value"], "v")

    async def test_hanging_up(self) -> None:
        """A client that goes before its answer has its commands applied."""
        self.gateway.holding = True
        client = await self.connect()
        body = orjson.dumps([{"Put": {"key": "k", "store": "v"}}] * 2)
        head = f"POST /kv HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        client.write(head.encode() + body)
        while not self.gateway.held:
            await self.alive()
        client.transport.abortConnection()  # type: ignore[union-attr]
        await client.until_closed()
        await self.alive()
        self.gateway.holding = False
        self.gateway.release()
        self.assertEqual(self.gateway.applied, 2)
