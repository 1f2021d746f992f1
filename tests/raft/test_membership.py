"""Membership changes: paper, section 6; thesis, chapter 4."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench
from tests.support.cluster import Cluster
from uring.raft import ConfChangeError, InvariantViolation, ProposalDropped
from uring.raft.changer import Changer, Configuration, restored
from uring.raft.membership import decode_conf_change, encode_conf_change
from uring.raft.messages import Append, AppendResponse, Propose
from uring.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfState,
    Entry,
    EntryKind,
    Role,
)

ADD = ConfChangeKind.ADD_NODE
LEARN = ConfChangeKind.ADD_LEARNER
REMOVE = ConfChangeKind.REMOVE_NODE
AUTO = ConfChangeTransition.AUTO
EXPLICIT = ConfChangeTransition.JOINT_EXPLICIT


def change(
    *steps: tuple[ConfChangeKind, int], transition: ConfChangeTransition = AUTO
) -> ConfChange:
    return ConfChange(tuple(ConfChangeSingle(kind, node) for kind, node in steps), transition)


def voters_of(cluster: Cluster) -> list[tuple[int, ...]]:
    return [host.raw.conf_state.voters for host in cluster.hosts.values()]


class OneAtATime(SynchronousTestCase):
    """Thesis 4.1."""

    def test_add_and_remove(self) -> None:
        """A server is added, gets the whole log, and another one is removed."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.propose(1, b"before")
        cluster.add_host(4)
        cluster[1].raw.propose_conf_change(change((ADD, 4)))
        cluster.settle()
        self.assertEqual([(1, 2, 3, 4)] * 4, voters_of(cluster))
        cluster.propose(1, b"after")
        self.assertEqual([b"before", b"after"], cluster[4].state)
        cluster[1].raw.propose_conf_change(change((REMOVE, 2)))
        cluster.settle()
        self.assertEqual((1, 3, 4), cluster[4].raw.conf_state.voters)
        self.assertNotIn(2, cluster[1].raw.status().progress)

    def test_one_change_under_way(self) -> None:
        """A second change is refused until the first one is applied; it becomes an empty entry."""
        bench = Bench().lead()
        bench.step(AppendResponse(to=1, from_=2, term=1, index=1))
        bench.take()
        bench.raw.propose_conf_change(change((ADD, 4)))
        self.assertTrue(bench.raw.conf_change_pending)
        bench.raw.propose_conf_change(change((ADD, 5)))
        bench.take()
        first, second = bench.storage.entries(2, 4, 1 << 20)
        self.assertEqual(
            (EntryKind.CONF_CHANGE_V2, EntryKind.NORMAL, b""),
            (first.kind, second.kind, second.data),
        )
        bench.step(AppendResponse(to=1, from_=2, term=1, index=3))
        bench.take()
        self.assertFalse(bench.raw.conf_change_pending)
        self.assertEqual((1, 2, 3, 4), bench.raw.conf_state.voters)

    def test_new_leader_waits_with_changes(self) -> None:
        """A new leader proposes no change before it has applied what it found in its log."""
        bench = Bench(terms=(1,), term=1).lead()
        bench.raw.propose_conf_change(change((ADD, 4)))
        bench.take()
        self.assertEqual(EntryKind.NORMAL, bench.storage.entries(3, 4, 1 << 20)[0].kind)

    def test_validation_can_be_switched_off(self) -> None:
        """With validation off a second change takes its place in the log."""
        bench = Bench(disable_conf_change_validation=True).lead()
        bench.raw.propose_conf_change(change((ADD, 4)))
        bench.raw.propose_conf_change(change((ADD, 5)))
        bench.take()
        kinds = [entry.kind for entry in bench.storage.entries(2, 4, 1 << 20)]
        self.assertEqual([EntryKind.CONF_CHANGE_V2] * 2, kinds)

    def test_removal_commits_what_a_smaller_majority_has(self) -> None:
        """Entries that wait for a server are committed when it is removed."""
        bench = Bench().lead()
        bench.step(AppendResponse(to=1, from_=2, term=1, index=1))
        bench.take()
        bench.raw.propose_conf_change(change((REMOVE, 3)))
        bench.take()
        bench.step(AppendResponse(to=1, from_=2, term=1, index=2))
        last = bench.raw.propose(b"x")
        bench.take()
        self.assertEqual(2, bench.raw.commit)
        bench.raw.apply_conf_change(change((REMOVE, 2)))
        self.assertEqual(last, bench.raw.commit)

    def test_removed_leader_manages_without_itself(self) -> None:
        """A leader that is not part of the new configuration does not count itself."""
        bench = Bench().lead()
        bench.raw.apply_conf_change(change((REMOVE, 1)))
        bench.take()
        bench.step(AppendResponse(to=1, from_=2, term=1, index=1))
        self.assertEqual(0, bench.raw.commit)
        bench.step(AppendResponse(to=1, from_=3, term=1, index=1))
        self.assertEqual(1, bench.raw.commit)
        self.assertRaises(ProposalDropped, bench.raw.propose, b"x")

    def test_removed_leader_steps_down(self) -> None:
        """A leader that is removed, or made a learner, steps down once that is committed."""
        for kind in (REMOVE, LEARN):
            cluster = Cluster(3, step_down_on_removal=True)
            cluster.elect(1)
            cluster[1].raw.propose_conf_change(change((kind, 1)))
            cluster.settle()
            self.assertEqual(Role.FOLLOWER, cluster[1].role)
            cluster.elect(2)

    def test_rejoin(self) -> None:
        """A server that was removed can be added again."""
        cluster = Cluster(3)
        cluster.elect(1)
        for step in ((REMOVE, 3), (ADD, 3)):
            cluster[1].raw.propose_conf_change(change(step))
            cluster.settle()
            cluster.tick(1)
            cluster.settle()
        cluster.propose(1, b"x")
        self.assertEqual([b"x"], cluster[3].state)

    def test_impossible_change_stops_the_node(self) -> None:
        """A change in the log that the configuration does not allow cannot be applied."""
        bench = Bench(voters=(1,))
        self.assertRaises(ConfChangeError, bench.raw.apply_conf_change, change((REMOVE, 1)))
        self.assertRaises(ConfChangeError, bench.raw.apply_conf_change, ConfChange())
        self.assertEqual((1,), bench.raw.conf_state.voters)

    def test_malformed_forwarded_change(self) -> None:
        """A forwarded change that cannot be decoded is refused and is in nobody's log."""
        bench = Bench().lead()
        entry = Entry(0, 0, EntryKind.CONF_CHANGE_V2, b"\xff")
        refused = bench.step(Propose(to=1, from_=2, entries=(entry,)))
        self.assertIsInstance(refused, ProposalDropped)
        self.assertEqual(1, bench.raw.last_index)


