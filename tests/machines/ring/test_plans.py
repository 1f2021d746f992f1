"""Plans: what would come of a change, and exactly that or nothing."""

from __future__ import annotations

from typing import Any

from tests.machines.ring.base import RingTestCase
from uring.machines.commands import AddNode, GetNodes, Invalid, RemoveNode, Ring, SetSize
from uring.machines.events import RingMoved
from uring.machines.limits import NODE_WEIGHT_MAX, REPLICAS_MAX, RING_SIZE_MAX
from uring.machines.ring.commands import (
    CommitPlan,
    GetPlan,
    GetRing,
    Joining,
    Plan,
    Refused,
    RingPage,
    Wish,
)
from uring.machines.ring.pages import page_vnodes


class PlanTests(RingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.size(64, replicas=3)
        for node in ("n1", "n2", "n3", "n4", "n5", "n6"):
            self.apply(AddNode(node))

    def plan(self, wish: Wish) -> Plan:
        plan = self.ask(GetPlan(wish))
        assert isinstance(plan, Plan), plan
        return plan

    def commit(self, plan: Plan) -> Any:
        return self.apply(CommitPlan(plan.revision, plan.wish, plan.digest))

    def test_exactly_that(self) -> None:
        """What is committed is what the plan showed, in moves, loads and owners."""
        before = self.ask(GetNodes())
        plan = self.plan(Wish((Joining("n7", 2, "b"),), ("n1",), (("n2", 3),), (("n3", "a"),)))
        self.assertEqual(self.ask(GetNodes()), before)
        ring = self.commit(plan)
        self.assertIsInstance(ring, Ring)
        self.assertEqual({node.id: len(node.vnodes) for node in ring.nodes}, plan.loads_after)
        old = {vnode: node.id for node in before.nodes for vnode in node.vnodes}
        new = {vnode: node.id for node in ring.nodes for vnode in node.vnodes}
        moved = [
            (vnode, source, target)
            for start, end, source, target in plan.relocations
            for vnode in range(start, end)
        ]
        self.assertEqual(moved, [(v, old[v], new[v]) for v in range(64) if old[v] != new[v]])
        self.assertEqual((len(moved), plan.moves), (plan.minimum, plan.minimum))
        event = self.events[-1]
        assert isinstance(event, RingMoved)
        spelled: Any = event.spelled()["RingChanged"]
        self.assertEqual(spelled["added"], ["n7"])
        self.assertEqual(
            spelled["next"], [{"id": node.id, "vnodes": list(node.vnodes)} for node in ring.nodes]
        )

    def test_weights(self) -> None:
        """Loads follow the weights, and come back with them."""
        plan = self.plan(Wish(weights=(("n1", 3),)))
        self.assertEqual(plan.loads_after["n1"], 24)
        self.commit(plan)
        page = self.ask(GetRing(0, 2))
        assert isinstance(page, RingPage)
        self.assertEqual([(part.weight, part.load) for part in page.parts], [(3, 24), (1, 8)])
        self.assertEqual((page.nodes, page.size, page.replicas), (6, 64, 3))

    def test_stale(self) -> None:
        """A plan for a ring that has changed is refused; so is one that was tampered with."""
        plan = self.plan(Wish(remove=("n2",)))
        self.refused(CommitPlan(plan.revision, Wish(remove=("n3",)), plan.digest), "conflict")
        self.refused(CommitPlan(plan.revision + 1, plan.wish, plan.digest), "conflict")
        self.apply(AddNode("n7"))
        self.refused(CommitPlan(plan.revision, plan.wish, plan.digest), "conflict")
        self.commit(self.plan(plan.wish))
        self.refused(CommitPlan(plan.revision, plan.wish, plan.digest), "conflict")

    def test_contradictions(self) -> None:
        """Unknown and known nodes, and nodes named twice, are refused with their names."""
        for wish, kind in (
            (Wish(remove=("n9",)), "unknown"),
            (Wish(weights=(("n9", 2),)), "unknown"),
            (Wish(zones=(("n9", "a"),)), "unknown"),
            (Wish(add=(Joining("n1"),)), "conflict"),
            (Wish(add=(Joining("x"), Joining("x"))), "conflict"),
            (Wish(add=(Joining("x"),), remove=("x",)), "conflict"),
            (Wish(remove=("n1",), weights=(("n1", 2),)), "conflict"),
            (Wish(weights=(("n1", 2), ("n1", 3))), "conflict"),
        ):
            answer = self.ask(GetPlan(wish))
            assert isinstance(answer, Refused)
            self.assertEqual(answer.kind, kind)
            self.refused(CommitPlan(self.plan(Wish()).revision, wish, ""), kind)
        for wish in (
            Wish(weights=(("n1", 0),)),
            Wish(weights=(("n1", NODE_WEIGHT_MAX + 1),)),
            Wish(add=(Joining("x", -1),)),
            Wish(add=(Joining(""),)),
            Wish(add=(Joining("\ud800"),)),
        ):
            self.assertIsInstance(self.ask(GetPlan(wish)), Invalid, wish)

    def test_without_size(self) -> None:
        """Without a size there is nothing to plan."""
        super().setUp()
        self.assertEqual(self.ask(GetPlan(Wish())).kind, "no size")
        self.refused(CommitPlan(0, Wish(), ""), "no size")

    def test_sizes(self) -> None:
        """Sizes and replicas beyond the bounds, and unknown strategies, are refused."""
        super().setUp()
        for command in (
            SetSize(RING_SIZE_MAX + 1, "minimal"),
            SetSize(0, "minimal"),
            SetSize(8, "minimal", 0),
            SetSize(8, "minimal", 9),
            SetSize(64, "minimal", REPLICAS_MAX + 1),
            SetSize(8, "scattered"),
        ):
            self.assertIsInstance(self.apply(command), Invalid)
        self.assertIsNone(self.state.get(b"m"))

    def test_continuous(self) -> None:
        """A ring of ranges can be planned as well; it knows no weights."""
        super().setUp()
        self.size(8, strategy="continuous")
        self.apply(AddNode("n1"))
        plan = self.plan(Wish(add=(Joining("n2"), Joining("n3"))))
        self.assertEqual((plan.moves, plan.minimum), (5, 5))
        self.assertEqual(plan.relocations, ((3, 6, "n1", "n2"), (6, 8, "n1", "n3")))
        self.commit(plan)
        plan = self.plan(Wish(remove=("n1",)))
        self.assertEqual((plan.moves, plan.minimum), (5, 3))
        ring = self.commit(plan)
        self.assertEqual([node.vnodes for node in ring.nodes], [(0, 1, 2, 3), (4, 5, 6, 7)])
        self.assertIsInstance(self.ask(GetPlan(Wish(weights=(("n2", 2),)))), Refused)

    def test_one_step(self) -> None:
        """Adding and removing in one step are the plans for that, and tell it in the old form."""
        plan = self.plan(Wish(remove=("n2",)))
        ring = self.apply(RemoveNode("n2"))
        self.assertEqual({node.id: len(node.vnodes) for node in ring.nodes}, plan.loads_after)
        event: Any = self.events[-1].spelled()
        self.assertEqual(event["NodeRemoved"]["node"], "n2")
        self.assertEqual(event["NodeRemoved"]["strategy"], "minimal")
        self.assertEqual(list(event["NodeRemoved"]["relocations"]), ["n2"])


class PageTests(RingTestCase):
    def test_a_change_writes_what_it_moves(self) -> None:
        """One more node in a large ring rewrites the pages of what moves, not the ring."""
        self.size(1 << 17, replicas=3)
        self.apply(CommitPlan(1, *self.first(200)))
        before = dict(self.state.iterate(b"m"))
        self.apply(AddNode("one more"))
        after = dict(self.state.iterate(b"m"))
        changed = [key for key in after if after[key] != before.get(key)]
        moved = (1 << 17) // 201
        self.assertLessEqual(len(changed), moved + 1)
        written = sum(len(after[key]) for key in changed if key != b"m")
        self.assertLessEqual(written, moved * (2 * page_vnodes(1 << 17) + 1))

    def first(self, count: int) -> tuple[Wish, str]:
        wish = Wish(tuple(Joining(f"n{number}") for number in range(count)))
        plan = self.ask(GetPlan(wish))
        assert isinstance(plan, Plan)
        return wish, plan.digest

    def test_many_nodes_of_a_large_ring(self) -> None:
        """A plan looks at each vnode a few times, not once for each node."""
        self.size(1 << 18)
        wish, digest = self.first(1000)
        self.apply(CommitPlan(1, wish, digest))
        page = self.ask(GetRing(999, 1))
        assert isinstance(page, RingPage)
        self.assertEqual((page.nodes, page.parts[0].load), (1000, (1 << 18) // 1000))

    def test_largest(self) -> None:
        """A ring of the largest size takes its first nodes, and takes 16384 pages."""
        self.size(RING_SIZE_MAX)
        self.apply(AddNode("n1"))
        self.assertEqual(len(list(self.state.iterate(b"mp"))), 16384)
        self.assertEqual(self.owner(RING_SIZE_MAX - 1), "n1")
