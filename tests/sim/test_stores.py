"""The real stores over a disk that forgets: log and state as one state machine, with power cuts."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.sim.stores import Crashed, Files, open_files, simulated_files
from tests.store.base import run, sync, write
from uring.raft.types import Entry, HardState
from uring.store.directory import DataDirectory

BIG = 1 << 40
KEYS = st.sampled_from((b"a", b"b", b"c"))
CRASH = st.integers(0, 12)
"""The touch of the disk at which the process ends; 0 for never."""


class PowerMachine(RuleBasedStateMachine):
    """What was synced is there again; of the rest, a beginning, and all that belongs together.

    The log is written synced, so that it loses nothing but what was being written when the process
    ended.  The state is not: it may fall back, but never past what was synced, and it is then what
    it was at the index at which it stands.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(simulated_files(Random(1)))
        self.files = Files(Random(2))
        self.log: list[Entry] = []
        """All entries, from index 1 on, as they must be; some may be compacted."""
        self.possible: list[Entry] | None = None
        """The same if the write that was interrupted has taken place."""
        self.hard = {HardState()}
        self.term = 1
        self.states: dict[int, dict[bytes, bytes]] = {0: {}}
        self.synced = self.applied = 0
        self.open()

    def open(self) -> None:
        self.files.begin()
        self.directory: DataDirectory = open_files(self.files, 1)
        log, state = self.directory.log, self.directory.state
        found = log.entries(log.first_index(), log.last_index() + 1, BIG)
        expected = [self.log] if self.possible is None else [self.log, self.possible]
        for entries in expected:
            if entries[log.first_index() - 1 :] == found:
                self.log, self.possible = entries, None
                break
        else:
            raise AssertionError(f"the log holds {found}, not one of {expected}")
        kept = evolved(log.hard_state)
        assert kept in {evolved(hard) for hard in self.hard}, f"{kept}, not one of {self.hard}"
        self.hard = {log.hard_state}
        assert self.synced <= state.applied_index <= self.applied
        self.applied = self.synced = state.applied_index
        self.states = {i: each for i, each in self.states.items() if i <= self.applied}
        assert dict(state.iterate(b"")) == self.states[self.applied]

    def guarded(self, crash_in: int, act: Any) -> bool:
        """Do something, unless the process ends meanwhile; then power may be cut, too."""
        self.files.crash_in = crash_in
        try:
            act()
        except Crashed:
            if crash_in % 2:
                self.files.lose_power()
            self.open()
            return False
        self.files.crash_in = 0
        return True

    @rule(back=st.integers(0, 3), count=st.integers(1, 4), rise=st.integers(0, 1), crash=CRASH)
    def append(self, back: int, count: int, rise: int, crash: int) -> None:
        """Write entries, perhaps over a tail that is not applied."""
        start = max(self.applied, len(self.log) - back) + 1
        self.term += rise
        new = run(start, start + count - 1, self.term)
        hard = HardState(self.term, 1, self.applied)
        before, self.possible = self.hard, [*self.log[: start - 1], *new]
        self.hard = before | {hard}
        if self.guarded(crash, lambda: write(self.directory.log, new, hard)):
            self.log, self.possible, self.hard = self.possible, None, {hard}

    @precondition(lambda self: self.applied < len(self.log))
    @rule(data=st.data(), values=st.dictionaries(KEYS, st.binary(max_size=2)), crash=CRASH)
    def apply(self, data: Any, values: dict[bytes, bytes], crash: int) -> None:
        """Apply some entries; an empty value stands for a deletion."""
        index = data.draw(st.integers(self.applied + 1, len(self.log)))
        after = {**self.states[self.applied], **values}
        transaction = self.directory.state.begin()
        for key, value in values.items():
            if value:
                transaction.put(key, value)
            else:
                transaction.delete(key)
                after.pop(key, None)
        self.states[index] = after
        before, self.applied = self.applied, index
        if not self.guarded(crash, lambda: transaction.commit(index, self.log[index - 1].term)):
            assert self.applied in (before, index) or self.applied < before

    @rule(crash=CRASH)
    def sync(self, crash: int) -> None:
        def act() -> None:
            sync(self.directory.state)
            self.synced = self.applied

        self.guarded(crash, act)

    @precondition(lambda self: self.synced >= self.directory.log.first_index())
    @rule(data=st.data(), crash=CRASH)
    def compact(self, data: Any, crash: int) -> None:
        """Drop what the synced state covers."""
        log = self.directory.log
        index = data.draw(st.integers(log.first_index(), self.synced))

        def act() -> None:
            batch = log.compact(index, self.log[index - 1].term)
            batch.write()
            batch.done()
            while (piece := log.collect_garbage(2)) is not None:
                piece.write()
                piece.done()

        self.guarded(crash, act)

    @precondition(lambda self: self.directory.log.first_index() <= self.applied)
    @rule(size=st.sampled_from((1, 40, BIG)), crash=CRASH)
    def install(self, size: int, crash: int) -> None:
        """Replace the state by a snapshot of itself, and the log by what follows it."""
        state, log = self.directory.state, self.directory.log
        self.possible = self.log[: self.applied]

        def act() -> None:
            reader, writer = state.snapshot_reader(), state.snapshot_writer()
            position: bytes | None = b""
            while position is not None:
                chunk, position = reader.read(position, size)
                writer.write(chunk)
            writer.finish(reader.summary(), reader.meta)
            meta = reader.meta
            reader.close()
            job = state.install(writer)
            job.write()
            job.done()
            self.synced = self.applied
            write(log, (), None, meta)

        if self.guarded(crash, act):
            self.log, self.possible = self.log[: self.applied], None

    @rule()
    def cut_power(self) -> None:
        self.files.lose_power()
        self.open()

    @rule()
    def restart(self) -> None:
        self.synced = self.applied  # a process that is killed loses nothing
        self.directory.close()
        self.open()

    @invariant()
    def alike(self) -> None:
        log, state = self.directory.log, self.directory.state
        assert log.last_index() == len(self.log)
        assert dict(state.iterate(b"")) == self.states[self.applied]
        assert log.first_index() <= state.synced_index + 1

    def teardown(self) -> None:
        self.stack.close()


def evolved(hard: HardState) -> tuple[int, int]:
    """Return what a node must remember; the commit index may be what the state proves."""
    return hard.term, hard.vote


class StoreTests(SynchronousTestCase):
    def test_power_cuts(self) -> None:
        """See :class:`PowerMachine`."""
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            PowerMachine, settings=settings(max_examples=80, stateful_step_count=30, deadline=None)
        )