class Learners(SynchronousTestCase):
    """Thesis 4.2.1: servers that are sent the log and do not count."""

    def test_learner_gets_log_and_does_not_count(self) -> None:
        """A learner is sent everything, and no majority includes it."""
        cluster = Cluster(3, ConfState(voters=(1, 2), learners=(3,)))
        cluster.elect(1)
        cluster.propose(1, b"x")
        self.assertEqual([b"x"], cluster[3].state)
        cluster.isolate(2)
        commit = cluster[1].raw.commit
        cluster.propose(1, b"y")
        self.assertEqual(commit, cluster[1].raw.commit)

    def test_promotion_and_demotion(self) -> None:
        """A learner can be made a voter and a voter a learner, without losing its progress."""
        cluster = Cluster(3, ConfState(voters=(1, 2), learners=(3,)))
        cluster.elect(1)
        match = cluster[1].raw.status().progress[3].match
        cluster[1].raw.propose_conf_change(change((ADD, 3)))
        cluster.settle()
        self.assertEqual([(1, 2, 3)] * 3, voters_of(cluster))
        self.assertGreater(cluster[1].raw.status().progress[3].match, match)
        cluster.elect(3)
        cluster[3].raw.propose_conf_change(change((LEARN, 1)))
        cluster.settle()
        self.assertEqual((1,), cluster[2].raw.conf_state.learners)


