"""What takes long is worked out in a thread, and nothing overtakes it."""

from __future__ import annotations

import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import TICK, Bench, make_bench
from uring.errors import Unavailable
from uring.lengthy import TURN_SECONDS, short_turns
from uring.machines.base import MemoryState
from uring.machines.commands import (
    AddNode,
    Command,
    Get,
    GetNodes,
    GetSize,
    Old,
    Put,
    Ring,
    RingSize,
    SetSize,
)
from uring.machines.proposal import Proposal, encode
from uring.machines.ring.commands import GetPlan, Joining, Plan, Wish
from uring.machines.table import LARGE_RING, Lengthy, Machines
from uring.store.failures import StoreFailed


class LengthyTestCase(SynchronousTestCase):
    """A leader with a large ring, whose threads work when they are told."""

    def setUp(self) -> None:
        self.bench: Bench = make_bench(self.mktemp())
        self.addCleanup(self.bench.close)
        self.bench.settle()
        self.node = self.bench.node
        self.bench.submit(SetSize(LARGE_RING, "minimal"))
        self.bench.settle()

    def commit(self) -> None:
        """Let the log's disk work and turns pass, but no other thread."""
        for _ in range(4):
            self.bench.clock.advance(0)
            while self.bench.disk.pending:
                self.bench.disk.run_one()
        self.bench.clock.advance(0)

    def vnodes(self, answers: list[Any]) -> dict[str, int]:
        (ring,) = answers
        self.assertIsInstance(ring, Ring)
        return {node.id: len(node.vnodes) for node in ring.nodes}


class ChangeTests(LengthyTestCase):
    def test_is_worked_out_in_a_thread(self) -> None:
        """The reactor only hands it over, and what comes after it waits for it."""
        before = self.bench.submit(Put("before", "1"))
        change = self.bench.submit(AddNode("n1"))
        after = self.bench.submit(Put("before", "2"))
        self.commit()
        self.assertEqual((change, after), ([], []))
        self.assertTrue(self.node.applying.is_busy)
        self.assertEqual(self.bench.background.pending, 1)
        self.bench.background.run_one()
        self.commit()
        self.assertEqual(self.vnodes(change), {"n1": LARGE_RING})
        self.assertEqual((before, after), ([Old(None)], [Old("1")]))
        self.assertFalse(self.node.applying.is_busy)

    def test_what_came_before_is_answered(self) -> None:
        """What stands before it in the log, in a batch of its own, is not kept waiting."""
        before = self.bench.submit(Put("a", "1"))
        self.bench.clock.advance(0)
        change = self.bench.submit(AddNode("n1"))
        self.commit()
        self.assertEqual((before, change), ([Old(None)], []))
        self.assertEqual(self.bench.query(Get("a"), stale=True), ["1"])

    def test_one_after_the_other(self) -> None:
        """Each is worked out from what the one before it has left."""
        changes = []
        for number in range(3):
            changes.append(self.bench.submit(AddNode(f"n{number}")))
            self.bench.clock.advance(0)
        self.bench.settle()
        third, rest = divmod(LARGE_RING, 3)
        self.assertEqual([len(each) for each in changes], [1, 1, 1])
        shown = self.vnodes(changes[-1])
        self.assertEqual(sorted(shown), ["n0", "n1", "n2"])
        self.assertEqual(sorted(shown.values()), [third] * (3 - rest) + [third + 1] * rest)

    def test_log_and_leadership_go_on(self) -> None:
        """While it lasts writes become durable, time passes, and the node stays what it is."""
        self.bench.submit(AddNode("n1"))
        self.commit()
        last = self.node.raft.status().last_index
        self.bench.submit(Put("a", "1"))
        for _ in range(100):
            self.bench.clock.advance(TICK)
            self.commit()
        self.assertEqual(self.node.raft.status().last_index, last + 1)
        self.assertEqual(self.bench.directory.log.last_index(), last + 1)
        self.assertEqual(self.node.status()["role"], "Leader")
        self.assertEqual(self.bench.stopped, [])

    def test_read_waits_for_it(self) -> None:
        """A linearizable read that came after it sees it."""
        self.bench.submit(AddNode("n1"))
        self.commit()
        answers = self.bench.query(Get("a"))
        self.commit()
        self.assertEqual(answers, [])
        self.bench.settle()
        self.assertEqual(answers, [None])

    def test_large_ring_in_the_same_batch(self) -> None:
        """A size and a node that come together are a change of a large ring, too."""
        bench = make_bench(self.mktemp())
        self.addCleanup(bench.close)
        bench.settle()
        answers = bench.submit(SetSize(LARGE_RING, "minimal"))
        change = bench.submit(AddNode("n1"))
        self.bench = bench
        self.commit()
        self.assertEqual((answers, bench.background.pending), ([], 1))
        bench.settle()
        self.assertEqual(answers, [RingSize(True, LARGE_RING)])
        self.assertEqual(self.vnodes(change), {"n1": LARGE_RING})

    def test_disk_that_fails(self) -> None:
        """What cannot be read ends the node, as it does where nothing takes long."""
        self.bench.submit(AddNode("n1"))
        self.commit()
        self.bench.background.fail_next(StoreFailed("broken"))
        self.bench.background.run_one()
        self.assertEqual(len(self.bench.stopped), 1)
        self.assertIn("broken", self.bench.stopped[0])
        self.flushLoggedErrors(StoreFailed)

    def test_stop(self) -> None:
        """A node that stops meanwhile tells that the outcome is not known, once."""
        change = self.bench.submit(AddNode("n1"))
        self.commit()
        self.node.stop()
        self.assertEqual(len(change), 1)
        self.bench.background.run_all()
        self.assertEqual(len(change), 1)
        self.assertEqual(self.bench.stopped, [])

    def test_small_ring(self) -> None:
        """A small ring is changed at once."""
        bench = make_bench(self.mktemp())
        self.addCleanup(bench.close)
        bench.settle()
        bench.submit(SetSize(64, "minimal"))
        change = bench.submit(AddNode("n1"))
        self.bench = bench
        self.commit()
        self.assertEqual(self.vnodes(change), {"n1": 64})
        self.assertEqual(bench.background.pending, 0)


