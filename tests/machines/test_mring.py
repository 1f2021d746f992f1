"""The ring: its size, its nodes, and the events that tell vnodes where to go."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.machines import mring
from uring.machines.base import MemoryState
from uring.machines.commands import (
    AddNode,
    Invalid,
    RemoveNode,
    Result,
    Ring,
    RingCommand,
    RingNode,
    RingSize,
    SetSize,
)
from uring.machines.events import encode
from uring.machines.limits import NODE_NAME_BYTES_MAX, RING_NODES_MAX, RING_SIZE_MAX
from uring.machines.ring.commands import Refused
from uring.machines.turn import Turn


class RingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = MemoryState()
        self.turn = Turn(revision=0)

    def apply(self, command: RingCommand) -> Result:
        return mring.apply(self.state, command, self.turn)

    def unchanged(self, command: RingCommand) -> Result:
        """Apply a command that must leave state, revision and listeners alone."""
        before = (list(self.state.iterate(b"")), self.turn.revision, list(self.turn.events))
        result = self.apply(command)
        after = (list(self.state.iterate(b"")), self.turn.revision, self.turn.events)
        self.assertEqual(after, before)
        return result

    def last_event(self) -> Any:
        return self.turn.events[-1].spelled()


class SizeTests(RingTestCase):
    def test_unset(self) -> None:
        """A ring has no size at first."""
        self.assertIsNone(mring.size(self.state))
        self.assertEqual(mring.nodes(self.state), Ring((), "no size"))

    def test_set_once(self) -> None:
        """The size is set once; the same again is fine, another is answered with the first."""
        self.assertEqual(self.apply(SetSize(64)), RingSize(True, 64))
        self.assertEqual(self.unchanged(SetSize(64)), RingSize(True, 64))
        self.assertEqual(self.unchanged(SetSize(32)), RingSize(False, 64))
        self.assertEqual(mring.size(self.state), 64)
        self.assertEqual(
            [event.spelled() for event in self.turn.events],
            [{"SetSize": {"size": 64, "strategy": "continuous"}}],
        )
        self.assertEqual(mring.nodes(self.state), Ring(()))

    def test_bounds(self) -> None:
        """Sizes from 1 to 2**24 are taken, others and unknown strategies refused."""
        for size in (0, -1, RING_SIZE_MAX + 1, 2**63, 2**64 - 1):
            self.assertIsInstance(self.unchanged(SetSize(size)), Invalid)
        self.assertIsInstance(self.unchanged(SetSize(8, "scattered")), Invalid)
        self.assertEqual(self.apply(SetSize(RING_SIZE_MAX)), RingSize(True, 2**24))


class NodesTests(RingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.apply(SetSize(8))

    def test_without_size(self) -> None:
        """Nodes cannot come or go before there is a size."""
        self.state = MemoryState()
        self.assertEqual(self.unchanged(AddNode("n1")), Ring((), "no size"))
        self.assertEqual(self.unchanged(RemoveNode("n1")), Ring((), "no size"))

    def test_first_node(self) -> None:
        """The first node owns everything, and nothing has to move."""
        ring = Ring((RingNode("n1", tuple(range(8))),))
        self.assertEqual(self.apply(AddNode("n1")), ring)
        self.assertEqual(mring.nodes(self.state), ring)
        self.assertEqual(
            self.last_event(),
            {
                "NodeAdded": {
                    "node": "n1",
                    "strategy": "continuous",
                    "next": [{"id": "n1", "vnodes": [0, 1, 2, 3, 4, 5, 6, 7]}],
                    "relocations": {},
                }
            },
        )

    def test_third_node(self) -> None:
        """The answer and the event of the third node are those of the original."""
        for node in ("n1", "n2"):
            self.apply(AddNode(node))
        self.assertEqual(
            self.apply(AddNode("n3")),
            Ring(
                (
                    RingNode("n1", (0, 1, 2)),
                    RingNode("n2", (3, 4, 5)),
                    RingNode("n3", (6, 7)),
                )
            ),
        )
        self.assertEqual(
            json.loads(json.dumps(self.last_event())),
            {
                "NodeAdded": {
                    "node": "n3",
                    "strategy": "continuous",
                    "next": [
                        {"id": "n1", "vnodes": [0, 1, 2]},
                        {"id": "n2", "vnodes": [3, 4, 5]},
                        {"id": "n3", "vnodes": [6, 7]},
                    ],
                    "relocations": {
                        "n1": {"destinations": {"n2": [3]}},
                        "n2": {"destinations": {"n3": [6, 7]}},
                    },
                }
            },
        )
        self.assertEqual((self.turn.revision, len(self.turn.events)), (4, 4))

    def test_known_node(self) -> None:
        """A node that is there already changes nothing; the ring is answered."""
        ring = self.apply(AddNode("n1"))
        self.assertEqual(self.unchanged(AddNode("n1")), ring)

    def test_remove(self) -> None:
        """A node that goes hands its vnodes to those that stay, in the order of adding."""
        for node in ("n1", "n2", "n3"):
            self.apply(AddNode(node))
        ring = self.apply(RemoveNode("n2"))
        self.assertEqual(ring, Ring((RingNode("n1", (0, 1, 2, 3)), RingNode("n3", (4, 5, 6, 7)))))
        event = self.last_event()["NodeRemoved"]
        self.assertEqual(event["node"], "n2")
        self.assertEqual(event["relocations"], {"n2": {"destinations": {"n1": [3], "n3": [4, 5]}}})

    def test_remove_unknown(self) -> None:
        """A node that is not there cannot go, and no other loses its vnodes for it."""
        self.apply(AddNode("n1"))
        self.assertEqual(
            self.unchanged(RemoveNode("n2")),
            Ring((RingNode("n1", tuple(range(8))),), "unknown node"),
        )

    def test_remove_last(self) -> None:
        """The last node leaves an empty ring, which keeps its size and takes nodes again."""
        self.apply(AddNode("n1"))
        self.assertEqual(self.apply(RemoveNode("n1")), Ring(()))
        self.assertEqual(
            self.last_event(),
            {
                "NodeRemoved": {
                    "node": "n1",
                    "strategy": "continuous",
                    "next": [],
                    "relocations": {},
                }
            },
        )
        self.assertEqual(mring.size(self.state), 8)
        self.assertEqual(self.apply(AddNode("n2")), Ring((RingNode("n2", tuple(range(8))),)))

    def test_names(self) -> None:
        """A node's name has 1 to 255 bytes of UTF-8."""
        for name in ("", "x" * (NODE_NAME_BYTES_MAX + 1), "é" * 128, "\ud800"):
            self.assertIsInstance(self.unchanged(AddNode(name)), Invalid)
            self.assertIsInstance(self.unchanged(RemoveNode(name)), Invalid)
        self.assertIsInstance(self.apply(AddNode("x" * NODE_NAME_BYTES_MAX)), Ring)

    def test_number_of_nodes(self) -> None:
        """A ring is full at its bound, and takes a node again once another has gone."""
        for number in range(RING_NODES_MAX):
            self.apply(AddNode(f"n{number}"))
        self.assertIsInstance(self.unchanged(AddNode("more")), Refused)
        self.apply(RemoveNode("n0"))
        self.assertIsInstance(self.apply(AddNode("more")), Ring)


