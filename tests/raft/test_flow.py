"""How much is sent and taken: the window, the limits, proposals, what is malformed."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench
from tests.support.cluster import Cluster
from uring.raft import InvariantViolation, ProposalDropped
from uring.raft.messages import Append, AppendResponse, Heartbeat, HeartbeatResponse, Propose
from uring.raft.progress import ProgressState
from uring.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    Entry,
)


def append(
    term: int, prev: tuple[int, int], *entries: Entry, commit: int = 0, from_: int = 2
) -> Append:
    """Return an Append whose entries follow the (term, index) ``prev``."""
    return Append(
        to=1,
        from_=from_,
        term=term,
        prev_term=prev[0],
        prev_index=prev[1],
        entries=entries,
        commit=commit,
    )


def acknowledge(bench: Bench, from_: int, index: int) -> None:
    bench.step(AppendResponse(to=1, from_=from_, term=bench.raw.term, index=index))


class Flow(SynchronousTestCase):
    """How much is sent ahead of the answers."""

    def _replicating(self, **settings: Any) -> Bench:
        bench = Bench(**settings).lead()
        for voter in (2, 3):
            acknowledge(bench, voter, 1)
        bench.take()
        return bench

    def _sent_to_2(self, bench: Bench) -> list[Append]:
        return [message for message in bench.taken(Append) if message.to == 2]

    def test_one_probe_at_a_time(self) -> None:
        """Until it is known where the logs agree, one Append is under way, not more."""
        bench = Bench().lead()
        bench.raw.propose(b"a")
        bench.raw.propose(b"b")
        self.assertEqual([], self._sent_to_2(bench))
        acknowledge(bench, 2, 1)
        entries = [entry.index for m in self._sent_to_2(bench) for entry in m.entries]
        self.assertEqual([2, 3], entries)

    def test_window_in_messages(self) -> None:
        """No more Appends are under way than the window holds; an answer makes room."""
        bench = self._replicating(max_inflight_messages=2)
        for data in (b"a", b"b", b"c"):
            bench.raw.propose(data)
        self.assertEqual([2, 3], [m.entries[0].index for m in self._sent_to_2(bench)])
        self.assertTrue(bench.raw.status().progress[2].is_full)
        acknowledge(bench, 2, 2)
        self.assertEqual([4], [m.entries[0].index for m in self._sent_to_2(bench)])

    def test_window_in_bytes(self) -> None:
        """The window is full too when the data in it passes its bytes."""
        bench = self._replicating(max_inflight_bytes=100, max_append_bytes=100)
        for _ in range(4):
            bench.raw.propose(b"x" * 60)
        self.assertEqual(2, len(self._sent_to_2(bench)))
        self.assertEqual(120, bench.raw.status().progress[2].inflight_bytes)

    def test_heartbeat_answer_unblocks_full_window(self) -> None:
        """If all that filled the window was lost, an empty Append finds out."""
        bench = self._replicating(max_inflight_messages=1)
        bench.raw.propose(b"a")
        bench.raw.propose(b"b")
        bench.take()
        bench.step(HeartbeatResponse(to=1, from_=2, term=1))
        (probe,) = self._sent_to_2(bench)
        self.assertEqual((2, ()), (probe.prev_index, probe.entries))
        bench.step(
            AppendResponse(to=1, from_=2, term=1, index=2, reject=True, hint_index=1, hint_term=1)
        )
        (again,) = self._sent_to_2(bench)
        self.assertEqual([2, 3], [entry.index for entry in again.entries])

    def test_append_size(self) -> None:
        """An Append holds as many entries as its limit allows, and one in any case."""
        bench = Bench(max_append_bytes=50).lead()
        for data in (b"x" * 100, b"y" * 10, b"z" * 10):
            bench.raw.propose(data)
        acknowledge(bench, 2, 1)
        sizes = [[len(entry.data) for entry in m.entries] for m in self._sent_to_2(bench)]
        self.assertEqual([[100], [10, 10]], sizes)

    def test_unreachable_follower_is_probed(self) -> None:
        """When the transport reports a loss, the leader probes again from what matches."""
        bench = self._replicating()
        bench.raw.propose(b"a")
        bench.take()
        bench.raw.report_unreachable(2)
        progress = bench.raw.status().progress[2]
        self.assertEqual((ProgressState.PROBE, 2), (progress.state, progress.next))

    def test_reports_of_strangers(self) -> None:
        """A loss on the way to a node that is no member changes nothing, nor does a report to a
        node that does not lead.
        """
        bench = self._replicating()
        bench.raw.report_unreachable(9)
        bench.raw.report_snapshot(9, True)
        bench.raw.report_snapshot(2, True)
        self.assertEqual(ProgressState.REPLICATE, bench.raw.status().progress[2].state)
        follower = Bench()
        follower.raw.report_unreachable(2)
        follower.raw.report_snapshot(2, False)
        self.assertEqual([], follower.take())

    def test_own_acknowledgement_after_removal(self) -> None:
        """A leader whose write completes after it was removed does not count it."""
        bench = self._replicating()
        bench.raw.propose(b"a")
        bench.raw.ready()
        bench.raw.apply_conf_change(ConfChange((ConfChangeSingle(ConfChangeKind.REMOVE_NODE, 1),)))
        bench.raw.advance()
        self.assertEqual(1, bench.raw.commit)

    def test_message_without_a_term(self) -> None:
        """A message that must have a term and has none is ignored."""
        bench = Bench()
        bench.step(append(0, (0, 0), Entry(1, 1)))
        bench.step(Heartbeat(to=1, from_=2, term=0))
        self.assertEqual((0, []), (bench.raw.leader_id, bench.take()))

    def test_entries_that_do_not_follow(self) -> None:
        """Entries that do not follow the one they are said to follow are an alarm."""
        bench = Bench(terms=(1, 1))
        message = append(1, (1, 2), Entry(1, 2))
        self.assertRaises(InvariantViolation, bench.step, message)

    def test_heartbeat_commit_never_beyond_match(self) -> None:
        """A heartbeat carries no commit index beyond what the follower is known to match."""
        bench = Bench().lead()
        bench.raw.propose(b"a")
        bench.take()
        acknowledge(bench, 3, 2)
        bench.take()
        bench.tick()
        commits = {message.to: message.commit for message in bench.taken(Heartbeat)}
        self.assertEqual({2: 0, 3: 2}, commits)


class Proposing(SynchronousTestCase):
    """When proposals are taken."""

    def test_no_leader(self) -> None:
        """Without a leader a proposal is refused at once."""
        self.assertRaises(ProposalDropped, Bench().raw.propose, b"x")
        candidate = Bench()
        candidate.raw.campaign()
        self.assertRaises(ProposalDropped, candidate.raw.propose, b"x")
        self.assertTrue(candidate.was_told("info", "dropping proposal"))

    def test_follower_forwards(self) -> None:
        """A follower hands a proposal on to its leader, which appends it."""
        cluster = Cluster(3)
        cluster.elect(1)
        self.assertEqual(0, cluster[2].raw.propose(b"x"))
        cluster.settle()
        self.assertEqual([[b"x"]] * 3, [host.state for host in cluster.hosts.values()])

    def test_forwarding_disabled(self) -> None:
        """A follower that must not hand on refuses."""
        cluster = Cluster(3, disable_proposal_forwarding=True)
        cluster.elect(1)
        self.assertRaises(ProposalDropped, cluster[2].raw.propose, b"x")

    def test_forwarded_without_leader(self) -> None:
        """A forwarded proposal that finds no leader is refused, not lost silently."""
        bench = Bench()
        refused = bench.step(Propose(to=1, from_=2, entries=(Entry(0, 0, data=b"x"),)))
        self.assertIsInstance(refused, ProposalDropped)

    def test_forwarded_on(self) -> None:
        """A proposal that reaches a node that no longer leads goes on in its proposer's name."""
        bench = Bench()
        bench.step(Heartbeat(to=1, from_=3, term=1))
        bench.take()
        bench.step(Propose(to=1, from_=2, entries=(Entry(0, 0, data=b"x"),)))
        (sent,) = bench.taken(Propose)
        self.assertEqual((3, 2, b"x"), (sent.to, sent.from_, sent.entries[0].data))

    def test_nothing_proposed(self) -> None:
        """An empty batch is refused and takes no place in the log."""
        bench = Bench().lead()
        self.assertRaises(ProposalDropped, bench.raw.propose_many, [])
        self.assertEqual(1, bench.raw.last_index)

    def test_uncommitted_bytes(self) -> None:
        """Past the limit of uncommitted data proposals are refused, until some is committed."""
        bench = Bench(max_uncommitted_bytes=100).lead()
        bench.raw.propose(b"x" * 80)
        self.assertRaises(ProposalDropped, bench.raw.propose, b"y" * 80)
        self.assertTrue(bench.was_told("warn", "uncommitted entry size limit"))
        bench.raw.propose(b"")
        bench.take()
        acknowledge(bench, 2, bench.raw.last_index)
        bench.take()
        self.assertEqual(0, bench.raw.status().uncommitted_bytes)
        bench.raw.propose(b"y" * 80)

    def test_first_proposal_may_be_any_size(self) -> None:
        """While nothing else is uncommitted, a proposal larger than the limit is taken."""
        bench = Bench(max_uncommitted_bytes=10).lead()
        bench.raw.propose(b"x" * 1000)
        self.assertEqual(1000, bench.raw.status().uncommitted_bytes)

    def test_committed_entries_come_in_pages(self) -> None:
        """No more is handed out to be applied than the limit, and all of it in the end."""
        bench = Bench(max_committed_bytes_per_ready=200).lead()
        last = bench.raw.propose_many([b"x" * 100] * 5)
        bench.take()
        acknowledge(bench, 2, last)
        pages = []
        while bench.raw.has_ready():
            ready = bench.raw.ready()
            pages.append(len(ready.committed_entries))
            bench.storage.append(ready.entries)
            bench.raw.advance()
        self.assertEqual([2, 1, 1, 1, 1], [page for page in pages if page])
        self.assertEqual(last, bench.raw.applied)
