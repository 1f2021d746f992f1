"""Commands that wait: gathered into batches, proposed, answered when they have been applied.

A batch keeps its sequence until it is settled, so it may be proposed again after a lost forward or
a change of leader: the machines apply it once.  A batch whose clients were told that the outcome is
unknown is settled, too: it is not proposed again, and if a copy of it comes late, it applies at
most once or, below the floor of a later batch, not at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import define, field
from twisted.logger import Logger

from uring.errors import BadRequest, OutcomeUnknown, Overloaded, Unavailable, UringError
from uring.machines.commands import Command, Result
from uring.machines.limits import COMMAND_BYTES_MAX
from uring.machines.proposal import ProposalError, encode_commands, join
from uring.machines.sessions import WINDOW
from uring.machines.table import Applied
from uring.together import DoneAll, one_by_one

Done: TypeAlias = Callable[[Result | UringError], None]

BATCH_COMMANDS_MAX = 2048
"""Commands in one entry: applying them takes some 10 ms, the longest that a turn should."""
BATCH_BYTES_MAX = 1024 * 1024
"""Encoded commands in one entry, unless one command alone has more."""


@define(eq=False)  # frozen would take three times as long to make
class Gathered:
    """Commands that came together and wait for a batch; all of them are in the same one."""

    data: bytes
    count: int
    done: DoneAll
    deadline: float


@define
class Batch:
    """One entry on its way."""

    sequence: int
    data: bytes
    waiting: list[Gathered]
    count: int
    """How many commands it has,"""
    size: int
    """and their bytes."""
    proposed: float
    """When it was last proposed, in seconds."""
    deadline: float
    """When its newest command gives up, in seconds."""
    repeated: bool = False
    """Whether it was proposed more than once: a refusal then speaks of one copy only."""


@define
class Proposals:
    """All commands of this node that have no answer yet."""

    node_id: int
    incarnation: int
    """Greater in each life of the node, and never 0."""
    seconds: Callable[[], float]
    timeout: float
    """Seconds until a client is told that the outcome is unknown."""
    limit_commands: int
    """Most commands that may wait at once."""
    limit_bytes: int
    """Most bytes of encoded commands that may wait at once."""
    log: Logger = field(factory=lambda: Logger(namespace="uring.proposals"))
    _gathered: deque[Gathered] = field(factory=deque, init=False)
    _batches: dict[int, Batch] = field(factory=dict, init=False)
    """By sequence, ascending: sequences only grow."""
    _sequence: int = field(default=0, init=False)
    _commands: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)

    @property
    def waiting(self) -> int:
        """Commands without an answer."""
        return self._commands

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the encoded commands without an answer."""
        return self._bytes

    def add(self, command: Command, done: Done) -> None:
        """Let ``command`` be in the next batch.

        ``done`` is told at once if it cannot: Overloaded if too many wait, BadRequest if it cannot
        be encoded or is too large (which the doors should have seen).
        """

        def done_all(results: Sequence[Result | UringError]) -> None:
            done(results[0])

        try:
            data = encode_commands((command,))
        except ProposalError as problem:
            self._tell(done_all, 1, BadRequest(str(problem)))
            return
        if len(data) > COMMAND_BYTES_MAX:
            why = f"a command may take at most {COMMAND_BYTES_MAX} bytes"
            self._tell(done_all, 1, BadRequest(why))
        elif not self._gather(1, data, done_all):
            why = "too many commands are waiting; try again later"
            self._tell(done_all, 1, Overloaded(why))

    def add_all(self, commands: Sequence[Command], done: DoneAll) -> None:
        """Let ``commands`` be in one batch, in this order; as :meth:`add` does with each of them.

        So they are encoded and answered by one call.  Where that cannot be, because one of them is
        wrong or there is no room for all, each is added by itself.
        """
        try:
            data = encode_commands(commands)
        except ProposalError:
            data = b""
        fits = len(commands) <= BATCH_COMMANDS_MAX and 0 < len(data) <= BATCH_BYTES_MAX
        if not (fits and self._gather(len(commands), data, done)):
            one_by_one(self.add, commands, done)

    def _gather(self, count: int, data: bytes, done: DoneAll) -> bool:
        """Keep ``count`` encoded commands for a batch; False if there is no room for them."""
        commands, size = self._commands + count, self._bytes + len(data)
        if commands > self.limit_commands or size > self.limit_bytes:
            return False
        self._commands, self._bytes = commands, size
        self._gathered.append(Gathered(data, count, done, self.seconds() + self.timeout))
        return True

    def take(self) -> tuple[int, bytes] | None:
        """Make a batch of what was gathered and return (sequence, encoded).

        None when nothing is gathered, or when so many batches are under way that the machines could
        not tell one more apart; what is gathered then waits.  To be called until it returns None,
        in each turn.
        """
        if not self._gathered:
            return None
        floor = next(iter(self._batches), self._sequence + 1)
        if self._sequence + 1 - floor >= WINDOW:
            return None
        taken, count, size = self._take_commands()
        self._sequence += 1
        commands = [each.data for each in taken]
        data = join(self.node_id, self.incarnation, self._sequence, floor, count, commands)
        self._batches[self._sequence] = Batch(
            sequence=self._sequence,
            data=data,
            waiting=taken,
            count=count,
            size=size,
            proposed=self.seconds(),
            deadline=taken[-1].deadline,
        )
        return self._sequence, data

    def _take_commands(self) -> tuple[list[Gathered], int, int]:
        gathered = self._gathered
        taken = [gathered.popleft()]
        count, size = taken[0].count, len(taken[0].data)
        while gathered:
            more, larger = count + gathered[0].count, size + len(gathered[0].data)
            if more > BATCH_COMMANDS_MAX or larger > BATCH_BYTES_MAX:
                break
            taken.append(gathered.popleft())
            count, size = more, larger
        return taken, count, size

    def proposed_at(self, applied: Applied) -> float | None:
        """Return when a batch that was applied was last proposed, None if it is none of ours."""
        if (applied.proposer, applied.incarnation) != (self.node_id, self.incarnation):
            return None
        batch = self._batches.get(applied.sequence)
        return None if batch is None else batch.proposed

    def resolve(self, applied: Applied) -> None:
        """Answer the batch that was applied, if it is one of ours."""
        if applied.proposer != self.node_id or applied.incarnation != self.incarnation:
            return
        batch = self._settle(applied.sequence)
        if batch is None:
            return
        results = applied.results
        if results is None or len(results) != batch.count:
            # Applied before, at a place in the log that a snapshot has jumped over here.
            self._tell_all(batch, OutcomeUnknown("outcome unknown: the answer was lost"))
            return
        place = 0
        for each in batch.waiting:
            end = place + each.count
            try:
                each.done(results[place:end])
            except Exception:
                self.log.failure("a client's callback failed")
            place = end

    def refuse(self, sequence: int, error: UringError) -> None:
        """Take note that a batch was not accepted for the log, and answer it with ``error``.

        A batch that was proposed more than once goes on waiting, since another copy may have been
        accepted.
        """
        batch = self._batches.get(sequence)
        if batch is not None and not batch.repeated:
            self._settle(sequence)
            self._tell_all(batch, error)

    def unresolved(self, older_than: float = 0.0) -> list[tuple[int, bytes]]:
        """Return the batches last proposed ``older_than`` seconds ago or more, as proposed now."""
        now = self.seconds()
        again = [batch for batch in self._batches.values() if now - batch.proposed >= older_than]
        for batch in again:
            batch.proposed = now
            batch.repeated = True
        return [(batch.sequence, batch.data) for batch in again]

    def sweep(self) -> None:
        """Answer those whose time is over: OutcomeUnknown, or Unavailable if never proposed."""
        now = self.seconds()
        late = []
        while self._gathered and self._gathered[0].deadline <= now:
            late.append(self._forget_oldest())
        due = [batch for batch in self._batches.values() if batch.deadline <= now]
        for batch in due:
            self._settle(batch.sequence)
        for each in late:
            error = Unavailable("not proposed in time; nothing was done")
            self._tell(each.done, each.count, error)
        for batch in due:
            self._tell_all(
                batch, OutcomeUnknown("outcome unknown: not applied in time; read before retrying")
            )

    def fail_all(self, reason: str) -> None:
        """Answer everything: the node stops, or a snapshot took the place of the answers."""
        gathered = [self._forget_oldest() for _ in range(len(self._gathered))]
        batches = list(self._batches.values())
        for batch in batches:
            self._settle(batch.sequence)
        for each in gathered:
            self._tell(each.done, each.count, Unavailable(reason))
        for batch in batches:
            self._tell_all(batch, OutcomeUnknown(f"outcome unknown: {reason}"))

    def _forget_oldest(self) -> Gathered:
        oldest = self._gathered.popleft()
        self._commands -= oldest.count
        self._bytes -= len(oldest.data)
        return oldest

    def _settle(self, sequence: int) -> Batch | None:
        batch = self._batches.pop(sequence, None)
        if batch is not None:
            self._commands -= batch.count
            self._bytes -= batch.size
        return batch

    def _tell_all(self, batch: Batch, error: UringError) -> None:
        for each in batch.waiting:
            self._tell(each.done, each.count, error)

    def _tell(self, done: DoneAll, count: int, error: UringError) -> None:
        try:
            done([error] * count)
        except Exception:
            self.log.failure("a client's callback failed")
