"""Log replication and commitment: paper 5.3, 5.4.2, 5.4.3 and figure 2."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import Bench
from tests.support.cluster import Cluster
from uring.raft import InvariantViolation, PeerNotFound
from uring.raft.messages import Append, AppendResponse, Heartbeat
from uring.raft.progress import ProgressState
from uring.raft.types import (
    Entry,
    EntryKind,
    HardState,
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


class Leading(SynchronousTestCase):
    """What a leader does with a command (5.3, first half)."""

    def test_appends_and_sends_in_parallel(self) -> None:
        """The leader appends the command to its log and sends it to the others in parallel."""
        bench = Bench().lead()
        for voter in (2, 3):
            acknowledge(bench, voter, 1)
        bench.take()
        index = bench.raw.propose(b"x")
        sent = bench.taken(Append)
        entry = Entry(1, 2, EntryKind.NORMAL, b"x")
        self.assertEqual(2, index)
        self.assertEqual([(2, (entry,)), (3, (entry,))], [(m.to, m.entries) for m in sent])
        self.assertEqual([(1, 1), (1, 2)], bench.log())

    def test_append_carries_preceding_entry(self) -> None:
        """The leader includes the index and term of the entry that precedes the new ones."""
        bench = Bench(terms=(1, 2), term=2).lead()
        self.assertEqual(3, bench.raw.term)
        for voter in (2, 3):
            acknowledge(bench, voter, 3)
        bench.take()
        bench.raw.propose(b"x")
        self.assertEqual(
            [(3, 3), (3, 3)], [(m.prev_term, m.prev_index) for m in bench.taken(Append)]
        )

    def test_committed_when_majority_has_it(self) -> None:
        """An entry is committed once the leader has replicated it on a majority of servers."""
        for size, others_needed in ((3, 1), (4, 2), (5, 2), (7, 3)):
            voters = tuple(range(1, size + 1))
            bench = Bench(voters=voters).lead(voters[1:])
            index = bench.raw.propose(b"x")
            bench.take()
            for voter in voters[1:others_needed]:
                acknowledge(bench, voter, index)
            self.assertLess(bench.raw.commit, index, size)
            acknowledge(bench, voters[others_needed], index)
            self.assertEqual(index, bench.raw.commit, size)

    def test_alone(self) -> None:
        """A single server commits what is on its own disk."""
        bench = Bench(voters=(1,)).lead(())
        index = bench.raw.propose(b"x")
        bench.take()
        self.assertEqual((index, b"x"), (bench.raw.commit, bench.applied[-1].data))

    def test_own_disk_counts_as_one(self) -> None:
        """The leader counts itself only when the entry is on its own disk."""
        bench = Bench().lead()
        index = bench.raw.propose(b"x")
        acknowledge(bench, 2, index)
        self.assertLess(bench.raw.commit, index)
        bench.take()
        self.assertEqual(index, bench.raw.commit)

    def test_followers_learn_commit_index(self) -> None:
        """Once a follower learns that an entry is committed, it applies it, in log order."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.propose(1, b"a", b"b", b"c")
        for host in cluster.hosts.values():
            self.assertEqual([b"a", b"b", b"c"], host.state)

    def test_retries_until_stored(self) -> None:
        """The leader retries until all followers eventually store all log entries."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(1, b"a", b"b")
        self.assertEqual([], cluster[3].state)
        cluster.heal()
        cluster.tick(1)
        cluster.settle()
        self.assertEqual([b"a", b"b"], cluster[3].state)

    def test_no_majority_no_commit(self) -> None:
        """Without a majority nothing is committed; once it is back, everything is."""
        cluster = Cluster(5)
        cluster.elect(1)
        for node in (3, 4, 5):
            cluster.isolate(node)
        before = cluster[1].raw.commit
        cluster.propose(1, b"a")
        self.assertEqual(before, cluster[1].raw.commit)
        cluster.heal()
        cluster.tick(1)
        cluster.settle()
        self.assertEqual([b"a"], cluster[5].state)

    def test_commit_index_in_later_append(self) -> None:
        """The leader includes the highest committed index in future Appends."""
        bench = Bench().lead()
        acknowledge(bench, 2, 1)
        bench.take()
        bench.raw.propose(b"x")
        (sent,) = [m for m in bench.taken(Append) if m.to == 2]
        self.assertEqual(1, sent.commit)

    def test_only_own_term_is_committed_by_counting(self) -> None:
        """Only log entries from the leader's current term are committed by counting replicas.

        Once one is, all entries before it are committed with it (5.4.2 and figure 8).
        """
        bench = Bench(terms=(1, 2), term=2).lead()
        acknowledge(bench, 2, 2)
        self.assertEqual(0, bench.raw.commit)
        acknowledge(bench, 2, 3)
        self.assertEqual(3, bench.raw.commit)

    def test_stale_acknowledgement(self) -> None:
        """Acknowledgements that arrive late or twice neither lower nor raise anything."""
        bench = Bench().lead()
        bench.raw.propose(b"x")
        acknowledge(bench, 2, 2)
        bench.take()
        acknowledge(bench, 2, 1)
        acknowledge(bench, 2, 2)
        self.assertEqual(2, bench.raw.status().progress[2].match)
        self.assertEqual([], bench.taken(Append))

    def test_leader_never_rewrites_its_log(self) -> None:
        """A leader never overwrites or deletes entries in its log; another's Append is an alarm."""
        bench = Bench().lead()
        self.assertRaises(InvariantViolation, bench.step, append(1, (0, 0), Entry(1, 1)))
        self.assertEqual([(1, 1)], bench.log())

    def test_stranger_is_refused(self) -> None:
        """An acknowledgement of a node that is not a member is not counted."""
        bench = Bench().lead()
        refused = bench.step(AppendResponse(to=1, from_=9, term=1, index=1))
        self.assertIsInstance(refused, PeerNotFound)
        self.assertEqual(0, bench.raw.commit)

    def test_many_together(self) -> None:
        """Entries proposed together stand together and leave in one Append for each follower."""
        bench = Bench().lead()
        acknowledge(bench, 2, 1)
        bench.take()
        last = bench.raw.propose_many([b"a", b"b", b"c"])
        (sent,) = [m for m in bench.taken(Append) if m.to == 2]
        self.assertEqual([b"a", b"b", b"c"], [entry.data for entry in sent.entries])
        self.assertEqual(last, sent.entries[-1].index)

    def test_entries_are_sealed_once(self) -> None:
        """What makes a leader's entries is called once for each, and its record travels on."""
        calls = []

        def seal(term: int, index: int, kind: EntryKind, data: bytes) -> Entry:
            calls.append(index)
            return Entry(term, index, kind, data, record=b"sealed " + data)

        cluster = Cluster(3, seal=seal)
        cluster.elect(1)
        cluster.propose(1, b"x")
        last = cluster[1].raw.last_index
        self.assertEqual(sorted(set(calls)), calls)
        for host in cluster.hosts.values():
            (entry,) = host.storage.entries(last, last + 1, 1 << 20)
            self.assertEqual(b"sealed x", entry.record)


