"""The pump: the order of persisting, sending, applying and answering."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import ELECTION, TICK, Bench, make_bench
from tests.support.watching import Recorder
from uring import node
from uring.errors import OutcomeUnknown, Overloaded, Unavailable
from uring.machines.commands import Get, List, Old, Put
from uring.machines.proposal import Proposal, encode
from uring.members import Administration
from uring.node import ALONE_BYTES, Node
from uring.raft.messages import Append, Heartbeat
from uring.store.failures import StoreFailed
from uring.store.state import StateStore
from uring.watch import Watch
from uring.wire.envelopes import Forward, ForwardRefused, Report, SpaceReport


class NodeTestCase(SynchronousTestCase):
    """Makes nodes that are closed after the test."""

    def bench(self, **options: Any) -> Bench:
        bench = make_bench(self.mktemp(), **options)
        self.addCleanup(bench.close)
        return bench

    def leader(self, **options: Any) -> Bench:
        bench = self.bench(**options)
        bench.settle()
        self.assertEqual(bench.node.status()["role"], "Leader")
        return bench


class AnswerTests(NodeTestCase):
    """When a client is told what."""

    def test_founder_leads_without_waiting_for_a_time_out(self) -> None:
        """The only voter campaigns when it starts: no time has to pass before the first write."""
        bench = self.bench()
        bench.settle()
        answers = bench.submit(Put("beep", "boop"))
        bench.settle()
        self.assertEqual((answers, bench.clock.seconds()), ([Old(None)], 0.0))

    def test_nothing_is_answered_before_it_is_durable(self) -> None:
        """A put has no answer, and a read does not see it, until the log's write has finished."""
        bench = self.leader()
        answers = bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        bench.clock.advance(0)
        self.assertEqual(answers, [])
        self.assertEqual(bench.query(Get("beep"), stale=True), [None])
        bench.disk.run_one()
        bench.clock.advance(0)
        self.assertEqual(answers, [Old(None)])
        self.assertEqual(bench.query(Get("beep"), stale=True), ["boop"])

    def test_commands_of_one_turn_share_one_write(self) -> None:
        """However many commands come in one turn, the disk has one job."""
        bench = self.leader()
        answers = [bench.submit(Put(f"k{i}", "v")) for i in range(100)]
        bench.clock.advance(0)
        self.assertEqual(bench.disk.pending, 1)
        bench.settle()
        self.assertEqual(answers, [[Old(None)]] * 100)

    def test_commit_index_alone_is_no_write(self) -> None:
        """One put is one write: that it is committed is written with what comes next."""
        bench = self.leader()
        writes = []
        for number in range(10):
            bench.submit(Put(f"k{number}", "v"))
            bench.clock.advance(0)
            while bench.disk.pending:
                writes.append(bench.disk.pending)
                bench.disk.run_one()
                bench.clock.advance(0)
        self.assertEqual(writes, [1] * 10)

    def test_time_out_says_that_the_outcome_is_unknown(self) -> None:
        """A command that is not applied in time is answered by OutcomeUnknown, never as failed."""
        bench = self.leader(request_timeout=0.5)
        answers = bench.submit(Put("beep", "boop"))
        bench.pass_time(0.6)
        (answer,) = answers
        self.assertIsInstance(answer, OutcomeUnknown)
        self.assertIn("outcome unknown", str(answer))
        bench.settle()
        self.assertEqual(len(answers), 1)
        self.assertEqual(bench.query(Get("beep"), stale=True), ["boop"])

    def test_stranger_answers_at_once(self) -> None:
        """A node that is no member refuses commands and reads at once, and shows its status."""
        bench = self.bench(bootstrap=False)
        (answer,) = bench.submit(Put("beep", "boop"))
        self.assertIsInstance(answer, Unavailable)
        self.assertIn("POST /node/1", str(answer))
        self.assertIsInstance(bench.query(Get("beep"))[0], Unavailable)
        self.assertEqual(bench.query(Get("beep"), stale=True), [None])
        status = bench.node.status()
        self.assertEqual((status["members"], status["leader"]), ([], None))

    def test_bound_on_waiting_commands_has_an_answer(self) -> None:
        """Beyond the bound a command is refused as Overloaded; the others are not harmed."""
        bench = self.leader(waiting_commands=2)
        answers = [bench.submit(Put(f"k{i}", "v")) for i in range(3)]
        self.assertIsInstance(answers[2][0], Overloaded)
        bench.settle()
        self.assertEqual(answers[:2], [[Old(None)]] * 2)

    def test_together(self) -> None:
        """Commands and reads that come together are answered together, or all told why not."""
        bench = self.leader(waiting_commands=3)
        answers: list[Any] = []
        bench.node.submit_all([Put("a", "1"), Put("a", "2")], answers.append)
        bench.settle()
        bench.node.query_all([Get("a"), Get("b")], answers.append)
        bench.settle()
        self.assertEqual(answers, [[Old(None), Old("1")], ["2", None]])
        bench.node.query_all([Get("a")] * 4, answers.append)
        bench.settle()
        self.assertEqual(answers[2][:3], ["2"] * 3)
        self.assertIsInstance(answers[2][3], Overloaded)
        bench.node.query_all([Get("a")] * 2, answers.append)
        bench.node.stop()
        bench.node.query_all([Get("a")], answers.append)
        bench.node.submit_all([Put("a", "3")] * 3, answers.append)
        kinds = [[type(answer) for answer in each] for each in answers[3:]]
        self.assertEqual(kinds, [[Unavailable] * count for count in (2, 1, 3)])

    def test_stopping_answers_everything(self) -> None:
        """Whoever waits when the node stops is told so."""
        bench = self.leader()
        put = bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        late, read = bench.submit(Put("late", "v")), bench.query(Get("beep"))
        bench.node.stop()
        self.assertIsInstance(put[0], OutcomeUnknown)
        self.assertIsInstance(late[0], Unavailable)
        self.assertIsInstance(read[0], Unavailable)
        self.assertIsInstance(bench.submit(Put("beep", "boop"))[0], Unavailable)

    def test_restart_keeps_what_was_answered(self) -> None:
        """A new node on the same directory has every value that was answered for."""
        path = self.mktemp()
        bench = make_bench(path)
        bench.settle()
        answers = bench.submit(Put("beep", "boop"))
        bench.settle()
        bench.close()
        self.assertEqual(answers, [Old(None)])
        again = make_bench(path)
        self.addCleanup(again.close)
        again.settle()
        read = again.query(Get("beep"))
        again.settle()
        self.assertEqual(read, ["boop"])


