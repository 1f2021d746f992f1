"""The reserve of disk space: what is refused below it, and what goes on."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import Bench
from tests.test_node import NodeTestCase
from uring.errors import DiskFull
from uring.machines.commands import (
    AddNode,
    Cas,
    Command,
    Compare,
    Delete,
    DeleteOp,
    Get,
    GetOp,
    Grant,
    KeepAlive,
    Old,
    Once,
    Put,
    PutOp,
    RemoveNode,
    Revoke,
    SetSize,
    Txn,
)
from uring.raft.messages import Heartbeat
from uring.space import CHECK_SECONDS, free_bytes, grows
from uring.wire.codec import decode_messages, encode_messages
from uring.wire.envelopes import SpaceReport

RESERVE = 100 << 20
LOW = SpaceReport(to=1, from_=2, is_low=True)


class GrowthTests(SynchronousTestCase):
    """Which commands may make the state larger."""

    def test_commands(self) -> None:
        """What stores grows it; what removes or renews does not, also inside of others."""
        put, delete = PutOp("k", b"v"), DeleteOp("k")
        check = [Compare("k", "created", "=", 0)]
        growing: list[Command] = [
            Put("k", "v"),
            Cas("k", None, "v"),
            Txn([], [put]),
            Txn(check, [delete], [put]),
            Grant(1000),
            Once("o", Put("k", "v")),
            SetSize(8),
            AddNode("n"),
        ]
        others: list[Command] = [
            Delete("k"),
            Txn(check, [delete, GetOp("k")]),
            KeepAlive(1),
            Revoke(1),
            Once("o", Delete("k")),
            RemoveNode("n"),
        ]
        self.assertEqual([grows(each) for each in growing], [True] * len(growing))
        self.assertEqual([grows(each) for each in others], [False] * len(others))

    def test_measuring(self) -> None:
        """What is free is measured where the data is."""
        self.assertGreater(free_bytes("."), 0)
        self.assertRaises(OSError, free_bytes, "/nowhere")


class ReserveTests(NodeTestCase):
    """A node whose disk fills up."""

    def setUp(self) -> None:
        self.free = 10 * RESERVE
        self.failing = False

    def measure(self) -> int:
        if self.failing:
            raise OSError("nobody knows")
        return self.free

    def watched(self) -> Bench:
        bench = self.leader(free_bytes=self.measure, disk_reserve=RESERVE)
        self.look(bench)
        return bench

    def look(self, bench: Bench) -> None:
        bench.pass_time(CHECK_SECONDS + 0.1)
        bench.settle()

    def answer(self, bench: Bench, command: Command) -> object:
        answers = bench.submit(command)
        bench.settle()
        (answer,) = answers
        return answer

    def test_growth_is_refused_and_the_rest_goes_on(self) -> None:
        """Below the reserve writes are refused, reads and deletes are not; it clears by itself."""
        bench = self.watched()
        self.assertEqual(self.answer(bench, Put("k", "v")), Old(None))
        self.free = RESERVE - 1
        self.look(bench)
        refusal = self.answer(bench, Put("l", "v"))
        assert isinstance(refusal, DiskFull)
        self.assertIn("deletes go on", str(refusal))
        self.assertEqual(len(bench.node.status()["faults"]), 1)
        reads = bench.query(Get("k"))
        bench.settle()
        self.assertEqual(reads, ["v"])
        self.assertEqual(self.answer(bench, Delete("k")), Old("v"))
        self.free = 2 * RESERVE
        self.look(bench)
        self.assertEqual(self.answer(bench, Put("l", "v")), Old(None))
        self.assertEqual(bench.node.status()["faults"], [])

    def test_no_flicker(self) -> None:
        """At the edge of the reserve a node does not change its mind at every look."""
        bench = self.watched()
        self.free = RESERVE - 1
        self.look(bench)
        self.free = RESERVE + 1
        self.look(bench)
        self.assertIsInstance(self.answer(bench, Put("k", "v")), DiskFull)

    def test_unknown(self) -> None:
        """When what is free cannot be found out, that alone stops nobody."""
        bench = self.watched()
        self.failing = True
        self.look(bench)
        self.look(bench)
        self.assertEqual(self.answer(bench, Put("k", "v")), Old(None))
        self.assertEqual(bench.stopped, [])

    def test_others_are_told(self) -> None:
        """A node tells the others when its disk gets low, when it is not, and who comes later."""
        bench = self.watched()
        self.free = 0
        self.look(bench)
        told = [message for _, message in bench.mesh.sent if isinstance(message, SpaceReport)]
        self.assertEqual(
            {(each.to, each.is_low) for each in told}, {(n, True) for n in range(1, 10)}
        )
        bench.mesh.sent.clear()
        bench.node.peer_up(3)
        self.assertEqual(bench.mesh.sent, [(3, SpaceReport(to=3, from_=1, is_low=True))])
        self.free = 2 * RESERVE
        self.look(bench)
        self.assertEqual(bench.mesh.sent[-1][1], SpaceReport(to=9, from_=1, is_low=False))

    def test_leader_without_space(self) -> None:
        """A follower refuses what its leader's disk cannot take, until that says otherwise."""
        bench = self.bench(bootstrap=False)
        bench.node.administration.clusters[2] = b"c" * 16
        bench.node.receive(2, [Heartbeat(to=1, from_=2, term=1)])
        bench.settle()
        self.assertEqual(bench.node.status()["leader"], 2)
        for is_low in (True, False, True):
            bench.node.receive(2, [SpaceReport(to=1, from_=2, is_low=is_low)])
            answers = bench.submit(Put("k", "v"))
            self.assertEqual([type(each) for each in answers], [DiskFull] if is_low else [])
        self.assertIn("node 2", str(answers[0]))
        bench.node.receive(3, [SpaceReport(to=1, from_=3, is_low=True)])
        bench.node.peer_down(2)
        self.assertEqual(bench.submit(Put("k", "v")), [])

    def test_on_the_wire(self) -> None:
        """The report travels as every message does."""
        self.assertEqual(decode_messages(encode_messages([LOW])), [LOW])