class Following(SynchronousTestCase):
    """What a follower does with an Append (figure 2, AppendEntries RPC)."""

    def test_refuses_where_logs_differ(self) -> None:
        """If the follower does not find the preceding entry, it refuses the new ones."""
        for prev in ((2, 2), (2, 1), (2, 9)):
            bench = Bench(terms=(1, 1), term=2)
            bench.step(append(2, prev, Entry(2, prev[1] + 1)))
            (answer,) = bench.taken(AppendResponse)
            self.assertEqual((True, prev[1]), (answer.reject, answer.index))
            self.assertEqual([(1, 1), (1, 2)], bench.log())

    def test_accepts_where_logs_agree(self) -> None:
        """When an Append returns successfully, the follower's log is the leader's up to there."""
        bench = Bench(terms=(1, 1), term=2)
        bench.step(append(2, (1, 2), Entry(2, 3), Entry(2, 4)))
        (answer,) = bench.taken(AppendResponse)
        self.assertEqual((False, 4), (answer.reject, answer.index))
        self.assertEqual([(1, 1), (1, 2), (2, 3), (2, 4)], bench.log())

    def test_conflicts_are_overwritten(self) -> None:
        """Conflicting entries, and all that follow them, are replaced by the leader's."""
        cases = [
            ((1, 1, 1, 1), (1, 1), [Entry(2, 2)], [(1, 1), (2, 2)]),
            ((1, 1), (0, 0), [Entry(2, 1)], [(2, 1)]),
            ((1, 1, 2), (1, 2), [Entry(3, 3), Entry(3, 4)], [(1, 1), (1, 2), (3, 3), (3, 4)]),
        ]
        for terms, prev, entries, log in cases:
            bench = Bench(terms=terms, term=3)
            bench.step(append(3, prev, *entries))
            bench.take()
            self.assertEqual(log, bench.log())

    def test_no_conflict_no_truncation(self) -> None:
        """An Append that arrives late does not cut off entries that came after it."""
        bench = Bench(terms=(1, 1, 1), term=1)
        bench.step(append(1, (0, 0), Entry(1, 1)))
        bench.step(append(1, (1, 1)))
        bench.take()
        self.assertEqual([(1, 1), (1, 2), (1, 3)], bench.log())

    def test_commit_bounded_by_last_new_entry(self) -> None:
        """commitIndex = min(leaderCommit, index of last new entry)."""
        for entries, commit, expected in (
            ([Entry(1, 2)], 9, 2),
            ([], 9, 1),
            ([Entry(1, 2), Entry(1, 3)], 2, 2),
            ([Entry(1, 2)], 0, 0),
        ):
            bench = Bench(terms=(1,), term=1)
            bench.step(append(1, (1, 1), *entries, commit=commit))
            self.assertEqual(expected, bench.raw.commit)

    def test_tail_beyond_append_is_not_committed(self) -> None:
        """Entries past those the leader spoke of are not committed, they may be another's."""
        bench = Bench(terms=(1, 1, 1), term=2)
        bench.step(append(2, (1, 1), commit=3))
        self.assertEqual(1, bench.raw.commit)

    def test_old_append_is_answered_with_commit_index(self) -> None:
        """An Append from before the commit index is old news; the answer says how far we are."""
        bench = Bench(terms=(1, 1, 1), term=1, commit=3)
        bench.step(append(1, (1, 1), Entry(1, 2)))
        (answer,) = bench.taken(AppendResponse)
        self.assertEqual((False, 3), (answer.reject, answer.index))

    def test_committed_entry_is_never_replaced(self) -> None:
        """A leader that would replace a committed entry violates Leader Completeness."""
        bench = Bench(terms=(1, 1), term=1, commit=2)
        bench.step(append(2, (1, 2), Entry(2, 3), commit=3))
        bench.take()
        error = self.assertRaises(InvariantViolation, bench.raw._state.log.append, [Entry(3, 3)])
        self.assertEqual("5.4.3", error.section)

    def test_commit_past_the_log(self) -> None:
        """A heartbeat that commits what the log does not hold means that the log was lost."""
        bench = Bench(terms=(1,), term=1)
        message = Heartbeat(to=1, from_=2, term=1, commit=5)
        self.assertRaises(InvariantViolation, bench.step, message)

    def test_acknowledged_when_durable(self) -> None:
        """A follower acknowledges what is on its disk: the answer waits for the write."""
        bench = Bench(async_storage_writes=True)
        bench.step(append(1, (0, 0), Entry(1, 1)))
        ready = bench.raw.ready()
        self.assertEqual((), ready.messages)
        assert ready.append is not None
        kinds = [type(message) for message in ready.append.responses]
        self.assertIn(AppendResponse, kinds)
        self.assertEqual((Entry(1, 1),), ready.append.entries)

    def test_two_leaders_of_one_term(self) -> None:
        """A follower that hears from a second leader of the same term raises the alarm."""
        bench = Bench()
        bench.step(append(1, (0, 0), from_=2))
        error = self.assertRaises(InvariantViolation, bench.step, append(1, (0, 0), from_=3))
        self.assertEqual("5.2", error.section)


