"""Linearizable reads: all that wait share one ReadIndex round, one round at a time (thesis 6.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from uring.errors import Overloaded, Unavailable
from uring.machines.commands import Query
from uring.together import DoneAll, one_by_one

Answer = Callable[[Any], None]
"""Called exactly once, with an answer or a UringError."""


@define
class Waiting:
    """Reads that came together, and when their client gives up (seconds of the node's clock)."""

    queries: Sequence[Query]
    done: DoneAll
    deadline: float


@define
class Round:
    """Reads that one ReadIndex request serves; ``index`` is -1 until the leader has answered."""

    context: bytes
    reads: list[Waiting]
    asked: float
    index: int = -1


@define
class LinearizableReads:
    """Gathers reads, asks for one read index at a time, answers once that much is applied.

    A context is never used twice, not even by the same node in another life: ``incarnation`` is a
    part of it.  So an answer that was delayed in the network cannot serve a later read.
    """

    incarnation: int
    timeout: float
    """Seconds that a read may wait."""
    limit: int
    """Most reads that may wait at once."""
    retry: float
    """Seconds after which a round without an answer is asked again."""
    _gathered: list[Waiting] = field(factory=list, init=False)
    _asking: Round | None = field(default=None, init=False)
    _confirmed: list[Round] = field(factory=list, init=False)
    _waiting: int = field(default=0, init=False)
    _rounds: int = field(default=0, init=False)

    @property
    def waiting(self) -> int:
        """Reads without an answer."""
        return self._waiting

    def add(self, query: Query, done: Answer, now: float) -> None:
        """Let ``query`` wait for the next round."""
        if self._waiting >= self.limit:
            done(Overloaded("too many reads are waiting; try again"))
        else:
            self.add_all((query,), lambda answers: done(answers[0]), now)

    def add_all(self, queries: Sequence[Query], done: DoneAll, now: float) -> None:
        """Let ``queries`` wait for the next round: one call answers them all."""
        if self._waiting + len(queries) > self.limit:
            one_by_one(lambda query, each: self.add(query, each, now), queries, done)
        else:
            self._waiting += len(queries)
            self._gathered.append(Waiting(queries, done, now + self.timeout))

    def next_context(self, now: float) -> bytes | None:
        """Return the context to ask a read index for now, or None when nothing needs one."""
        asking = self._asking
        if asking is None:
            if not self._gathered:
                return None
            asking = self._asking = Round(b"", self._gathered, now)
            self._gathered = []
        elif now - asking.asked < self.retry:
            return None
        self._rounds += 1
        asking.asked = now
        asking.context = b"%d.%d" % (self.incarnation, self._rounds)
        return asking.context

    def ask_again(self) -> None:
        """Let the round under way be asked anew at once: the leader changed, or came back."""
        if self._asking is not None:
            self._asking.asked = float("-inf")

    def confirm(self, context: bytes, index: int) -> None:
        """Take the leader's answer: everything up to ``index`` was committed when it was asked."""
        asking = self._asking
        if asking is not None and asking.context == context:
            asking.index = index
            self._confirmed.append(asking)
            self._asking = None

    def ready(self, applied: int) -> list[Waiting]:
        """Return the reads that may be answered now that ``applied`` is reached."""
        if not self._confirmed:
            return []
        due: list[Waiting] = []
        later: list[Round] = []
        for round_ in self._confirmed:
            if round_.index <= applied:
                due.extend(round_.reads)
            else:
                later.append(round_)
        self._confirmed = later
        self._waiting -= _count(due)
        return due

    def sweep(self, now: float) -> None:
        """Fail the reads whose time is over.  A read changes nothing: the answer is definite."""
        self._fail(lambda read: read.deadline <= now, "no read index from a leader in time")

    def fail_all(self, reason: str) -> None:
        """Fail every read that waits."""
        self._fail(lambda read: True, reason)

    def _fail(self, over: Callable[[Waiting], bool], reason: str) -> None:
        failed: list[Waiting] = []

        def keep(reads: list[Waiting]) -> list[Waiting]:
            failed.extend(read for read in reads if over(read))
            return [read for read in reads if not over(read)]

        self._gathered = keep(self._gathered)
        for round_ in self._confirmed:
            round_.reads = keep(round_.reads)
        self._confirmed = [round_ for round_ in self._confirmed if round_.reads]
        if self._asking is not None:
            self._asking.reads = keep(self._asking.reads)
            if not self._asking.reads:
                self._asking = None
        self._waiting -= _count(failed)
        for read in failed:
            read.done([Unavailable(reason)] * len(read.queries))


def _count(reads: Sequence[Waiting]) -> int:
    return sum([len(read.queries) for read in reads])
