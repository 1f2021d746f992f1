"""The AsyncAPI document: every message of the code is in it, and its examples are answered so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from tests.support.gateway import FakeGateway
from tests.support.grammar import document, errors
from uring.api.description.asyncapi import reply_name
from uring.api.description.commands import COMMANDS, CONTROL, CONVERSATION, grammar
from uring.api.description.events import EVENTS
from uring.api.limits import Limits
from uring.api.messages import PROTOCOLS, Control
from uring.api.session import Session
from uring.machines.events import Event

SIZE = {"SetSize": {"rid": 0, "size": 8}}
NODES = [{"AddNode": {"rid": 0, "node": name}} for name in ("n1", "n2")]
JOIN = {"Join": {"rid": 0, "node": "n1", "instance": "i", "address": "h:1"}}
STEPS: list[tuple[str, Any]] = [
    ("KV", {"Get": {"rid": 1, "key": "a"}}),
    ("KV", {"Put": {"rid": 1, "key": "a", "store": "1"}}),
    ("KV", {"Put": {"rid": 1, "key": "a", "store": "2"}}),
    ("KV", {"Cas": {"rid": 1, "key": "a", "check": "2", "store": "3"}}),
    ("KV", {"Cas": {"rid": 1, "key": "a", "check": "2", "store": "3"}}),
    ("KV", {"Look": {"rid": 1, "key": "a"}}),
    ("KV", {"List": {"rid": 1, "limit": 1}}),
    ("KV", {"Grant": {"rid": 1, "ttl": 5}}),
    ("KV", {"Lease": {"rid": 1, "lease": 1}}),
    ("KV", {"Revoke": {"rid": 1, "lease": 1}}),
    ("KV", {"Delete": {"rid": 1, "key": "a"}}),
    ("KV", {"Txn": {"rid": 1, "then": [{"Put": {"key": "a", "store": {"base64": "/w=="}}}]}}),
    ("KV", {"Get": {"rid": 1, "key": "a"}}),
    ("MRing", SIZE),
    *(("MRing", message) for message in NODES),
    ("MRing", {"SetSize": {"rid": 1, "size": 9}}),
    ("MRing", {"GetNodes": {"rid": 1}}),
    ("MRing", {"Plan": {"rid": 1, "add": ["n3"], "format": "ranges"}}),
    ("MRing", JOIN),
    ("MRing", {**JOIN, "Join": {**JOIN["Join"], "node": "n2", "instance": "j"}}),
    ("MRing", {"RemoveNode": {"rid": 1, "node": "n1"}}),
    ("MRing", {"BeginHandoff": {"rid": 1, "vnode": 0, "lease": 2}}),
    ("MRing", {"GetVnode": {"rid": 1, "vnode": 0}}),
    ("MRing", {"GetHandoffs": {"rid": 1}}),
    ("KV", {"Revoke": {"rid": 1, "lease": 2}}),
    ("MRing", {"Abandon": {"rid": 1, "node": "n1"}}),
]
"""What leads to other answers than the examples do."""


class AsyncapiTestCase(SynchronousTestCase):
    """The document, and a session that is told what to do."""

    def setUp(self) -> None:
        self.document = document()
        self.gateway = FakeGateway()
        self.sent: list[Any] = []
        self.session = Session(
            self.gateway,
            Limits(),
            "1",
            lambda reply: self.sent.append(json.loads(reply)),
            lambda busy: None,
        )

    def fits(self, name: str, message: Any) -> None:
        self.assertEqual(errors(name, message), [], (name, message))

    def ask(self, protocol: str, message: Any) -> Any:
        """Send one message in a protocol; return its answer."""
        self.session.take(protocol, {"Select": {"rid": 0, "protocol": protocol or "KV"}})
        self.sent.clear()
        self.session.received(json.dumps(message).encode())
        return self.sent[0] if self.sent else None

    def asked(self, protocol: str, message: Any) -> None:
        """Send one message; its answer is one of those that are documented for it."""
        (name,) = message
        answer = self.ask("KV" if protocol == CONTROL else protocol, message)
        self.fits(f"{protocol}.{name}", message)
        self.fits("Error" if "error" in answer else reply_name(protocol, name), answer)


class GrammarTests(AsyncapiTestCase):
    """What is in it."""

    def test_every_command_both_ways(self) -> None:
        """Every message that a protocol understands is in it, and no other."""
        wanted = {f"{CONTROL}.{name}" for name in Control.__struct_fields__}
        for protocol, shape in PROTOCOLS.items():
            own = set(shape.__struct_fields__) - set(Control.__struct_fields__)
            wanted |= {f"{protocol}.{name}" for name in own}
        told = {f"{channel}.{kind}" for channel, kinds in EVENTS.items() for kind in kinds}
        messages = set(self.document["components"]["messages"])
        incoming = {name for name in messages if "." in name and not name.endswith(".Reply")}
        self.assertEqual(incoming - told, wanted)
        replies = {name.removesuffix(".Reply") for name in messages if name.endswith(".Reply")}
        self.assertEqual(replies, wanted - {f"{CONTROL}.{name}" for name in CONVERSATION})

    def test_tables(self) -> None:
        """What is answered is known of each command, by the protocol that it belongs to."""
        for protocol, names in grammar().items():
            talk = CONVERSATION if protocol == CONTROL else {}
            self.assertEqual({*COMMANDS[protocol], *talk}, set(names), protocol)

    def test_references(self) -> None:
        """Whatever the document refers to is there."""

        def references(value: Any) -> Iterator[str]:
            if isinstance(value, dict):
                if isinstance(value.get("$ref"), str):
                    yield value["$ref"]
                for each in value.values():
                    yield from references(each)
            elif isinstance(value, list):
                for each in value:
                    yield from references(each)

        for reference in references(self.document):
            found: Any = self.document
            for part in reference.removeprefix("#/").split("/"):
                self.assertIn(part, found, reference)
                found = found[part]

    def test_operations(self) -> None:
        """Every message belongs to an operation: it is received, a reply, or told."""
        named: set[str] = set()
        for operation in self.document["operations"].values():
            for each in (*operation["messages"], *operation.get("reply", {}).get("messages", ())):
                named.add(each["$ref"].rpartition("/")[2])
        self.assertEqual(named, set(self.document["components"]["messages"]))
        for name, message in self.document["components"]["messages"].items():
            Draft202012Validator.check_schema(message["payload"])
            if message["name"] != "Reply":
                self.assertTrue(message["payload"], name)


class ConversationTests(AsyncapiTestCase):
    """What a real session says."""

    def test_examples(self) -> None:
        """Every example is understood, and answered by what is documented for it."""
        for protocol, commands in COMMANDS.items():
            for name in commands:
                (example,) = self.document["components"]["messages"][f"{protocol}.{name}"][
                    "examples"
                ]
                if name != "Auth":
                    self.asked(protocol, example["payload"])
                answer = self.sent[0] if name != "Auth" else {"code": 200}
                # None is refused for its form: only for what the machines hold just now.
                self.assertNotIn(answer["code"], (400, 500), (name, answer))

    def test_steps(self) -> None:
        """So is what comes of one command after the other, found or not, stored or refused."""
        for protocol, message in STEPS:
            self.asked(protocol, message)

    def test_refusals(self) -> None:
        """Whatever cannot be understood is answered by an Error."""
        bad: list[Any] = [7, {}, {"Nope": {"rid": 1}}, {"Get": {"rid": 1}}, [], {"Get": 7}]
        for message in bad:
            self.fits("Error", self.ask("KV", message))

    def test_batch(self) -> None:
        """A list is answered by a list."""
        (example,) = self.document["components"]["messages"]["Batch"]["examples"]
        self.fits("Batch", example["payload"])
        self.fits("Replies", self.ask("KV", example["payload"]))

    def test_events(self) -> None:
        """What a subscriber is told is what is documented, and every kind has been seen."""
        told: set[str] = set()
        for channel in ("kv", "mring"):
            message = {"Subscribe": {"rid": 1, "channel": channel, "from": 0}}
            self.fits("Control.Subscribe", message)
            self.fits("Subscribed", self.ask("KV", message))
        heard: list[Any] = []
        self.session.subscriptions.send = lambda text: heard.append(json.loads(text))
        for protocol, message in STEPS:
            self.ask(protocol, message)
            self.gateway.clock.advance(1)
        plan = self.ask("MRing", {"Plan": {"rid": 1, "add": ["n3"]}})["data"]["plan"]
        self.asked("MRing", {"Commit": {"rid": 1, "plan": plan}})
        self.gateway.clock.advance(1)
        for each in heard:
            (name,) = each
            if name == "Msg":
                (kind,) = each["Msg"]["msg"]
                name = f"{each['Msg']['channel']}.{kind}"
                told.add(name)
            self.fits(name, each)
        wanted = {f"{channel}.{kind}" for channel in ("kv", "mring") for kind in EVENTS[channel]}
        self.assertEqual(told, wanted)

    def test_every_event_of_the_machines(self) -> None:
        """There is no class of events that the document knows nothing of."""
        kinds = {kind for channel in ("kv", "mring") for kind in EVENTS[channel]}
        self.assertEqual(len(Event.__args__), len({*KINDS}))
        self.assertEqual({kind for each in KINDS.values() for kind in each}, kinds)


KINDS: dict[str, tuple[str, ...]] = {
    "KeyPut": ("Put",),
    "KeySwapped": ("Cas",),
    "KeyDeleted": ("Delete",),
    "SwapRefused": ("CasConflict",),
    "RingSized": ("SetSize",),
    "RingChanged": ("NodeAdded", "NodeRemoved"),
    "RingMoved": ("RingChanged", "NodeAdded", "NodeRemoved"),
    "NodeJoined": ("NodeJoined",),
    "NodeGone": ("NodeGone", "NodeAbandoned"),
    "HandoffMoved": ("Handoff",),
}
"""How the events of each class are called on the wire."""