class Joint(SynchronousTestCase):
    """Paper, section 6: any change at all, through a configuration of two majorities."""

    def test_leaves_by_itself(self) -> None:
        """A change of several servers passes through a joint configuration that ends by itself."""
        cluster = Cluster(3)
        cluster.elect(1)
        for node in (4, 5):
            cluster.add_host(node)
        steps = ((REMOVE, 2), (REMOVE, 3), (ADD, 4), (ADD, 5))
        cluster[1].raw.propose_conf_change(change(*steps))
        cluster.settle()
        conf_state = cluster[1].raw.conf_state
        self.assertEqual(ConfState(voters=(1, 4, 5)), conf_state)
        kinds = [entry.kind for entry in cluster[1].applied if entry.kind]
        self.assertEqual([EntryKind.CONF_CHANGE_V2] * 2, kinds)

    def test_entries_need_both_majorities(self) -> None:
        """While joint, entries are committed by separate majorities of both configurations."""
        joint = ConfState(voters=(1, 2, 3), voters_outgoing=(1, 4, 5))
        bench = Bench(conf_state=joint).lead((2, 4))
        bench.step(AppendResponse(to=1, from_=2, term=1, index=1))
        bench.step(AppendResponse(to=1, from_=3, term=1, index=1))
        self.assertEqual(0, bench.raw.commit)
        bench.step(AppendResponse(to=1, from_=5, term=1, index=1))
        self.assertEqual(1, bench.raw.commit)

    def test_explicit_transition_waits(self) -> None:
        """An explicit transition stays joint, refuses other changes, and leaves when told to."""
        cluster = Cluster(4, ConfState(voters=(1, 2, 3)))
        cluster.elect(1)
        cluster[1].raw.propose_conf_change(change((ADD, 4), transition=EXPLICIT))
        cluster.settle()
        self.assertEqual((1, 2, 3), cluster[1].raw.conf_state.voters_outgoing)
        cluster[1].raw.propose_conf_change(change((REMOVE, 2)))
        cluster.settle()
        self.assertEqual((1, 2, 3), cluster[1].raw.conf_state.voters_outgoing)
        cluster[1].raw.propose_conf_change(ConfChange())
        cluster.settle()
        self.assertEqual(ConfState(voters=(1, 2, 3, 4)), cluster[4].raw.conf_state)

    def test_nothing_to_leave(self) -> None:
        """Outside a joint configuration there is nothing to leave: the entry is empty."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster[1].raw.propose_conf_change(ConfChange())
        cluster.settle()
        self.assertEqual(EntryKind.NORMAL, cluster[1].applied[-1].kind)

    def test_new_leader_leaves(self) -> None:
        """If the leader fails while joint, the next one leaves the joint configuration."""
        cluster = Cluster(5, ConfState(voters=(1, 2, 3)))
        cluster.elect(1)
        cluster[1].raw.propose_conf_change(change((ADD, 4), (LEARN, 5)))
        cluster.drop = lambda message: (
            isinstance(message, Append)
            and any(entry.kind and not entry.data for entry in message.entries)
        )
        cluster.settle()
        cluster.tick(1)
        cluster.settle()
        self.assertNotEqual((), cluster[3].raw.conf_state.voters_outgoing)
        cluster.isolate(1)
        cluster.drop = lambda message: False
        cluster.elect(3)
        self.assertEqual((), cluster[3].raw.conf_state.voters_outgoing)
        self.assertEqual((5,), cluster[3].raw.conf_state.learners)

    def test_survives_restart(self) -> None:
        """A node that restarts in the middle of a joint configuration is joint again."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster[1].raw.propose_conf_change(change((LEARN, 3), transition=EXPLICIT))
        cluster.settle()
        for compacted in (False, True):
            if compacted:
                cluster[2].compact()
            cluster[2].start()
            cluster.collect(2)
            self.assertEqual(
                ((1, 2), (1, 2, 3), (3,)),
                (
                    cluster[2].raw.conf_state.voters,
                    cluster[2].raw.conf_state.voters_outgoing,
                    cluster[2].raw.conf_state.learners_next,
                ),
            )


def changers(conf_state: ConfState) -> Changer:
    changer = Changer(Configuration(), {}, 1, 1, 1)
    changer.config, changer.progress = restored(changer, conf_state)
    return changer


IDS = st.integers(1, 6)
STEPS = st.lists(st.tuples(st.sampled_from(list(ConfChangeKind)), IDS), max_size=5)


