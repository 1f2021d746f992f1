"""Every command of every protocol, as its grammar draws it: good, and nearly good."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.gateway import FakeGateway
from tests.support.grammar import (
    GRAMMAR,
    command,
    errors,
    rid_in,
    spelled,
    spoiled,
    understood,
)
from uring.api.description.commands import CONTROL
from uring.api.guard import Guard
from uring.api.limits import Limits
from uring.api.session import Session
from uring.errors import Unauthorized

BEFORE: tuple[tuple[str, Any], ...] = (
    ("KV", {"Grant": {"rid": 0, "ttl": 5}}),
    ("KV", {"Put": {"rid": 0, "key": "a", "store": "b"}}),
    ("MRing", {"SetSize": {"rid": 0, "size": 8}}),
    ("MRing", {"AddNode": {"rid": 0, "node": "a"}}),
    ("MRing", {"Join": {"rid": 0, "node": "a", "instance": "a", "address": "a"}}),
)
"""What is there, so that commands find something."""
TALK = {
    "Control.Select.Reply": "Selected",
    "Control.Subscribe.Reply": "Subscribed",
    "Control.Unsubscribe.Reply": "Unsubscribed",
}
"""How those are answered that have no reply like others."""
EXAMPLES = int(os.environ.get("URING_EXAMPLES", "0"))
"""So many of each command, and others in each run; without it the same ones in all."""
AFTER = {"Version": {"rid": 99}}


def unknown(token: str) -> Guard:
    """Know no token."""
    raise Unauthorized("there is no such token")


def with_rid(name: str, drawn: Any) -> Any:
    """Return the message that asks so."""
    return {name: {"rid": 7, **drawn[name]}}


class GrammarTests(SynchronousTestCase):
    """One reply to each message, of the documented shape, and the socket goes on."""

    def ask(self, protocol: str, message: Any, ascii_only: bool, selected: bool) -> None:
        """Send one message to a new session; it is served or refused as the document says."""
        sent: list[Any] = []
        session = Session(
            FakeGateway(),
            Limits(),
            "1",
            lambda text: sent.append(json.loads(text)),
            lambda _: None,
            prove=unknown,
        )
        for each, before in BEFORE:
            session.take(each, before)
        if selected:
            session.take("", {"Select": {"rid": 0, "protocol": protocol}})
        else:
            message = {"As": {"protocol": protocol, "cmd": message}}
        sent.clear()
        protocol = protocol if selected else ""
        session.received(spelled(message, ascii_only))
        self.judge(protocol, message, sent)
        sent.clear()
        session.received(json.dumps(AFTER).encode())
        self.assertEqual(sent, [{"rid": 99, "code": 200, "data": "1"}])

    def judge(self, protocol: str, message: Any, sent: list[Any]) -> None:
        """Hold the replies to a message against the document."""
        about, rid, name = (message, sent), rid_in(message), understood(protocol, message)
        if name in TALK and rid is None and not sent:
            return  # of a subscription, where it is optional
        self.assertEqual(len(sent), 1, about)
        (reply,) = sent
        if name in TALK and "error" not in reply:
            self.assertEqual(errors(TALK[name], reply), [], about)
            self.assertEqual(reply[TALK[name]]["rid"], rid, about)
            return
        self.assertEqual(reply["rid"], rid, about)
        self.assertEqual(errors("Error" if "error" in reply else name or "Error", reply), [], about)
        if name is None:
            self.assertEqual(reply["code"], 400, about)
        else:
            self.assertNotIn(reply["code"], (400, 500), about)

    def every(self, nearly: bool, examples: int) -> None:
        """Draw from each command of each protocol; every other one is sent by As, too."""
        for protocol, names in GRAMMAR.items():
            for name in names:
                if name != "As":
                    drawn = command(protocol, name).map(partial(with_rid, name))
                    wanted = "KV" if protocol == CONTROL else protocol
                    test = given(
                        st.just(wanted),
                        drawn.flatmap(spoiled) if nearly else drawn,
                        st.booleans(),
                        st.booleans(),
                    )(self.ask)
                    settings(
                        max_examples=EXAMPLES or examples, deadline=None, derandomize=not EXAMPLES
                    )(test)()

    def test_good(self) -> None:
        """What the grammar has is never refused for its form."""
        self.every(False, 25)

    def test_nearly_good(self) -> None:
        """What it has not is refused by 400, under its rid if it has one."""
        self.every(True, 50)