class LargeRingTests(RingTestCase):
    def test_record_does_not_grow_with_the_size(self) -> None:
        """The largest ring is stored in a few bytes, and changed without spelling out vnodes."""
        self.turn = Turn(revision=0, answered=False)
        self.apply(SetSize(RING_SIZE_MAX))
        for number in range(10):
            self.assertEqual(self.apply(AddNode(f"n{number}")), Ring(()))
        self.assertEqual(self.apply(AddNode("n1")), Ring(()))
        record = self.state.get(b"m")
        assert record is not None
        self.assertLess(len(record), 400)
        self.assertEqual((self.turn.revision, len(self.turn.events)), (11, 11))
        self.assertLess(len(encode(self.turn.events[-1:])), 400)


class PropertyTests(RingTestCase):
    @settings(deadline=None, max_examples=60)
    @given(
        st.integers(1, 70),
        st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), max_size=30),
    )
    def test_any_history(self, size: int, steps: list[tuple[bool, str]]) -> None:
        """After any history each vnode has one owner, and events alone lead to the same ring."""
        self.setUp()
        self.apply(SetSize(size))
        names: list[str] = []
        owner: dict[int, str] = {}
        for adding, name in steps:
            heard = len(self.turn.events)
            result = self.apply(AddNode(name) if adding else RemoveNode(name))
            assert isinstance(result, Ring)
            if adding == (name in names):
                self.assertEqual(len(self.turn.events), heard)
                self.assertEqual(result.problem, None if adding else "unknown node")
                continue
            names = [*names, name] if adding else [each for each in names if each != name]
            self.assertEqual([node.id for node in result.nodes], names)
            ((_, event),) = self.last_event().items()
            self.follow(owner, event, size)
            self.assertEqual(
                owner, {vnode: node.id for node in result.nodes for vnode in node.vnodes}
            )
            self.assertEqual(sum(len(node.vnodes) for node in result.nodes), len(owner))
            self.assertEqual(len(owner), size if names else 0)
            shares = [len(node.vnodes) for node in result.nodes]
            self.assertLessEqual(max(shares, default=0) - min(shares, default=0), 1)

    def follow(self, owner: dict[int, str], event: Any, size: int) -> None:
        """Do with ``owner`` what a client does that hears only events."""
        if not event["next"]:
            owner.clear()
        elif not owner:
            owner.update((vnode, event["node"]) for vnode in range(size))
        for source, targets in event["relocations"].items():
            for target, vnodes in targets["destinations"].items():
                for vnode in vnodes:
                    self.assertEqual(owner[vnode], source)
                    owner[vnode] = target