class DiskTests(NodeTestCase):
    """What a disk that fails or hangs does to a node."""

    def test_failed_write_is_final(self) -> None:
        """After one failed write the node stops, says why, and has answered nothing."""
        bench = self.leader()
        answers = bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        bench.disk.fail_next(OSError("no space left on device"))
        bench.disk.run_one()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(len(bench.stopped), 1)
        self.assertIn("no space left", bench.stopped[0])
        self.assertEqual(answers, [])
        bench.pass_time(2 * ELECTION)
        self.assertEqual(bench.query(Get("beep"), stale=True), [None])

    def test_state_that_could_not_be_written_was_called_an_internal_error(self) -> None:
        """When what is committed cannot be written, the reason is that of the disk."""
        bench = self.leader()

        def full(*ignored: object) -> None:
            raise StoreFailed("no space left on device")

        self.patch(StateStore, "apply", full)
        answers = bench.submit(Put("beep", "boop"))
        bench.settle()
        self.assertEqual(len(self.flushLoggedErrors(StoreFailed)), 1)
        self.assertEqual((answers, bench.stopped), ([], ["StoreFailed: no space left on device"]))

    def test_store_that_failed_under_a_list_went_unnoticed(self) -> None:
        """A list writes what gathered; when that fails, an idle node stops as well."""
        bench = self.leader()
        bench.submit(Put("beep", "boop"))
        bench.settle()

        def full(state: StateStore, generation: object) -> None:
            raise state.health.fail(OSError("no space left on device"))

        self.patch(StateStore, "_write", full)
        self.assertRaises(StoreFailed, bench.query, List("", "", 10, 1000), stale=True)
        self.assertEqual(bench.stopped, [])
        bench.pass_time(2 * TICK)
        self.assertEqual(len(self.flushLoggedErrors(StoreFailed)), 1)
        self.assertEqual(len(bench.stopped), 1)
        self.assertIn("no space left on device", bench.stopped[0])

    def test_failed_leader_kept_its_cluster_waiting(self) -> None:
        """A leader that has failed ends at once; it does not try to hand over first."""
        bench = self.leader()
        self.patch(Administration, "successor", lambda self: 2)
        self.patch(Administration, "transfer", lambda self, node_id: Deferred())
        self.assertNoResult(bench.node.hand_over())
        bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        bench.disk.fail_next(OSError("no space left on device"))
        bench.disk.run_one()
        self.flushLoggedErrors(OSError)
        self.assertIsNone(self.successResultOf(bench.node.hand_over()))

    def test_small_write_to_a_quick_disk_does_not_wait_for_the_thread(self) -> None:
        """The turn that proposes it syncs and answers it; a large one is the thread's."""
        bench = self.leader()
        bench.disk.is_quick = True
        answers = bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        self.assertEqual((answers, bench.disk.pending), ([Old(None)], 0))
        self.assertEqual(bench.directory.log.last_index(), bench.node.raft.commit)
        large = bench.submit(Put("beep", "x" * ALONE_BYTES))
        bench.clock.advance(0)
        self.assertEqual((large, bench.disk.pending), ([], 1))
        bench.settle()
        self.assertEqual(large, [Old("boop")])

    def test_small_write_was_not_counted(self) -> None:
        """/metrics counts a batch of the log whichever thread has synced it."""
        bench = self.leader()
        bench.disk.is_quick = True
        histograms = bench.node.measures.log_write, bench.node.measures.batch_entries
        before = [sum(each.counts) for each in histograms]
        bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        after = [sum(each.counts) for each in histograms]
        self.assertEqual(after, [count + 1 for count in before])

    def test_nothing_overtakes_what_the_thread_writes(self) -> None:
        """While it is at work, a small write waits its turn, however quick the disk says it is."""
        bench = self.leader()
        bench.submit(Put("beep", "x" * ALONE_BYTES))
        bench.clock.advance(0)
        bench.disk.is_quick = True
        answers = bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        self.assertEqual((answers, bench.disk.pending), ([], 1))
        bench.settle()
        self.assertEqual(answers, [Old("x" * ALONE_BYTES)])

    def test_failed_small_write_is_final(self) -> None:
        """What fails in the reactor's thread ends the node as it would in the other one."""
        bench = self.leader()
        bench.disk.is_quick = True
        bench.disk.fail_next(OSError("no space"))
        answers = bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(bench.stopped, ["the log could not be written: no space"])
        self.assertEqual((answers, bench.submit(Put("a", "b"))[0].code), ([], 503))

    def test_leader_with_a_hanging_disk_steps_down(self) -> None:
        """A write that hangs beyond an election time-out ends leadership, and /status says why."""
        bench = self.leader()
        bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        bench.disk.since = bench.clock.seconds()
        bench.pass_time(ELECTION + 0.2)
        status = bench.node.status()
        self.assertEqual((status["role"], status["leader"]), ("Follower", None))
        self.assertEqual(len(status["faults"]), 1)
        self.assertIn("disk", status["faults"][0])

    def test_node_with_a_hanging_disk_does_not_campaign(self) -> None:
        """As long as the write hangs there is no election; when it is done there is a leader."""
        bench = self.leader()
        term = bench.node.status()["term"]
        bench.submit(Put("beep", "boop"))
        bench.clock.advance(0)
        bench.disk.since = bench.clock.seconds()
        bench.pass_time(10 * ELECTION)
        self.assertEqual(bench.node.status()["term"], term)
        bench.disk.since = None
        for _ in range(100):
            bench.pass_time(0.1)
            bench.settle()
        status = bench.node.status()
        self.assertEqual((status["role"], status["faults"]), ("Leader", []))


