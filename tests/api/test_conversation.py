"""The conversation of a WebSocket as a state machine: messages, answers, changes in any order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.support.gateway import FakeGateway
from tests.support.watching import Recorder
from uring.api.limits import Limits
from uring.api.session import Session
from uring.errors import Overloaded, Unavailable
from uring.machines.commands import Put
from uring.watch import Told, Watch

LIMIT = 4
KEYS = st.sampled_from(("a", "b", "\u20ac"))
VALUES = st.sampled_from(("x", "y", '"\\\n'))
COMMANDS: dict[str, Any] = {
    "KV": st.one_of(
        st.fixed_dictionaries({"Get": st.fixed_dictionaries({"key": KEYS})}),
        st.fixed_dictionaries({"Put": st.fixed_dictionaries({"key": KEYS, "store": VALUES})}),
        st.fixed_dictionaries({"Delete": st.fixed_dictionaries({"key": KEYS})}),
        st.fixed_dictionaries(
            {"Cas": st.fixed_dictionaries({"key": KEYS, "check": VALUES, "store": VALUES})}
        ),
    ),
    "MRing": st.one_of(
        st.just({"GetSize": {}}),
        st.just({"GetNodes": {}}),
        st.just({"SetSize": {"size": 8}}),
        st.fixed_dictionaries({"AddNode": st.fixed_dictionaries({"node": KEYS})}),
    ),
}
BAD = st.sampled_from(
    (
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"Get":7}',
        b'{"Nope":{"rid":1}}',
        b"\xff",
        b'{"a":1,"a":2}',
        b"[[[[",
    )
)


class Conversation(RuleBasedStateMachine):
    """A client that does not wait, a gateway that answers when it likes, and what must hold.

    Every command is answered once, under its own rid, whatever comes between; commands of one
    socket are applied in their order; a subscriber sees every change, in order, and no others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gateway = FakeGateway(holding=True)
        self.busy = False
        self.told: list[bool] = []
        self.replies: list[Any] = []
        self.changes: list[Any] = []
        self.session = Session(
            self.gateway, Limits(in_flight=LIMIT, batch_commands=3), "1", self.send, self.tell
        )
        self.rid = 0
        self.protocol = ""
        self.open: set[int] = set()
        self.subscribed = False
        self.expected: list[Any] = []
        other = Recorder()
        other.on_told = self.expect
        self.gateway.watch(Watch(channel="kv"), other)
        self.closed = False

    def send(self, text: bytes) -> None:
        reply = json.loads(text)
        if "Msg" in reply:
            self.changes.append(reply["Msg"]["msg"])
            return
        for each in reply if isinstance(reply, list) else [reply]:
            self.replies.append(each)
            if each.get("rid") in self.open:
                self.open.remove(each["rid"])
            else:
                assert self.instant == each.get("rid", next(iter(each.values()))), each

    instant: int | dict[str, Any] | None = 0
    """The rid, or the content, of what is answered at once."""

    def tell(self, busy: bool) -> None:
        assert busy is not self.busy
        self.busy = busy

    def expect(self, batch: Sequence[Told]) -> None:
        if self.subscribed:
            self.expected += [told.event.spelled() for told in batch]

    def say(self, message: Any) -> None:
        self.session.received(json.dumps(message).encode())

    def take(self, count: int) -> int:
        """Return the first of so many rids that are open from now on."""
        first = self.rid + 1
        self.rid += count
        self.open |= set(range(first, self.rid + 1))
        return first

    # -- what the client does --------------------------------------------------------------------

    @initialize()
    def nothing_is_selected(self) -> None:
        self.take(1)
        self.say({"Get": {"rid": self.rid, "key": "a"}})
        assert self.replies[-1]["code"] == 400

    def control(self, message: dict[str, Any], answer: Any) -> None:
        self.instant = answer
        self.say(message)
        (said,) = self.replies[-1].values() if len(self.replies[-1]) == 1 else [None]
        assert said == answer, self.replies[-1]

    @rule(protocol=st.sampled_from(("KV", "MRing")))
    def select(self, protocol: str) -> None:
        self.rid += 1
        selected = {"rid": self.rid, "protocol": protocol}
        self.control({"Select": selected}, selected)
        self.protocol = protocol

    @precondition(lambda self: self.protocol and not self.busy)
    @rule(data=st.data())
    def ask(self, data: Any) -> None:
        command = data.draw(COMMANDS[self.protocol])
        self.say(self.named(command))

    @precondition(lambda self: not self.busy)
    @rule(protocol=st.sampled_from(("KV", "MRing")), data=st.data())
    def ask_as(self, protocol: str, data: Any) -> None:
        command = self.named(data.draw(COMMANDS[protocol]))
        self.say({"As": {"protocol": protocol, "cmd": command}})

    @precondition(lambda self: self.protocol and not self.busy)
    @rule(data=st.data())
    def ask_for_several(self, data: Any) -> None:
        commands = data.draw(st.lists(COMMANDS[self.protocol], min_size=1, max_size=3))
        self.say([self.named(command) for command in commands])

    def named(self, command: dict[str, Any]) -> dict[str, Any]:
        ((name, args),) = command.items()
        return {name: {"rid": self.take(1), **args}}

    @rule(text=BAD)
    def say_nonsense(self, text: bytes) -> None:
        """An error at once; the socket goes on."""
        before, self.instant = len(self.replies), None
        if text == b'{"Nope":{"rid":1}}':
            self.instant = 1
            self.open.discard(1)
        self.session.received(text)
        assert len(self.replies) == before + 1
        assert self.replies[-1]["code"] == 400

    @rule(text=st.sampled_from(("", "x" * 4097)))
    def bad_key(self, text: str) -> None:
        """What is refused at the door is answered at once."""
        rid = self.take(1)
        self.say({"As": {"protocol": "KV", "cmd": {"Get": {"rid": rid, "key": text}}}})
        assert (self.replies[-1]["rid"], self.replies[-1]["code"]) == (rid, 400)

    @rule()
    def subscribe(self) -> None:
        self.rid += 1
        said = {"rid": self.rid, "channel": "kv"}
        revision = self.gateway.hub.history.next - 1
        self.control({"Subscribe": said}, {**said, "revision": revision})
        self.subscribed = True

    @precondition(lambda self: self.subscribed)
    @rule()
    def unsubscribe(self) -> None:
        self.rid += 1
        said = {"rid": self.rid, "channel": "kv"}
        self.control({"Unsubscribe": said}, said)
        self.subscribed = False

    # -- what the node does ----------------------------------------------------------------------

    @precondition(lambda self: self.gateway.held)
    @rule(data=st.data())
    def answer(self, data: Any) -> None:
        """Answer some of what waits, the oldest first, as a log does."""
        count = data.draw(st.integers(1, len(self.gateway.held)))
        now, self.gateway.held = self.gateway.held[:count], self.gateway.held[count:]
        for act in now:
            act()

    @rule(error=st.sampled_from((None, Unavailable("no leader"), Overloaded("too much"))))
    def mood(self, error: Any) -> None:
        """From now on everything is refused, or nothing."""
        self.gateway.error = error

    @rule(value=VALUES)
    def somebody_else_writes(self, value: str) -> None:
        self.gateway._apply(Put("z", value), lambda result: None)

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def nothing_is_forgotten(self) -> None:
        waiting = len(self.gateway.held)
        assert self.session.in_flight == waiting
        # Those of one list are answered together, when the last of them is.
        assert (len(self.open) > 0) == (waiting > 0)
        assert waiting <= len(self.open) + 3
        if waiting >= LIMIT:
            assert self.busy
        if waiting <= LIMIT // 2:
            assert not self.busy

    @invariant()
    def changes_in_order(self) -> None:
        assert self.changes == self.expected

    def teardown(self) -> None:
        """The socket goes: what waits is answered into the void, and nobody is called any more."""
        self.session.close()
        seen = len(self.changes)
        self.subscribed = False
        self.gateway.release()
        self.gateway._apply(Put("z", "end"), lambda result: None)
        assert len(self.changes) == seen
        assert not self.open


class ConversationTests(SynchronousTestCase):
    def test_conversation(self) -> None:
        """See :class:`Conversation`."""
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Conversation, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
        )