class QueryTests(LengthyTestCase):
    def test_is_answered_from_a_thread(self) -> None:
        """What reads the whole ring does not keep the reactor; others are answered meanwhile."""
        plan = GetPlan(Wish(add=(Joining("n1"),)))
        for stale in (True, False):
            answers = self.bench.query(plan, stale)
            size = self.bench.query(GetSize(), stale)
            self.commit()
            self.assertEqual((answers, size), ([], [LARGE_RING]))
            self.bench.settle()
            (found,) = answers
            self.assertIsInstance(found, Plan)

    def test_sees_what_was_there(self) -> None:
        """It is answered from the state of when it was its turn."""
        answers = self.bench.query(GetNodes(), stale=True)
        self.bench.submit(AddNode("n1"))
        self.commit()
        self.bench.background.run_one()
        self.commit()
        self.bench.reader.run_all()
        self.assertEqual(answers, [Ring(())])

    def test_state_that_cannot_be_read(self) -> None:
        """Whoever asked is told, and the node goes on: it is its next write that decides."""
        answers = self.bench.query(GetNodes(), stale=True)
        self.bench.reader.fail_next(RuntimeError("the snapshot is gone"))
        self.bench.reader.run_one()
        (error,) = answers
        self.assertIsInstance(error, Unavailable)
        self.assertEqual(self.bench.stopped, [])


class MachineTests(SynchronousTestCase):
    def test_same_either_way(self) -> None:
        """In turn nothing is done, out of turn what is always done."""
        small, large = Machines(large_ring=65), Machines(large_ring=64)
        one, other = MemoryState(), MemoryState()
        commands: list[list[Command]] = [
            [SetSize(64, "minimal", 2)],
            [AddNode("n1"), Put("a", "1")],
            [AddNode("n2")],
        ]
        for index, batch in enumerate(commands, 1):
            data = encode(Proposal(1, 1, index, 1, batch))
            applied = small.apply(one, index, data, in_turn=True)
            if index > 1:
                before = large.digest(other)
                self.assertRaises(Lengthy, large.apply, other, index, data, in_turn=True)
                self.assertEqual(large.digest(other), before)
            self.assertEqual(large.apply(other, index, data), applied)
        self.assertEqual(small.digest(one), large.digest(other))


class TurnTests(SynchronousTestCase):
    def test_short_while_it_lasts(self) -> None:
        """Threads take short turns until the last one who wants them has finished."""
        usual = sys.getswitchinterval()
        with short_turns():
            with short_turns():
                self.assertAlmostEqual(sys.getswitchinterval(), TURN_SECONDS)
            self.assertAlmostEqual(sys.getswitchinterval(), TURN_SECONDS)
        self.assertAlmostEqual(sys.getswitchinterval(), usual)