class TurnTests(NodeTestCase):
    """The length of a turn."""

    def test_long_work_stopped_the_reactor(self) -> None:
        """A log that is applied after a restart, or whatever takes long, is done in many turns."""
        self.patch(node, "TURN_SECONDS", -1.0)
        bench = self.leader()
        bench.disk.is_quick = True
        rounds: list[int] = []
        turn, take = Node._turn, Node._take_ready

        def turned(each: Node) -> None:
            rounds.append(0)
            turn(each)

        def taken(each: Node) -> None:
            rounds[-1] += 1
            take(each)

        self.patch(Node, "_turn", turned)
        self.patch(Node, "_take_ready", taken)
        answers = [bench.submit(Put("a", str(number))) for number in range(3)]
        bench.settle()
        self.assertEqual(max(rounds), 1)
        self.assertEqual([len(each) for each in answers], [1, 1, 1])
        self.assertEqual(bench.query(Get("a"), stale=True), ["2"])


class ForwardTests(NodeTestCase):
    """Batches of other nodes."""

    def batch(self, sequence: int, *commands: Put) -> bytes:
        return encode(Proposal(2, 1, sequence, 1, list(commands)))

    def forward(self, bench: Bench, sequence: int, *commands: Put) -> None:
        batch = self.batch(sequence, *commands)
        bench.node.receive(2, [Forward(to=1, from_=2, sequence=sequence, batch=batch)])
        bench.settle()

    def test_batch_that_comes_twice_applies_once(self) -> None:
        """A forward that is repeated because its answer was lost changes nothing any more."""
        bench = self.leader()
        sink = Recorder()
        bench.node.watch(Watch(channel="kv"), sink)
        self.forward(bench, 1, Put("beep", "one"))
        self.forward(bench, 2, Put("beep", "two"))
        self.forward(bench, 1, Put("beep", "one"))
        self.assertEqual(bench.query(Get("beep"), stale=True), ["two"])
        self.assertEqual(sink.revisions, [1, 2])

    def test_who_does_not_lead_says_so(self) -> None:
        """A forward to a node that does not lead is refused by a message, not lost."""
        bench = self.bench(bootstrap=False)
        bench.directory.set_cluster_id(b"c" * 16)
        self.forward(bench, 7, Put("beep", "boop"))
        ((to, refusal),) = bench.mesh.sent
        assert isinstance(refusal, ForwardRefused)
        self.assertEqual((to, refusal.sequence, refusal.overloaded), (2, 7, False))

    def test_garbage_in_a_batch_harms_nobody(self) -> None:
        """A batch that cannot be decoded is applied as nothing; the node goes on."""
        bench = self.leader()
        bench.node.receive(2, [Forward(to=1, from_=2, sequence=1, batch=b"\xc1garbage")])
        bench.settle()
        answers = bench.submit(Put("beep", "boop"))
        bench.settle()
        self.assertEqual((answers, bench.stopped), ([Old(None)], []))


