"""Membership as operators meet it, and who may talk to a node."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import make_bench
from uring.errors import Conflict, NotFound, OutcomeUnknown, StillLearning, Unavailable
from uring.machines.commands import Old, Put
from uring.machines.levels import LEVEL
from uring.members import Member, decode_member, encode_member, load_member
from uring.raft.messages import Append, AppendResponse, HeartbeatResponse
from uring.wire.envelopes import AdminReply, AdminRequest, Announce
from uring.wire.hello import Hello


def hello(node_id: int, **changes: Any) -> Hello:
    """Return the hello of a node of the bench's cluster."""
    fields: dict[str, Any] = {
        "version": 1,
        "cluster_id": b"c" * 16,
        "node_id": node_id,
        "instance_id": bytes([node_id]) * 16,
        "address": f"127.0.0.1:808{node_id}",
        "level": LEVEL,
    }
    return Hello(**{**fields, **changes})


class MemberTests(SynchronousTestCase):
    """What is kept of a member."""

    def test_round_trips(self) -> None:
        """A member survives the state's line and the log's context."""
        for member in (Member("h:1"), Member("[::1]:8080", b"i" * 16)):
            self.assertEqual(load_member(member.line()), member)
            for level in (0, 3):
                found = decode_member(encode_member(7, member, level))
                self.assertEqual(found, (7, member, level))


class AdministrationTestCase(SynchronousTestCase):
    """A leader of one."""

    def setUp(self) -> None:
        self.bench = make_bench(self.mktemp())
        self.addCleanup(self.bench.close)
        self.bench.settle()
        self.administration = self.bench.node.administration

    def catch_up(self, *node_ids: int) -> None:
        """Let these nodes acknowledge everything that they were sent."""
        for _ in range(5):
            sent, self.bench.mesh.sent = self.bench.mesh.sent, []
            for to, message in sent:
                if to in node_ids and isinstance(message, Append):
                    last = message.prev_index + len(message.entries)
                    answer = AppendResponse(to=1, from_=to, term=message.term, index=last)
                    self.bench.node.receive(to, [answer])
            self.bench.settle()
            self.bench.pass_time(0.1)
            self.bench.settle()

    def add(self, node_id: int) -> None:
        self.administration.greeted(hello(node_id))
        done = self.bench.node.add_member(node_id, None)
        self.bench.settle()
        self.catch_up(*range(2, node_id + 1))
        self.assertIsNone(self.successResultOf(done))

    def pending(self, deferred: Deferred[None]) -> None:
        """Check that there is no answer yet; that of the node's end is of no interest."""
        self.assertNoResult(deferred)
        deferred.addErrback(lambda failure: None)

    def refusal(self, deferred: Deferred[None]) -> str:
        return str(self.failureResultOf(deferred).value)


class AddTests(AdministrationTestCase):
    """POST /node/{id}."""

    def test_unknown_address_is_a_conflict(self) -> None:
        """A node that nobody has met and whose address is not given cannot be added."""
        done = self.bench.node.add_member(2, None)
        self.bench.settle()
        failure = self.failureResultOf(done, Conflict)
        self.assertIn("--peer", str(failure.value))
        self.assertIn('{"address": "host:port"}', str(failure.value))

    def test_newcomer_learns_before_it_votes(self) -> None:
        """A newcomer is a learner until it has caught up; then the request is answered."""
        self.administration.greeted(hello(2))
        done = self.bench.node.add_member(2, None)
        self.bench.settle()
        conf = self.bench.node.raft.conf_state
        self.assertEqual((conf.voters, conf.learners), ((1,), (2,)))
        self.assertNoResult(done)
        self.catch_up(2)
        self.assertEqual(self.bench.node.raft.conf_state.voters, (1, 2))
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.bench.node.members(), {1: "127.0.0.1:8081", 2: "127.0.0.1:8082"})

    def test_twice_at_once_is_once(self) -> None:
        """Two requests for the same node share one change, and both are answered."""
        self.administration.greeted(hello(2))
        both = [self.bench.node.add_member(2, None) for _ in range(2)]
        self.bench.settle()
        before = self.bench.node.status()["last_index"]
        self.catch_up(2)
        for done in both:
            self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.bench.node.status()["last_index"], before + 1)

    def test_member_already(self) -> None:
        """Adding a member again succeeds at once and changes nothing."""
        before = self.bench.node.status()["last_index"]
        self.assertIsNone(self.successResultOf(self.bench.node.add_member(1, None)))
        self.assertEqual(self.bench.node.status()["last_index"], before)

    def test_address_of_another_member(self) -> None:
        """Two members cannot have one address."""
        text = self.refusal(self.bench.node.add_member(2, "127.0.0.1:8081"))
        self.assertIn("belongs to member 1", text)

    def test_newcomer_that_does_not_catch_up(self) -> None:
        """When the time is over the answer says that the learner will be promoted by itself."""
        done = self.bench.node.add_member(2, "127.0.0.1:8082")
        for _ in range(120):
            self.bench.pass_time(0.05)
            self.bench.settle()
        self.assertIn("learner", str(self.failureResultOf(done, Unavailable).value))
        self.assertEqual(self.bench.node.raft.conf_state.learners, (2,))
        self.catch_up(2)
        self.assertEqual(self.bench.node.raft.conf_state.voters, (1, 2))

    def test_newcomer_that_is_not_there(self) -> None:
        """Where nobody listens nobody waits for more than an election time-out."""
        self.bench.mesh.away = {2}
        done = self.bench.node.add_member(2, "127.0.0.1:8082")
        for _ in range(30):
            self.bench.pass_time(0.05)
            self.bench.settle()
        self.failureResultOf(done, StillLearning)
        self.assertEqual(self.bench.node.raft.conf_state.learners, (2,))

    def test_newcomer_met_by_another_member(self) -> None:
        """A follower tells the leader whom it has met, so that any node can be asked."""
        announce = Announce(to=1, from_=2, node_id=3, address="127.0.0.1:8083", instance=b"3" * 16)
        self.bench.node.receive(2, [announce])
        done = self.bench.node.add_member(3, None)
        self.bench.settle()
        self.pending(done)
        self.assertEqual(self.bench.node.members()[3], "127.0.0.1:8083")

    def test_request_of_another_node(self) -> None:
        """What another node asks for and cannot be done is answered with the reason."""
        request = AdminRequest(to=1, from_=2, request_id=9, action="add", node_id=3, address="")
        self.bench.node.receive(2, [request])
        self.bench.settle()
        replies = [each for _, each in self.bench.mesh.sent if isinstance(each, AdminReply)]
        self.assertEqual(
            [(each.action, each.node_id, each.code) for each in replies], [("add", 3, 409)]
        )


