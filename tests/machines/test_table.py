"""All machines together: batches in, results and changes out, and nothing that raises."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.machines.base import MemoryState
from uring.machines.commands import (
    AddNode,
    AddToken,
    Cas,
    Command,
    Delete,
    Get,
    GetNodes,
    GetSize,
    Invalid,
    Old,
    Put,
    RemoveNode,
    RemoveToken,
    Ring,
    RingNode,
    RingSize,
    SetSize,
)
from uring.machines.events import numbered
from uring.machines.proposal import Proposal, encode
from uring.machines.table import Applied, Machines
from uring.machines.tokens import ROLES

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
COMMANDS = st.one_of(
    st.builds(Put, TEXT, TEXT),
    st.builds(Delete, TEXT),
    st.builds(Cas, TEXT, st.none() | TEXT, TEXT, st.booleans()),
    st.builds(SetSize, st.integers(-(2**63), 2**64 - 1) | st.integers(1, 9), TEXT)
    | st.builds(SetSize, st.integers(1, 64)),
    st.builds(AddNode, TEXT),
    st.builds(RemoveNode, TEXT),
    st.builds(
        AddToken,
        TEXT | st.sampled_from(("0" * 16, "f" * 16)),
        st.binary(max_size=4) | st.just(bytes(32)),
        TEXT | st.sampled_from(ROLES),
        st.lists(TEXT, max_size=2).map(tuple),
        TEXT,
        TEXT | st.just("0" * 16),
    ),
    st.builds(RemoveToken, TEXT | st.sampled_from(("0" * 16, "f" * 16)), TEXT | st.just("0" * 16)),
)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.integers(0, 3)
PROPOSALS = st.builds(Proposal, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.lists(COMMANDS, max_size=5))


class TableTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = MemoryState()
        self.machines = Machines()
        self.sequence = 0

    def apply(self, *commands: Command) -> Applied:
        self.sequence += 1
        data = encode(Proposal(1, 1, self.sequence, self.sequence, list(commands)))
        return self.machines.apply(self.state, self.sequence, data)


class ApplyTests(TableTestCase):
    def test_batch(self) -> None:
        """A batch answers each command in order; changes of both machines share one count."""
        applied = self.apply(Put("a", "1"), Delete("b"), SetSize(8), AddNode("n1"), Put("a", "2"))
        self.assertEqual(
            applied.results,
            [
                Old(None),
                Old(None),
                RingSize(True, 8),
                Ring((RingNode("n1", tuple(range(8))),)),
                Old("1"),
            ],
        )
        self.assertEqual((applied.proposer, applied.incarnation, applied.sequence), (1, 1, 1))
        self.assertEqual(
            [(event.channel, revision) for revision, event in numbered(0, applied.events)],
            [("kv", 1), ("mring", 2), ("mring", 3), ("kv", 4)],
        )
        self.assertEqual(self.machines.revision(self.state), 4)

    def test_revision_goes_on(self) -> None:
        """The count of changes goes on in the next batch, and after a restart."""
        self.apply(Put("a", "1"), Put("b", "1"))
        self.machines = Machines()
        self.assertEqual(self.apply(Put("a", "2")).before, 2)

    def test_conflict_takes_no_revision(self) -> None:
        """A conflict is told with the revision that the state has."""
        self.apply(Put("a", "1"))
        applied = self.apply(Cas("a", "0", "2"), Put("a", "3"))
        self.assertEqual(
            [revision for revision, _ in numbered(applied.before, applied.events)], [1, 2]
        )

    def test_invalid_command_alone(self) -> None:
        """An invalid command in a batch hurts only itself."""
        applied = self.apply(Put("a", "1"), Put("", "1"), SetSize(-1), AddNode(""), Put("b", "1"))
        assert applied.results is not None
        self.assertEqual(
            [type(result) for result in applied.results], [Old, Invalid, Invalid, Invalid, Old]
        )
        self.assertEqual(self.machines.revision(self.state), 2)

    def test_again(self) -> None:
        """The same proposal again changes nothing and has no results."""
        data = encode(Proposal(1, 1, 1, 1, [Put("a", "1")]))
        self.machines.apply(self.state, 1, data)
        self.machines.apply(self.state, 2, encode(Proposal(2, 1, 1, 1, [Put("a", "2")])))
        before = self.machines.digest(self.state)
        self.assertEqual(Machines().apply(self.state, 3, data), Applied(1, 1, 1, None, []))
        self.assertEqual(self.machines.digest(self.state), before)

    def test_undecodable(self) -> None:
        """Bytes that are no proposal are nobody's and change nothing."""
        applied = self.machines.apply(self.state, 9, b"\xc1 nonsense")
        self.assertEqual((applied.proposer, applied.results, applied.events), (0, None, []))
        self.assertEqual(list(self.state.iterate(b"")), [])

    def test_impossible_names(self) -> None:
        """A proposal whose numbers no node would give is nobody's and changes nothing."""
        for name in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (2**63, 1, 1), (1, -1, 1), (1, 1, 2**64 - 1)):
            data = encode(Proposal(*name, 0, [Put("a", "1")]))
            self.assertEqual(self.machines.apply(self.state, 1, data).proposer, 0)
        self.assertEqual(list(self.state.iterate(b"")), [])

    def test_transaction_without_commit(self) -> None:
        """All effects of a batch are in the transaction, so without a commit there are none."""
        data = encode(Proposal(1, 1, 1, 1, [Put("a", "1"), SetSize(8), AddNode("n1")]))
        self.machines.apply(self.state.begin(), 1, data)
        self.assertEqual(list(self.state.iterate(b"")), [])
        transaction = self.state.begin()
        self.assertIsNotNone(self.machines.apply(transaction, 1, data).results)
        transaction.commit()
        self.assertEqual(self.machines.query(self.state, Get("a")), "1")


