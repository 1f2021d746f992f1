"""Hand-offs: pending, transferring, owned; each vnode has one owner all the time."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machines.ring.base import RingTestCase
from uring.machines import leases as all_leases
from uring.machines.commands import AddNode, GetNodes, GetSize, Invalid, RemoveNode, Ring
from uring.machines.ring.commands import (
    Abandoned,
    AbandonNode,
    BeginHandoff,
    CancelHandoff,
    FinishHandoff,
    GetHandoffs,
    Handoff,
    Handoffs,
    Joined,
    JoinRing,
    LimitHandoffs,
    Limits,
)


class HandoffTests(RingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.size(8)
        self.one, self.two = self.join("n1"), self.join("n2")

    def begin(self, vnode: int, lease: int) -> int:
        begun = self.apply(BeginHandoff(vnode, lease))
        assert isinstance(begun, Handoff), begun
        self.assertEqual(begun.state, "transferring")
        return begun.began

    def test_life(self) -> None:
        """A vnode is shown with its new node at once, and owned by the old one until handed off."""
        ring = self.ask(GetNodes())
        self.assertEqual([node.vnodes for node in ring.nodes], [(0, 1, 2, 3), (4, 5, 6, 7)])
        found = self.vnode(4).handoff
        self.assertEqual(found, Handoff(4, "pending", "n1", "n2", 0, "n2:1"))
        began = self.begin(4, self.one)
        self.assertEqual(self.owner(4), "n1")
        done = self.apply(FinishHandoff(4, self.one, began))
        self.assertEqual((done.state, done.owner), ("owned", "n2"))
        self.assertEqual(
            [event.spelled() for event in self.events[-2:]],
            [
                {"Handoff": {"vnode": 4, "state": state, "source": "n1", "target": "n2"}}
                for state in ("transferring", "owned")
            ],
        )

    def test_those_who_do_not_take_part(self) -> None:
        """Nodes that were only added own at once what they are assigned, as ever."""
        super().setUp()
        self.size(8)
        self.apply(AddNode("n1"))
        self.apply(AddNode("n2"))
        self.assertEqual([self.owner(v) for v in range(8)], ["n1"] * 4 + ["n2"] * 4)
        self.join("n3")
        self.assertEqual({self.state_of(v) for v in range(8)}, {"owned"})

    def test_only_the_owner(self) -> None:
        """Only the owner begins, and only a transfer that is under way is finished."""
        self.refused(BeginHandoff(4, self.two), "conflict")
        self.refused(BeginHandoff(4, 99), "conflict")
        self.refused(BeginHandoff(8, self.one), "unknown")
        self.refused(FinishHandoff(4, self.one, 1), "conflict")
        began = self.begin(4, self.one)
        self.refused(FinishHandoff(4, self.one, began + 1), "conflict")
        self.refused(FinishHandoff(4, self.two, began), "conflict")
        self.apply(CancelHandoff(4, self.one, began))
        self.assertEqual(self.state_of(4), "pending")
        self.refused(FinishHandoff(4, self.one, began), "conflict")
        owned = self.apply(BeginHandoff(0, self.one))
        self.assertEqual(owned.state, "owned")

    def test_limits(self) -> None:
        """No more hand-offs at a time than a node, and the cluster, may have."""
        self.assertEqual(self.apply(LimitHandoffs(2, 3)), Limits(2, 3))
        self.begin(4, self.one)
        self.begin(5, self.one)
        self.assertIn("n1", self.refused(BeginHandoff(6, self.one), "busy").reason)
        self.apply(LimitHandoffs(9, 2))
        self.refused(BeginHandoff(6, self.one), "busy")
        self.apply(LimitHandoffs(9, 9))
        self.begin(6, self.one)
        for bad in (LimitHandoffs(0, 1), LimitHandoffs(1, 0), LimitHandoffs(1, 9999)):
            self.assertIsInstance(self.apply(bad), Invalid)
        found = self.ask(GetHandoffs("", 0, 2))
        assert isinstance(found, Handoffs)
        self.assertEqual([each.vnode for each in found.items], [4, 5])
        self.assertEqual((found.waiting, found.limits), (4, Limits(9, 9)))
        self.assertEqual([each.vnode for each in self.ask(GetHandoffs("n1", 6, 9)).items], [6, 7])
        self.assertEqual(self.ask(GetHandoffs("n2", 0, 9)).items, ())

    def test_a_side_dies(self) -> None:
        """When the lease of either side is over, what was under way is pending again."""
        for lease, node in ((self.two, "n2"), (self.one, "n1")):
            began = self.begin(4, self.one)
            self.expire(lease)
            self.assertEqual((self.state_of(4), self.owner(4)), ("pending", "n1"))
            self.assertEqual(self.events[-1].spelled(), {"NodeGone": {"node": node, "vnodes": [4]}})
            self.refused(FinishHandoff(4, self.one, began), "conflict")
            self.refused(BeginHandoff(4, self.one), "busy", "conflict")
            if node == "n2":
                self.two = self.join("n2")
        self.assertEqual(
            [each.alive for each in self.ask(GetHandoffs("", 0, 1)).sessions], [False, True]
        )
        self.begin(4, self.join("n1"))

    def test_names_are_taken(self) -> None:
        """A name in use is taken for others; the next life of the same node gets it at once."""
        self.refused(JoinRing("n1", "other", "n1:2", 5000), "conflict")
        began = self.begin(4, self.one)
        again = self.join("n1")
        self.assertNotEqual(again, self.one)
        self.refused(FinishHandoff(4, self.one, began), "conflict")
        self.begin(4, again)
        self.expire(again)
        self.assertIsInstance(self.apply(JoinRing("n1", "other", "n1:2", 5000)), Joined)
        for bad in (
            JoinRing("n9", "", "a:1", 5000),
            JoinRing("n9", "i" * 65, "a:1", 5000),
            JoinRing("n9", "i", "", 5000),
            JoinRing("", "i", "a:1", 5000),
            JoinRing("n9", "i", "a:1", 0),
            JoinRing("n9", "i", "a:1", 5000, 0),
        ):
            self.assertIsInstance(self.apply(bad), Invalid, bad)

    def test_leaving(self) -> None:
        """A node that is removed takes part until it owns nothing, then it is forgotten."""
        for vnode in (4, 5, 6, 7):
            self.apply(FinishHandoff(vnode, self.one, self.begin(vnode, self.one)))
        ring = self.apply(RemoveNode("n1"))
        self.assertEqual([node.id for node in ring.nodes], ["n2"])
        self.assertEqual([self.owner(v) for v in range(4)], ["n1"] * 4)
        for vnode in range(4):
            self.assertEqual(len(self.ask(GetHandoffs("", 0, 9)).sessions), 2)
            self.apply(FinishHandoff(vnode, self.one, self.begin(vnode, self.one)))
        self.assertEqual([each.node for each in self.ask(GetHandoffs("", 0, 9)).sessions], ["n2"])
        self.refused(BeginHandoff(0, self.one), "conflict")

    def test_coming_back_while_leaving(self) -> None:
        """A node that is added again while it leaves keeps what it is assigned again."""
        self.apply(RemoveNode("n2"))
        self.assertEqual({self.owner(v) for v in range(8)}, {"n1"})
        self.apply(RemoveNode("n1"))
        self.size(8)
        self.assertEqual([self.owner(v) for v in range(8)], [None] * 8)

    def test_assigned_anew_while_under_way(self) -> None:
        """A vnode that is assigned to a third node stays with its owner, and begins again."""
        began = self.begin(7, self.one)
        self.join("n3")
        self.assertEqual(self.vnode(7).handoff.target, "n3")
        self.assertEqual((self.owner(7), self.state_of(7)), ("n1", "pending"))
        self.refused(FinishHandoff(7, self.one, began), "conflict")
        self.apply(RemoveNode("n3"))
        self.assertEqual((self.owner(7), self.vnode(7).handoff.target), ("n1", "n2"))

    def test_given_up(self) -> None:
        """A node that will not come back is given up; not while it is there."""
        self.refused(AbandonNode("n1"), "conflict")
        self.refused(AbandonNode("n9"), "unknown")
        self.expire(self.one)
        self.assertEqual(self.apply(AbandonNode("n1")), Abandoned(4))
        self.assertEqual(self.owner(4), "n2")
        self.apply(RemoveNode("n1"))
        self.assertEqual(self.owner(0), "n1")
        self.assertEqual(self.apply(AbandonNode("n1")), Abandoned(4))
        self.assertEqual({self.owner(v) for v in range(8)}, {"n2"})
        self.assertEqual([each.node for each in self.ask(GetHandoffs("", 0, 1)).sessions], ["n2"])

    def test_continuous(self) -> None:
        """Rings of ranges are handed off in the same way."""
        super().setUp()
        self.size(8, strategy="continuous")
        one = self.join("n1")
        self.join("n2")
        self.join("n3")
        self.assertEqual([self.owner(v) for v in range(8)], ["n1"] * 8)
        self.assertEqual([self.vnode(v).handoff.target for v in (2, 3, 6)], ["n1", "n2", "n3"])
        self.apply(FinishHandoff(6, one, self.begin(6, one)))
        self.assertEqual(self.owner(6), "n3")


class AnyHistoryTests(RingTestCase):
    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 1 << 32), st.sampled_from(["minimal", "continuous"]))
    def test_never_twice_never_by_nobody(self, seed: int, strategy: str) -> None:
        """An owner changes only by the owner's own word, or because a side does not take part."""
        super().setUp()
        chance = Random(seed)
        self.size(chance.choice((1, 7, 24)), strategy=strategy)
        size = self.ask(GetSize())
        leases: dict[str, int] = {}
        for _ in range(40):
            owners = [self.owner(vnode) for vnode in range(size)]
            kind, node = chance.choice("jjradbbbffffx"), chance.choice("abcdef")
            vnode, lease = chance.randrange(size), chance.choice([*leases.values(), 1])
            began = self.vnode(vnode).handoff.began
            if kind == "j":
                joined = self.apply(JoinRing(node, "i", "a:1", 5000))
                if isinstance(joined, Joined):
                    leases[node] = joined.lease
            elif kind == "r":
                self.apply(RemoveNode(node))
            elif kind == "a":
                self.apply(AbandonNode(node))
            elif kind == "d" and node in leases:
                self.expire_if_there(leases[node])
            elif kind == "b":
                self.apply(BeginHandoff(vnode, leases.get(owners[vnode] or "", lease)))
            elif kind == "f":
                self.apply(FinishHandoff(vnode, leases.get(owners[vnode] or "", lease), began))
            elif kind == "x":
                self.apply(CancelHandoff(vnode, lease, began))
            self.look(size, owners, kind, vnode, began)

    def expire_if_there(self, lease: int) -> None:
        if all_leases.load(self.state, lease).alive:
            self.expire(lease)

    def look(self, size: int, before: list[str | None], kind: str, vnode: int, began: int) -> None:
        ring = self.ask(GetNodes())
        assert isinstance(ring, Ring)
        target = {v: node.id for node in ring.nodes for v in node.vnodes}
        overview = self.ask(GetHandoffs("", 0, 1000))
        assert isinstance(overview, Handoffs)
        under_way = [each for each in overview.items if each.state == "transferring"]
        self.assertLessEqual(len(under_way), overview.limits.in_all)
        here = {each.node for each in overview.sessions}
        alive = {each.node for each in overview.sessions if each.alive}
        for each in under_way:
            self.assertLessEqual({each.owner, each.target}, alive)
        self.assertEqual(len(target), size if ring.nodes else 0)
        for number in range(size):
            found = self.vnode(number).handoff
            self.assertEqual(found.owner is None, not ring.nodes)
            self.assertEqual(found.target, target.get(number))
            if found.state != "owned":
                self.assertLessEqual({found.owner, found.target}, here)
            if found.owner != before[number] and before[number] in here and found.owner in here:
                self.assertTrue(kind in "ajr" or (kind == "f" and number == vnode and began), kind)