class RemoveTests(AdministrationTestCase):
    """DELETE /node/{id} and POST /leader/{id}."""

    def test_only_voter(self) -> None:
        """The only voter cannot be removed."""
        self.assertIn("only voter", self.refusal(self.bench.node.remove_member(1)))

    def test_stranger(self) -> None:
        """What is no member cannot be removed, nor be made the leader."""
        self.failureResultOf(self.bench.node.remove_member(9), NotFound)
        self.failureResultOf(self.bench.node.transfer_leadership(9), NotFound)

    def test_removal(self) -> None:
        """A removed member is gone from the configuration and from the addresses."""
        self.add(2)
        done = self.bench.node.remove_member(2)
        self.bench.settle()
        self.catch_up(2)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.bench.node.members(), {1: "127.0.0.1:8081"})
        self.assertEqual(self.bench.mesh.members, {1: "127.0.0.1:8081"})

    def test_removal_just_after_a_check_of_the_quorum(self) -> None:
        """That the leader has just begun to count anew who is active is no reason to refuse."""
        self.add(2)
        self.add(3)
        for progress in self.bench.node.raft._state.progress.values():
            progress.recent_active = False
        done = self.bench.node.remove_member(3)
        self.assertNoResult(done)
        self.bench.pass_time(0.1)
        self.catch_up(2, 3)
        term = self.bench.node.raft.term
        self.bench.node.receive(2, [HeartbeatResponse(to=1, from_=2, term=term)])
        self.bench.pass_time(0.1)
        self.bench.settle()
        self.catch_up(2, 3)
        self.assertIsNone(self.successResultOf(done))

    def test_removal_that_is_not_durable_yet(self) -> None:
        """A removal that is in force and not durable yet is waited for, not taken for unknown."""
        self.add(2)
        done = self.bench.node.remove_member(2)
        while 2 in self.bench.node.raft.conf_state.voters:
            self.bench.clock.advance(0)
            self.bench.disk.run_all()
            for to, message in self.bench.mesh.sent:
                if isinstance(message, Append):
                    last = message.prev_index + len(message.entries)
                    answer = AppendResponse(to=1, from_=to, term=message.term, index=last)
                    self.bench.node.receive(to, [answer])
        request = AdminRequest(to=1, from_=3, request_id=9, action="remove", node_id=2, address="")
        self.bench.node.receive(3, [request])
        self.bench.pass_time(0.2)
        replies = [each for _, each in self.bench.mesh.sent if isinstance(each, AdminReply)]
        self.assertEqual(replies, [])
        self.bench.settle()
        self.bench.pass_time(0.1)
        self.assertIsNone(self.successResultOf(done))

    def test_removal_survives_a_restart(self) -> None:
        """When a removal is answered, the node knows of it after a loss of power, too."""
        self.add(2)
        done = self.bench.node.remove_member(2)
        for _ in range(50):
            self.bench.settle()
            self.catch_up(2)
        self.assertIsNone(self.successResultOf(done))
        index = self.bench.node.applying.conf_index
        self.assertGreaterEqual(self.bench.directory.log.hard_state.commit, index)

    def test_transfer_to_a_silent_voter_was_begun_again_and_again(self) -> None:
        """It is tried once: a leader that hands over takes no writes, and there is no end to it."""
        self.add(2)
        self.add(3)
        done = self.bench.node.transfer_leadership(3)
        written = self.bench.submit(Put("beep", "boop"))
        for _ in range(30):  # 1.5 s: longer than an election time-out, and shorter than two
            self.bench.pass_time(0.05)
            term = self.bench.node.raft.term
            self.bench.node.receive(2, [HeartbeatResponse(to=1, from_=2, term=term)])
            self.bench.settle()
        self.failureResultOf(done, OutcomeUnknown)
        self.catch_up(2)
        self.assertEqual(written, [Old(None)])

    def test_removal_that_would_leave_no_quorum(self) -> None:
        """A live voter is not removed if the rest could not decide anything; a forced one is."""
        self.add(2)
        self.add(3)
        # Node 3 falls silent: at the next check of the quorum it does not count as alive.
        for _ in range(60):
            self.bench.pass_time(0.05)
            term = self.bench.node.raft.term
            self.bench.node.receive(2, [HeartbeatResponse(to=1, from_=2, term=term)])
            self.bench.settle()
        done = self.bench.node.remove_member(2)
        self.assertNoResult(done)
        self.bench.pass_time(1.1)
        self.assertIn("?force=true", self.refusal(done))
        self.pending(self.bench.node.remove_member(2, force=True))


