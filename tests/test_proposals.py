"""Commands that wait for their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from uring.errors import (
    BadRequest,
    DiskFull,
    OutcomeUnknown,
    Overloaded,
    Unavailable,
    UringError,
)
from uring.machines.base import MemoryState
from uring.machines.commands import Cas, Command, Get, Old, Put, Result, SetSize
from uring.machines.limits import COMMAND_BYTES_MAX, VALUE_BYTES_MAX
from uring.machines.proposal import decode, encode_commands
from uring.machines.sessions import WINDOW
from uring.machines.table import Machines
from uring.proposals import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, Proposals


def proposals(clock: Clock, limit_commands: int = 100_000, limit_bytes: int = 1 << 30) -> Proposals:
    """Return what node 1 has in its second life, with time-outs of 5 seconds."""
    return Proposals(
        node_id=1,
        incarnation=2,
        seconds=clock.seconds,
        timeout=5.0,
        limit_commands=limit_commands,
        limit_bytes=limit_bytes,
    )


class ProposalsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.proposals = proposals(self.clock)
        self.machines = Machines()
        self.state = MemoryState()
        self.told: list[Result | UringError] = []

    def add(self, *commands: Command) -> None:
        for command in commands:
            self.proposals.add(command, self.told.append)

    def take(self) -> tuple[int, bytes]:
        taken = self.proposals.take()
        assert taken is not None
        return taken

    def apply(self, data: bytes) -> None:
        self.proposals.resolve(self.machines.apply(self.state, 1, data))

    def only(self) -> Result | UringError:
        """Return the one thing that has been told."""
        self.assertEqual(len(self.told), 1)
        return self.told[0]


class BatchTests(ProposalsTestCase):
    def test_one_batch(self) -> None:
        """All commands that were gathered make one batch, and each gets its own result."""
        self.add(Put("a", "1"), Put("a", "2"), Put("b", "3"))
        sequence, data = self.take()
        self.assertIsNone(self.proposals.take())
        self.assertEqual(self.told, [])
        self.apply(data)
        self.assertEqual(self.told, [Old(None), Old("1"), Old(None)])
        proposal = decode(data)
        self.assertEqual((proposal.proposer, proposal.incarnation), (1, 2))
        self.assertEqual((proposal.sequence, sequence), (1, 1))
        self.assertEqual((self.proposals.waiting, self.proposals.waiting_bytes), (0, 0))

    def test_together(self) -> None:
        """Commands that come together are answered together, among others in their order."""
        answers: list[Sequence[Any]] = []
        self.add(Put("a", "1"))
        self.proposals.add_all([Put("a", "2"), Put("b", "3")], answers.append)
        self.add(Put("b", "4"))
        self.assertEqual(self.proposals.waiting, 4)
        _, data = self.take()
        self.assertEqual(len(decode(data).commands), 4)
        self.apply(data)
        self.assertEqual(answers, [[Old("1"), Old(None)]])
        self.assertEqual(self.told, [Old(None), Old("3")])
        self.assertEqual((self.proposals.waiting, self.proposals.waiting_bytes), (0, 0))
        self.proposals.add_all([Put("a", "5")] * 2, answers.append)
        self.take()
        self.proposals.add_all([Put("a", "6")] * 3, answers.append)
        self.proposals.fail_all("over")
        codes = [[answer.code for answer in each] for each in answers[1:]]
        self.assertEqual(codes, [[Unavailable.code] * 3, [OutcomeUnknown.code] * 2])

    def test_not_all_together(self) -> None:
        """Where not all of them can be taken, those that can be are; all are answered together."""
        self.proposals = proposals(self.clock, limit_commands=3)
        answers: list[Any] = []
        self.proposals.add_all([Put("a", "1"), Put("\ud800", "")], answers.extend)
        self.proposals.add_all([Put("b", "2"), Put("c", "3"), Put("d", "4")], answers.extend)
        _, data = self.take()
        self.apply(data)
        kinds = [Old, BadRequest, Old, Old, Overloaded]
        self.assertEqual([type(answer) for answer in answers], kinds)
        self.assertEqual(self.machines.query(self.state, Get("c")), "3")

    def test_too_many_together(self) -> None:
        """What is more than one batch may have becomes several."""
        answers: list[Any] = []
        self.proposals.add_all([Put("a", "1")] * (BATCH_COMMANDS_MAX + 1), answers.extend)
        self.proposals.add_all([Put("a", "x" * (BATCH_BYTES_MAX // 3))] * 4, answers.extend)
        while (taken := self.proposals.take()) is not None:
            self.apply(taken[1])
        self.assertEqual(len(answers), BATCH_COMMANDS_MAX + 5)
        self.assertEqual((self.proposals.waiting, self.proposals.waiting_bytes), (0, 0))

    def test_nothing(self) -> None:
        """Without commands there is no batch."""
        self.assertIsNone(self.proposals.take())

    def test_bytes_of_a_batch(self) -> None:
        """A batch ends before it passes its bytes; a command that has more goes alone."""
        third = "x" * (BATCH_BYTES_MAX // 3)
        whole = "x" * VALUE_BYTES_MAX
        self.add(
            Put("a", third), Put("b", third), Put("c", third), Cas("d", whole, whole), Put("e", "")
        )
        batches = []
        while (taken := self.proposals.take()) is not None:
            batches.append(decode(taken[1]).commands)
            self.apply(taken[1])
        self.assertEqual([len(batch) for batch in batches], [2, 1, 1, 1])
        self.assertEqual(len(self.told), 5)

    def test_commands_of_a_batch(self) -> None:
        """A batch holds a bounded number of commands; the rest follows in the next, in order."""
        self.add(*(Put("a", str(number)) for number in range(BATCH_COMMANDS_MAX + 5)))
        first, second = decode(self.take()[1]), decode(self.take()[1])
        self.assertIsNone(self.proposals.take())
        self.assertEqual((len(first.commands), len(second.commands)), (BATCH_COMMANDS_MAX, 5))
        values = [command.value for command in (*first.commands, *second.commands)]  # type: ignore[union-attr]
        self.assertEqual(values, [str(number) for number in range(BATCH_COMMANDS_MAX + 5)])

    def test_floor(self) -> None:
        """The floor of a batch is the oldest sequence that still waits."""
        self.add(Put("a", "1"))
        _, first = self.take()
        self.add(Put("a", "2"))
        _, second = self.take()
        self.assertEqual(decode(second).floor, 1)
        self.apply(first)
        self.add(Put("a", "3"))
        self.assertEqual(decode(self.take()[1]).floor, 2)
        self.apply(second)
        self.proposals.fail_all("test")
        self.add(Put("a", "4"))
        self.assertEqual(decode(self.take()[1]).floor, 4)

    def test_window(self) -> None:
        """No more batches are under way than the machines can tell apart; commands wait instead."""
        batches = []
        for number in range(WINDOW + 3):
            self.add(Put("a", str(number)))
            if (taken := self.proposals.take()) is not None:
                batches.append(taken[1])
        self.assertEqual((len(batches), self.proposals.waiting), (WINDOW, WINDOW + 3))
        for data in reversed(batches):
            self.apply(data)
        self.assertEqual(self.told.count(Old(None)), 1)
        self.assertTrue(all(isinstance(each, Old) for each in self.told), "none seemed a duplicate")
        _, rest = self.take()
        self.apply(rest)
        self.assertEqual(len(self.told), WINDOW + 3)


class BoundsTests(ProposalsTestCase):
    def test_commands(self) -> None:
        """Beyond its number of commands one more is told Overloaded, until others are answered."""
        self.proposals = proposals(self.clock, limit_commands=2)
        self.add(Put("a", "1"), Put("b", "1"), Put("c", "1"))
        self.assertIsInstance(self.only(), Overloaded)
        _, data = self.take()
        self.add(Put("d", "1"))
        self.assertIsInstance(self.told[1], Overloaded)
        self.apply(data)
        self.add(Put("e", "1"))
        self.assertEqual(len(self.told), 4)
        self.assertEqual(self.proposals.waiting, 1)

    def test_bytes(self) -> None:
        """Bytes are bounded as they are encoded, not by characters."""
        command = Put("k", "é" * 100)
        self.proposals = proposals(self.clock, limit_bytes=2 * len(encode_commands((command,))))
        self.add(command, command, command)
        self.assertIsInstance(self.only(), Overloaded)
        self.assertEqual(self.proposals.waiting, 2)

    def test_not_encodable(self) -> None:
        """A command that cannot be encoded is refused alone, and the batch goes on without it."""
        self.add(Put("a", "1"), Put("\ud800", "1"), SetSize(2**70), Put("b", "1"))
        self.assertEqual([type(each) for each in self.told], [BadRequest, BadRequest])
        self.assertEqual(decode(self.take()[1]).commands, [Put("a", "1"), Put("b", "1")])

    def test_too_large(self) -> None:
        """A command larger than any valid one is refused."""
        self.add(Put("a", "x" * COMMAND_BYTES_MAX))
        self.assertIsInstance(self.only(), BadRequest)


class ResolveTests(ProposalsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.add(Put("a", "1"))
        self.sequence, self.data = self.take()

    def test_not_ours(self) -> None:
        """Results of another node, or of an earlier life of this one, answer nobody."""
        for name in ((2, 2), (1, 1)):
            applied = self.machines.apply(MemoryState(), 1, self.data)
            foreign = type(applied)(*name, applied.sequence, applied.results, [])
            self.proposals.resolve(foreign)
        self.assertEqual(self.told, [])
        self.apply(self.data)
        self.assertEqual(self.told, [Old(None)])

    def test_twice(self) -> None:
        """A batch that comes through the log twice is answered once, by the first."""
        self.apply(self.data)
        self.apply(self.data)
        self.assertEqual(self.told, [Old(None)])

    def test_answer_lost(self) -> None:
        """A batch that was applied where this node did not see it has an unknown outcome."""
        self.machines.apply(self.state, 1, self.data)
        self.apply(self.data)
        self.assertIsInstance(self.only(), OutcomeUnknown)

    def test_other_number_of_results(self) -> None:
        """A batch under our name that is not ours does not answer some and leave others."""
        applied = self.machines.apply(self.state, 1, self.data)
        assert applied.results is not None
        self.proposals.resolve(type(applied)(1, 2, self.sequence, applied.results * 2, []))
        self.assertIsInstance(self.only(), OutcomeUnknown)

    def test_failing_callback(self) -> None:
        """A callback that raises is logged and hurts no other."""
        self.told.clear()
        self.proposals.add(Put("b", "1"), lambda result: 1 // 0)  # type: ignore[arg-type, return-value]
        self.add(Put("c", "1"))
        self.apply(self.take()[1])
        self.assertEqual(self.told, [Old(None)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_callback_adds(self) -> None:
        """A callback may add the next command."""
        self.proposals.add(Put("b", "1"), lambda result: self.add(Put("c", "1")))
        self.apply(self.take()[1])
        self.apply(self.take()[1])
        self.assertEqual(self.machines.query(self.state, Get("c")), "1")


class RefuseTests(ProposalsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.add(Put("a", "1"))
        self.sequence, self.data = self.take()

    def test_definite(self) -> None:
        """A batch that was not accepted is answered with the reason, and forgotten."""
        error = DiskFull("no space")
        self.proposals.refuse(self.sequence, error)
        self.assertIs(self.only(), error)
        self.assertEqual((self.proposals.waiting, self.proposals.unresolved()), (0, []))

    def test_proposed_before(self) -> None:
        """A refusal of a second copy is no answer: the first may have been accepted."""
        self.proposals.unresolved()
        self.proposals.refuse(self.sequence, Overloaded("full"))
        self.assertEqual(self.told, [])
        self.apply(self.data)
        self.assertEqual(self.told, [Old(None)])

    def test_unknown(self) -> None:
        """A refusal of what does not wait is ignored."""
        self.proposals.refuse(99, Overloaded("full"))
        self.assertEqual(self.proposals.waiting, 1)


class UnresolvedTests(ProposalsTestCase):
    def test_same_bytes(self) -> None:
        """What has no answer is proposed again as it was, in order, and applies once."""
        self.add(Put("a", "1"))
        first = self.take()
        self.add(Put("a", "2"))
        second = self.take()
        self.assertEqual(self.proposals.unresolved(), [first, second])
        for _, data in (first, first, second, first):
            self.apply(data)
        self.assertEqual(self.told, [Old(None), Old("1")])
        self.assertEqual(self.proposals.unresolved(), [])

    def test_older_than(self) -> None:
        """Only what was last proposed long enough ago is proposed again."""
        self.add(Put("a", "1"))
        first = self.take()
        self.clock.advance(1)
        self.add(Put("a", "2"))
        self.take()
        self.assertEqual(self.proposals.unresolved(older_than=1.0), [first])
        self.assertEqual(self.proposals.unresolved(older_than=1.0), [])


class SweepTests(ProposalsTestCase):
    def test_proposed(self) -> None:
        """After the time-out the outcome of a batch is unknown, and it is not proposed again."""
        self.add(Put("a", "1"))
        self.take()
        self.clock.advance(4.9)
        self.proposals.sweep()
        self.assertEqual(self.told, [])
        self.clock.advance(0.1)
        self.proposals.sweep()
        error = self.only()
        assert isinstance(error, OutcomeUnknown)
        self.assertFalse(error.definite)
        self.assertEqual((self.proposals.unresolved(), self.proposals.waiting), ([], 0))

    def test_gathered(self) -> None:
        """What was never proposed is told so: a definite answer."""
        self.add(Put("a", "1"))
        self.clock.advance(5)
        self.proposals.sweep()
        error = self.only()
        assert isinstance(error, Unavailable)
        self.assertTrue(error.definite)
        self.assertIsNone(self.proposals.take())
        self.assertEqual(self.proposals.waiting_bytes, 0)

    def test_applied_late(self) -> None:
        """A batch that applies after its time-out answers nobody a second time."""
        self.add(Put("a", "1"))
        _, data = self.take()
        self.clock.advance(5)
        self.proposals.sweep()
        self.apply(data)
        self.apply(data)
        self.assertEqual(len(self.told), 1)
        self.assertEqual(self.machines.revision(self.state), 1)

    def test_too_late(self) -> None:
        """A batch given up does not apply once a later batch has been applied."""
        self.add(Put("a", "1"))
        _, late = self.take()
        self.clock.advance(5)
        self.proposals.sweep()
        self.add(Put("a", "2"))
        self.apply(self.take()[1])
        self.apply(late)
        self.assertEqual(self.machines.query(self.state, Get("a")), "2")


class FailAllTests(ProposalsTestCase):
    def test_both_kinds(self) -> None:
        """At the end what was proposed has an unknown outcome, and what was not, none."""
        self.add(Put("a", "1"))
        self.take()
        self.add(Put("b", "1"))
        self.proposals.fail_all("the node is stopping")
        self.assertEqual([type(each) for each in self.told], [Unavailable, OutcomeUnknown])
        self.assertTrue(all("the node is stopping" in str(each) for each in self.told))
        self.assertEqual((self.proposals.waiting, self.proposals.waiting_bytes), (0, 0))


class Journey(RuleBasedStateMachine):
    """Commands through a log that repeats, delays and loses batches, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.proposals = proposals(self.clock)
        self.machines = Machines()
        self.state = MemoryState()
        self.told: dict[int, list[Result | UringError]] = {}
        self.network: list[bytes] = []

    def callback(self, number: int) -> Callable[[Result | UringError], None]:
        return self.told.setdefault(number, []).append

    @rule(count=st.integers(1, 3))
    def add(self, count: int) -> None:
        for number in range(len(self.told), len(self.told) + count):
            self.proposals.add(Put(str(number), "x"), self.callback(number))

    @rule(accepted=st.booleans())
    def take(self, accepted: bool) -> None:
        while (taken := self.proposals.take()) is not None:
            if accepted:
                self.network.append(taken[1])
            else:
                self.proposals.refuse(taken[0], Overloaded("full"))

    @rule()
    def repeat(self) -> None:
        self.network.extend(data for _, data in self.proposals.unresolved())

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        if self.network:
            self.network.pop(data.draw(st.integers(0, len(self.network) - 1)))

    @rule(data=st.data())
    def apply(self, data: st.DataObject) -> None:
        if self.network:
            entry = self.network.pop(data.draw(st.integers(0, len(self.network) - 1)))
            self.proposals.resolve(self.machines.apply(self.state, 1, entry))

    @rule(seconds=st.sampled_from([0.5, 2.5]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.proposals.sweep()

    @invariant()
    def told_the_truth_once(self) -> None:
        """Answered once; a result means applied, a definite error means never applied."""
        unanswered = 0
        for number, answers in self.told.items():
            assert len(answers) <= 1
            unanswered += not answers
            stored = self.machines.query(self.state, Get(str(number))) is not None
            for answer in answers:
                if isinstance(answer, UringError):
                    assert not (answer.definite and stored)
                else:
                    # Each key is put by one command: had it applied twice, it would find itself.
                    assert answer == Old(None) and stored
        assert self.machines.revision(self.state) == len(list(self.state.iterate(b"k")))
        assert self.proposals.waiting == unanswered


class JourneyTests(SynchronousTestCase):
    def test_any_journey(self) -> None:
        """However batches are lost, repeated and delayed, each applies at most once and no client
        is told what is not so.
        """
        run_state_machine_as_test(
            Journey, settings=settings(max_examples=60, stateful_step_count=50, deadline=None)
        )