class AudienceTests(TableTestCase):
    def test_state_does_not_depend_on_it(self) -> None:
        """Replicas with and without clients end in the same state, and tell the same."""
        other, silent = MemoryState(), Machines(lambda *name: False)
        batches: list[list[Command]] = [
            [Put("a", "1"), SetSize(64)],
            [AddNode("n1"), AddNode("n2")],
            [Cas("a", "0", "1")],
        ]
        for sequence, commands in enumerate(batches, 1):
            data = encode(Proposal(1, 1, sequence, 1, commands))
            events = self.machines.apply(self.state, sequence, data).events
            self.assertEqual(silent.apply(other, sequence, data).events, events)
        self.assertEqual(self.machines.digest(self.state), silent.digest(other))

    def test_asked_by_name(self) -> None:
        """Who waits is asked by proposer and incarnation."""
        asked: list[object] = []

        def answered(*name: int) -> bool:
            asked.append(name)
            return False

        self.machines = Machines(answered)
        applied = self.apply(SetSize(8), AddNode("n1"), Put("a", "1"))
        self.assertEqual(asked, [(1, 1)])
        self.assertEqual(applied.results, [RingSize(True, 8), Ring(()), Old(None)])


class QueryTests(TableTestCase):
    def test_queries(self) -> None:
        """Queries answer what the last batch left."""
        self.assertIsNone(self.machines.query(self.state, Get("a")))
        self.assertIsNone(self.machines.query(self.state, GetSize()))
        self.assertEqual(self.machines.query(self.state, GetNodes()), Ring((), "no size"))
        self.apply(Put("a", "1"), SetSize(2), AddNode("n1"))
        self.assertEqual(self.machines.query(self.state, Get("a")), "1")
        self.assertEqual(self.machines.query(self.state, GetSize()), 2)
        self.assertEqual(
            self.machines.query(self.state, GetNodes()), Ring((RingNode("n1", (0, 1)),))
        )


class DigestTests(TableTestCase):
    def test_every_byte_counts(self) -> None:
        """Keys, values and where one ends and the other begins all make a difference."""
        digests = set()
        for key, value in ((b"ka", b"b"), (b"k", b"ab"), (b"kab", b""), (b"kb", b"a")):
            state = MemoryState()
            state.put(key, value)
            digests.add(self.machines.digest(state))
        self.assertEqual(len(digests), 4)

    def test_same_history_same_digest(self) -> None:
        """The value is fixed: it may be compared between nodes, versions and processes."""
        self.apply(Put("a", "1"), SetSize(8), AddNode("n1"))
        other = MemoryState()
        data = encode(Proposal(1, 1, 1, 1, [Put("a", "1"), SetSize(8), AddNode("n1")]))
        self.machines.apply(other, 1, data)
        self.assertEqual(self.machines.digest(self.state), self.machines.digest(other))
        self.assertEqual(self.machines.digest(self.state).hex(), "0629f77ea9211acb19224ad035252323")


class NeverRaisesTests(SynchronousTestCase):
    """Whatever reaches the log, every replica survives it and comes to the same state."""

    def replicate(self, entries: list[bytes]) -> None:
        replicas = [MemoryState(), MemoryState()]
        for state in replicas:
            machines = Machines()
            for index, data in enumerate(entries, 1):
                machines.apply(state, index, data)
        self.assertEqual(*(list(state.iterate(b"")) for state in replicas))

    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.binary(max_size=60), max_size=5))
    def test_random_bytes(self, entries: list[bytes]) -> None:
        """Random bytes do not raise."""
        self.replicate(entries)

    @settings(deadline=None, max_examples=150)
    @given(st.lists(PROPOSALS, max_size=6))
    def test_random_proposals(self, proposals: list[Proposal]) -> None:
        """Well-formed proposals of any content do not raise."""
        self.replicate([encode(proposal) for proposal in proposals])

    @settings(deadline=None, max_examples=200)
    @given(st.lists(COMMANDS, min_size=1, max_size=4), st.data())
    def test_mutated_proposals(self, commands: list[Command], data: st.DataObject) -> None:
        """Valid proposals with some bytes changed, cut or added do not raise."""
        mutated = bytearray(encode(Proposal(1, 1, 1, 1, commands)))
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(mutated)))
            end = data.draw(st.integers(start, min(len(mutated), start + 3)))
            mutated[start:end] = data.draw(st.binary(max_size=3))
        self.replicate([bytes(mutated)])