class CheckTests(AdministrationTestCase):
    """Whose hello is accepted."""

    def code(self, **changes: Any) -> str:
        node_id = changes.pop("node_id", 2)
        refusal = self.administration.check(hello(node_id, **changes))
        return "" if refusal is None else refusal.code

    def test_strangers(self) -> None:
        """A node of no cluster, or of this one, is welcome; one of another cluster is not."""
        self.assertEqual(self.code(cluster_id=b""), "")
        self.assertEqual(self.code(), "")
        self.assertEqual(self.code(cluster_id=b"d" * 16), "cluster")

    def test_taken_id(self) -> None:
        """The node itself, and another node under its id, are told apart."""
        own = self.bench.directory.identity.instance_id
        self.assertEqual(self.code(node_id=1, instance_id=own), "self")
        self.assertEqual(self.code(node_id=1), "id")

    def test_member_with_an_emptied_disk(self) -> None:
        """A member is refused with another instance, until it is removed and added again."""
        self.add(2)
        self.assertEqual(self.code(), "")
        wiped = evolve_hello(hello(2), instance_id=b"w" * 16)
        refusal = self.administration.check(wiped)
        assert refusal is not None
        self.assertEqual(refusal.code, "instance")
        self.assertIn("DELETE /node/2", refusal.reason)

    def test_wiped_member_is_added_as_what_it_is_now(self) -> None:
        """Added again after its removal, a wiped member is taken with its new disk, and only so."""
        self.add(2)
        wiped = evolve_hello(hello(2), instance_id=b"w" * 16)
        self.bench.mesh.away.add(2)
        self.assertIsNotNone(self.administration.check(wiped))
        removed = self.bench.node.remove_member(2)
        self.bench.settle()
        self.catch_up(2)
        self.assertIsNone(self.successResultOf(removed))
        self.pending(self.bench.node.add_member(2, None))
        self.bench.settle()
        self.assertIsNone(self.administration.check(wiped))
        self.bench.mesh.away.clear()
        self.administration.greeted(wiped)
        self.catch_up(2)
        self.assertIsNone(self.administration.check(wiped))
        self.assertIsNotNone(self.administration.check(hello(2)))

    def test_member_that_knows_more(self) -> None:
        """A node that has applied more than this one may have been added again meanwhile."""
        self.add(2)
        applied = self.bench.node.status()["applied_index"] + 1
        self.assertEqual(self.code(instance_id=b"w" * 16, applied=applied), "")

    def test_member_that_moved(self) -> None:
        """A known instance at a new address is accepted, and the new address is recorded."""
        self.add(2)
        self.administration.greeted(hello(2, address="127.0.0.1:9082"))
        self.bench.pass_time(0.1)
        self.bench.settle()
        self.catch_up(2)
        self.assertEqual(self.bench.node.members()[2], "127.0.0.1:9082")


def evolve_hello(original: Hello, **changes: Any) -> Hello:
    """Return ``original`` with some fields changed."""
    fields = {name: getattr(original, name) for name in original.__struct_fields__}
    return Hello(**{**fields, **changes})