class FindingAgreement(SynchronousTestCase):
    """How a leader finds the place where the logs agree (5.3, last part)."""

    def test_rejection_carries_hint(self) -> None:
        """The follower says the term of the conflict and where it may still agree."""
        for terms, prev, hint in (
            ((1, 1), (3, 9), (1, 2)),  # the log is too short
            ((1, 3, 3, 4, 4, 5), (3, 5), (3, 3)),  # skip all terms after the leader's
            ((), (1, 1), (0, 0)),
        ):
            bench = Bench(terms=terms, term=9)
            bench.step(append(9, prev))
            (answer,) = bench.taken(AppendResponse)
            self.assertEqual(hint, (answer.hint_term, answer.hint_index), terms)

    def test_leader_skips_whole_terms(self) -> None:
        """One Append is required for each term with conflicting entries, not for each entry."""
        bench = Bench(terms=(1, 3, 3, 3, 5, 5, 5, 5, 5), term=5).lead()
        bench.step(
            AppendResponse(to=1, from_=2, term=6, index=9, reject=True, hint_index=6, hint_term=2)
        )
        (probe,) = bench.taken(Append)
        self.assertEqual((1, 1), (probe.prev_term, probe.prev_index))

    def test_figure_7(self) -> None:
        """Followers that miss entries, or have extra ones, or both, come to the leader's log."""
        leader = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
        followers = [
            leader[:-1],
            leader[:4],
            (*leader, 6),
            (*leader, 7, 7),
            (1, 1, 1, 4, 4, 4, 4),
            (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
        ]
        cluster = Cluster(7)
        for node, terms in enumerate([leader, *followers], 1):
            host = cluster[node]
            host.storage.append([Entry(term, index) for index, term in enumerate(terms, 2)])
            host.storage.set_hard_state(HardState(term=7, commit=1))
            host.start()
        cluster[1].raw.campaign()
        cluster.settle()
        cluster.elect(1)
        logs = {node: host.log() for node, host in cluster.hosts.items()}
        self.assertEqual([logs[1]] * 7, list(logs.values()))
        self.assertEqual(list(leader), [entry.term for entry in logs[1]][: len(leader)])
        self.assertEqual(
            {cluster[1].raw.last_index}, {h.raw.commit for h in cluster.hosts.values()}
        )

    def test_stale_rejection(self) -> None:
        """A rejection of something acknowledged since is ignored."""
        bench = Bench().lead()
        acknowledge(bench, 2, 1)
        bench.take()
        bench.step(AppendResponse(to=1, from_=2, term=1, index=1, reject=True))
        self.assertEqual([], bench.taken(Append))
        self.assertEqual(ProgressState.REPLICATE, bench.raw.status().progress[2].state)

    def test_lost_append_is_found(self) -> None:
        """A follower that missed an Append refuses the next one and is sent both."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.drop = lambda message: isinstance(message, Append) and message.to == 3
        cluster.propose(1, b"a")
        cluster.heal()
        cluster.propose(1, b"b")
        self.assertEqual([b"a", b"b"], cluster[3].state)