class ClusterTests(NodeTestCase):
    """Belonging to a cluster."""

    def test_stranger_joins_the_first_that_treats_it_as_a_member(self) -> None:
        """A node without a cluster takes the id of the cluster whose leader sends to it."""
        bench = self.bench(bootstrap=False)
        bench.node.administration.clusters[2] = b"d" * 16
        heartbeat = Heartbeat(to=1, from_=2, term=4)
        bench.node.receive(2, [heartbeat])
        bench.settle()
        self.assertEqual(bench.directory.identity.cluster_id, b"d" * 16)
        self.assertEqual(bench.node.status()["leader"], 2)

    def test_news_bound_a_stranger_to_the_first_cluster_that_it_met(self) -> None:
        """How members are, they tell all they are connected with: that makes nobody a member."""
        bench = self.bench(bootstrap=False)
        bench.node.administration.clusters[2] = b"d" * 16
        bench.node.receive(2, [SpaceReport(to=1, from_=2, is_low=False)])
        report = Report(to=1, from_=2, stamp=1, echo=0, held=0, body=b"")
        bench.node.receive(2, [report])
        bench.settle()
        self.assertEqual(bench.directory.identity.cluster_id, b"")

    def test_message_of_a_node_without_a_cluster_is_not_taken(self) -> None:
        """Two nodes that both belong nowhere do not make each other a leader."""
        bench = self.bench(bootstrap=False)
        bench.node.receive(2, [Append(to=1, from_=2, term=4, prev_index=0, prev_term=0)])
        bench.settle()
        self.assertEqual((bench.node.status()["term"], bench.mesh.sent), (0, []))
        self.assertEqual(bench.mesh.renewed, [2])


class CompactionTests(NodeTestCase):
    """The log's past."""

    def test_log_is_bounded_and_nothing_is_lost(self) -> None:
        """Past the threshold old entries go, trailing ones stay, and a restart has every value."""
        path = self.mktemp()
        bench = make_bench(path, log_entries_max=20, trailing_entries=5)
        bench.settle()
        for number in range(60):
            bench.submit(Put(f"k{number}", str(number)))
            bench.settle()
        status = bench.node.status()
        self.assertGreater(status["first_index"], 20)
        self.assertLessEqual(status["last_index"] - status["first_index"], 25)
        self.assertGreaterEqual(status["last_index"] - status["first_index"], 4)
        bench.close()
        again = make_bench(path)
        self.addCleanup(again.close)
        again.settle()
        reads = [again.query(Get(f"k{number}"), stale=True) for number in range(60)]
        self.assertEqual(reads, [[str(number)] for number in range(60)])

    def test_rest_after_a_load(self) -> None:
        """In the quiet after a load the state is made durable, and what only saved reads goes."""
        bench = self.leader()
        bench.submit(Put("k", "v"))
        bench.settle()
        state = bench.directory.state
        self.assertLess(state.synced_index, state.applied_index)
        bench.node.rest()
        bench.node.rest()  # while the first is under way
        self.assertEqual(bench.background.pending, 1)
        bench.settle()
        self.assertEqual(state.synced_index, state.applied_index)
        bench.node.rest()
        self.assertEqual((state._recent._young, state._recent._old), ({}, {}))
        log = bench.directory.log
        self.assertEqual(log._window.start, log.last_index())
        last, first = log.last_index(), log.first_index()
        self.assertEqual(len(log.entries(first, last + 1, 1 << 20)), last - first + 1)
        self.assertEqual(bench.node.hub.history.recent(1), [])
        self.assertEqual(bench.query(Get("k"), stale=True), ["v"])

    def test_one_compaction_at_a_time(self) -> None:
        """While one is under way no other is begun."""
        bench = self.leader(log_entries_max=20, trailing_entries=5)
        for number in range(100):
            bench.submit(Put(f"k{number}", "v"))
            bench.clock.advance(0)
            bench.disk.run_all()
            bench.clock.advance(0)
        self.assertEqual(bench.background.pending, 1)
        bench.settle()
        self.assertGreater(bench.node.status()["first_index"], 1)
