"""Rolling upgrades: programs of two versions in one cluster, until the last one is the newer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import Bench, make_bench
from tests.test_members import hello
from uring import upgrades
from uring.errors import Conflict, PreconditionFailed
from uring.machines import levels
from uring.machines.commands import (
    AddToken,
    Command,
    Compare,
    Old,
    Once,
    Put,
    PutOp,
    RemoveToken,
    Token,
)
from uring.machines.levels import FIRST, LEVEL, needed
from uring.machines.ring.commands import Joining
from uring.members import Member, encode_member
from uring.raft.membership import encode_conf_change
from uring.raft.messages import Append, AppendResponse
from uring.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    EntryKind,
    HardState,
)
from uring.recover import recover
from uring.store.directory import open_directory
from uring.upgrades import ProgramTooOld, Upgrades, require_level
from uring.wire.codec import seal

KINDS = Command.__args__  # type: ignore[attr-defined]
ADD = AddToken("0" * 16, bytes(32), "admin", (), "")


class LevelTests(SynchronousTestCase):
    """Which command is of which level."""

    def test_needed(self) -> None:
        """Commands of tokens came with level 2, and the table has none beyond this program."""
        self.assertEqual([needed(ADD), needed(RemoveToken("x"))], [2, 2])
        self.assertEqual([needed(Put("a", "b")), needed(Once("k", Put("a", "b")))], [1, 1])
        self.assertLessEqual(max(levels.NEEDS.values()), LEVEL)

    def test_table_is_complete(self) -> None:
        """A command that is neither in the table nor of the first level has been forgotten.

        Whoever adds a command counts LEVEL up and puts it into the table; this list stays as it is.
        """
        first = {
            "Put", "Delete", "Cas", "Txn", "Grant", "KeepAlive", "Revoke", "Expire", "Once",
            "SetSize", "AddNode", "RemoveNode", "CommitPlan", "JoinRing", "BeginHandoff",
            "FinishHandoff", "CancelHandoff", "AbandonNode", "LimitHandoffs",
        }  # fmt: skip
        found = {kind.__name__ for kind in KINDS}
        self.assertEqual(found - {kind.__name__ for kind in levels.NEEDS}, first)

    def test_fields_never_change(self) -> None:
        """Every field is written, a default as well: an older program could decode none of them."""
        found = {kind.__name__: len(kind.__struct_fields__) for kind in KINDS}
        self.assertEqual(
            found,
            {
                "Put": 2,
                "Delete": 1,
                "Cas": 4,
                "Txn": 3,
                "Grant": 1,
                "KeepAlive": 1,
                "Revoke": 1,
                "Expire": 2,
                "Once": 2,
                "SetSize": 3,
                "AddNode": 3,
                "RemoveNode": 1,
                "CommitPlan": 3,
                "JoinRing": 6,
                "BeginHandoff": 2,
                "FinishHandoff": 3,
                "CancelHandoff": 3,
                "AbandonNode": 1,
                "LimitHandoffs": 2,
                "AddToken": 6,
                "RemoveToken": 2,
                "RecoverToken": 2,
            },
        )
        parts = {kind.__name__: len(kind.__struct_fields__) for kind in (Compare, PutOp, Joining)}
        self.assertEqual(parts, {"Compare": 4, "PutOp": 3, "Joining": 3})


class UpgradeTestCase(SynchronousTestCase):
    """A leader of a cluster that was founded by an older program."""

    def setUp(self) -> None:
        # As long as this is there, the leader's program knows nothing of levels to raise.
        self.older = self.patch(Upgrades, "drive", lambda upgrades: None)
        self.bench = self.make(founded_at=FIRST)
        self.node = self.bench.node
        self.administration = self.node.administration

    def make(self, **options: Any) -> Bench:
        bench = make_bench(self.mktemp(), **options)
        self.addCleanup(bench.close)
        bench.settle()
        return bench

    def pass_time(self, *members: int) -> None:
        """Let ticks pass, and ``members`` acknowledge all they are sent."""
        for _ in range(6):
            self.bench.pass_time(0.1)
            self.bench.settle()
            sent, self.bench.mesh.sent = self.bench.mesh.sent, []
            for to, message in sent:
                if to in members and isinstance(message, Append):
                    last = message.prev_index + len(message.entries)
                    answer = AppendResponse(to=1, from_=to, term=message.term, index=last)
                    self.node.receive(to, [answer])
            self.bench.settle()

    def add(self, node_id: int, level: int) -> None:
        """Add a voter while the leader's program is an older one, too."""
        self.administration.greeted(hello(node_id, level=level))
        done = self.node.add_member(node_id, None)
        self.pass_time(node_id)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.node.upgrades.level, FIRST)
        self.older.restore()