class Arithmetic(SynchronousTestCase):
    """What holds for all changes."""

    @given(st.sets(IDS, min_size=1), STEPS, st.booleans())
    def test_joint_changes(
        self, voters: set[int], steps: list[tuple[ConfChangeKind, int]], auto_leave: bool
    ) -> None:
        """Entering and leaving a joint configuration keeps all its parts apart and restorable."""
        changer = changers(ConfState(voters=tuple(sorted(voters))))
        try:
            config, progress = changer.enter_joint(auto_leave, change(*steps).changes)
        except ConfChangeError as error:
            self.assertEqual("removed all voters", str(error))
            return
        self.assertEqual(voters, config.outgoing)
        self.assertEqual(config.conf_state(), changers(config.conf_state()).config.conf_state())
        changer.config, changer.progress = config, progress
        left, progress = changer.leave_joint()
        self.assertFalse(left.is_joint or left.auto_leave or left.learners_next)
        self.assertEqual(config.incoming, left.incoming)
        self.assertEqual(config.learners | config.learners_next, left.learners)
        self.assertEqual(left.incoming | left.learners, set(progress))
        self.assertEqual(left.learners, {n for n, each in progress.items() if each.is_learner})

    @given(st.sets(IDS, min_size=1), STEPS)
    def test_simple_changes_overlap(
        self, voters: set[int], steps: list[tuple[ConfChangeKind, int]]
    ) -> None:
        """A simple change moves one voter at most, so that any two majorities overlap."""
        changer = changers(ConfState(voters=tuple(sorted(voters))))
        before = changer.config.copy()
        try:
            config, _ = changer.simple(change(*steps).changes)
        except ConfChangeError:
            self.assertEqual(before, changer.config)
        else:
            self.assertLessEqual(len(config.incoming ^ voters), 1)

    def test_configuration_without_progress(self) -> None:
        """A configuration whose members are not all tracked is not changed."""
        changer = Changer(Configuration(incoming={1}), {}, 1, 1, 1)
        self.assertRaises(ConfChangeError, changer.simple, ())

    def test_conf_state_that_cannot_be(self) -> None:
        """A node whose disk describes no possible configuration does not start."""
        for conf_state in (
            ConfState(voters=(1,), learners=(1,)),
            ConfState(voters=(1,), learners_next=(2,)),
            ConfState(voters=(1,), auto_leave=True),
            ConfState(learners=(1,)),
        ):
            self.assertRaises(ConfChangeError, Bench, conf_state=conf_state)


class Encoding(SynchronousTestCase):
    """How a change stands in the log."""

    @given(
        STEPS,
        st.sampled_from(list(ConfChangeTransition)),
        st.binary(max_size=20),
    )
    def test_round_trip(
        self,
        steps: list[tuple[ConfChangeKind, int]],
        transition: ConfChangeTransition,
        context: bytes,
    ) -> None:
        """What is written is read back, and leaving takes no byte."""
        written = ConfChange(change(*steps).changes, transition, context)
        data = encode_conf_change(written)
        self.assertEqual(written, decode_conf_change(data))
        self.assertEqual(written == ConfChange(), data == b"")

    @given(st.binary(min_size=1, max_size=40))
    def test_anything_else_is_refused(self, data: bytes) -> None:
        """Whatever is accepted is what would have been written."""
        try:
            read = decode_conf_change(data)
        except ValueError:
            return
        self.assertEqual(data, encode_conf_change(read))

    def test_malformed(self) -> None:
        """Truncated, unknown and needlessly long forms are refused."""
        data = encode_conf_change(change((ADD, 7)))
        for wrong in (data[:-1], b"\x02" + data[1:], b"\x01\x09" + data[2:], b"\x01\x00\x00\x00"):
            self.assertRaises(ValueError, decode_conf_change, wrong)

    def test_id_too_large(self) -> None:
        """A node id that does not fit is refused by the encoder."""
        self.assertRaises(ValueError, encode_conf_change, change((ADD, 2**64)))


class Alarms(SynchronousTestCase):
    """Disks that tell impossible things."""

    def test_applied_past_the_log(self) -> None:
        """A state machine that is ahead of its log means that the log was lost."""
        self.assertRaises(InvariantViolation, Bench, terms=(1, 1), applied=5)

    def test_commit_past_the_log(self) -> None:
        """A commit index past the end of the log means that the log was truncated."""
        self.assertRaises(InvariantViolation, Bench, terms=(1, 1), commit=3)

    def test_applied_past_commit_index(self) -> None:
        """What was applied was committed, even if the disk was not told before a crash."""
        bench = Bench(terms=(1, 1, 1), commit=1, applied=3)
        self.assertEqual(3, bench.raw.commit)