class RaisingTests(UpgradeTestCase):
    """The level follows the oldest member."""

    def test_new_cluster(self) -> None:
        """A cluster has the level of its founder's program from its first entry on."""
        bench = self.make()
        self.assertEqual(bench.node.upgrades.level, LEVEL)
        answers = bench.submit(ADD)
        bench.settle()
        self.assertIsInstance(answers[0], Token)

    def test_alone(self) -> None:
        """A cluster of one is at the new level as soon as its program is."""
        self.older.restore()
        self.pass_time()
        self.assertEqual(self.node.upgrades.level, LEVEL)
        self.assertEqual(self.node.status()["feature_level_waits_for"], [])

    def test_stays_for_the_oldest(self) -> None:
        """While one member is older, newer commands are refused, and older ones are taken."""
        self.add(2, FIRST)
        self.pass_time(2)
        self.assertEqual(self.node.upgrades.level, FIRST)
        (refused,) = self.bench.submit(ADD)
        self.assertIsInstance(refused, PreconditionFailed)
        self.assertIn("waits for 2", str(refused))
        answers = self.bench.submit(Put("a", "b"))
        self.pass_time(2)
        self.assertEqual(answers, [Old(None)])

    def test_raised_when_all_are_upgraded(self) -> None:
        """Once the last member says that it can, the level rises, by an entry of the log."""
        self.add(2, FIRST)
        self.administration.greeted(hello(2))
        before = self.node.raft.commit
        self.pass_time(2)
        self.assertEqual(self.node.upgrades.level, LEVEL)
        self.assertEqual(self.node.raft.commit, before + 1)
        answers = self.bench.submit(ADD)
        self.pass_time(2)
        self.assertIsInstance(answers[0], Token)

    def test_learner_counts(self) -> None:
        """A learner has the log, too: it must be able to read it."""
        self.administration.greeted(hello(2, level=FIRST))
        self.node.add_member(2, None).addErrback(lambda failure: None)
        self.pass_time()
        self.assertEqual(self.node.raft.conf_state.learners, (2,))
        self.older.restore()
        self.pass_time()
        self.assertEqual(self.node.upgrades.level, FIRST)

    def test_member_that_is_away(self) -> None:
        """What a member that is not connected can do is unknown, whatever it said before."""
        self.add(2, FIRST)
        self.administration.greeted(hello(2))
        self.bench.mesh.away.add(2)
        self.pass_time(2)
        self.assertEqual(self.node.upgrades.level, FIRST)
        self.assertEqual(self.node.status()["feature_level_waits_for"], [2])
        shown = {each["id"]: each["feature_level"] for each in self.node.status()["members"]}
        self.assertEqual(shown, {1: LEVEL, 2: None})

    def test_old_stranger_is_let_go(self) -> None:
        """A node that is too old now, and was connected before, has to say hello anew."""
        self.administration.greeted(hello(7, level=FIRST))
        self.administration.greeted(hello(8))
        self.older.restore()
        self.pass_time()
        self.assertEqual(self.bench.mesh.renewed, [7])


class RefusalTests(UpgradeTestCase):
    """A cluster that has risen."""

    def setUp(self) -> None:
        super().setUp()
        self.older.restore()
        self.pass_time()

    def test_old_program_is_refused(self) -> None:
        """An older program is refused at its hello, and told what to do."""
        refusal = self.administration.check(hello(2, level=FIRST))
        assert refusal is not None
        self.assertEqual(refusal.code, "level")
        self.assertIn("start the newer uring", refusal.reason)
        self.assertIsNone(self.administration.check(hello(2)))
        self.assertIsNone(self.administration.check(hello(2, level=LEVEL + 1)))

    def test_program_that_says_nothing(self) -> None:
        """A hello from before there were levels is one of the first."""
        whole = msgspec.msgpack.decode(msgspec.msgpack.encode(hello(2)))
        old = msgspec.msgpack.decode(msgspec.msgpack.encode(whole[:-2]), type=type(hello(2)))
        refusal = self.administration.check(old)
        assert refusal is not None
        self.assertEqual(refusal.code, "level")

    def test_old_program_is_not_added(self) -> None:
        """A node that said hello before the level rose is not added any more."""
        self.administration.greeted(hello(2, level=FIRST))
        done = self.node.add_member(2, None)
        self.bench.settle()
        self.failureResultOf(done, Conflict)


class OldProgramTests(SynchronousTestCase):
    """A program that meets what a newer one has left."""

    def test_entry_that_raises_the_level(self) -> None:
        """It stops before it applies that entry; a newer program goes on where it stood."""
        path = self.mktemp()
        bench = make_bench(path, level=FIRST)
        bench.settle()
        (reason,) = bench.stopped
        self.assertIn("start the newer uring", reason)
        self.assertEqual(bench.directory.state.applied_index, 0)
        bench.close()
        newer = make_bench(path)
        self.addCleanup(newer.close)
        newer.settle()
        self.assertEqual(newer.node.upgrades.level, LEVEL)
        self.assertTrue(newer.node.raft.is_leader)

    def test_directory(self) -> None:
        """It does not start with the data of a cluster that is beyond it."""
        path = self.mktemp()
        bench = make_bench(path)
        bench.settle()
        bench.close()
        directory = open_directory(path, 1)
        self.addCleanup(directory.close)
        require_level(directory)
        self.patch(upgrades, "LEVEL", FIRST)
        text = str(self.assertRaises(ProgramTooOld, require_level, directory))
        self.assertIn(path, text)
        self.assertIn("start the newer uring", text)

    def test_recovery(self) -> None:
        """Who recovers a survivor keeps the level that its log has, and needs a program for it."""
        path = Path(self.mktemp())
        directory = open_directory(path, 1)
        directory.set_cluster_id(b"c" * 16)
        change = ConfChange(
            changes=(ConfChangeSingle(ConfChangeKind.UPDATE_NODE, 1),),
            context=encode_member(1, Member("127.0.0.1:8081"), LEVEL),
        )
        entry = seal(1, 1, EntryKind.CONF_CHANGE_V2, encode_conf_change(change))
        batch = directory.log.prepare(HardState(term=1), [entry])
        batch.write()
        batch.done()
        self.patch(upgrades, "LEVEL", FIRST)
        self.assertRaises(ProgramTooOld, recover, directory, "127.0.0.1:8081")
        self.assertEqual(directory.state.applied_index, 0)
        self.patch(upgrades, "LEVEL", LEVEL)
        recover(directory, "127.0.0.1:8081")
        self.assertEqual(directory.state.level, LEVEL)
        directory.close()
