"""Commands that wait: gathered into batches, proposed, answered when they have been applied.

A batch keeps its sequence until it is settled, so it may be proposed again after a lost forward or
a change of leader: the machines apply it once.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TypeAlias

from attrs import define, field
from twisted.logger import Logger

from uring.errors import Overloaded, OutcomeUnknown, Unavailable, UringError
from uring.machines.commands import Cas, Command, Put, Result
from uring.machines.proposal import Proposal, encode
from uring.machines.table import Applied

Done: TypeAlias = Callable[[Result | UringError], None]

BATCH_COMMANDS_MAX = 2048
"""Commands in one entry: applying them takes some 10 ms, the longest that a turn should."""
BATCH_BYTES_MAX = 1024 * 1024
"""Bytes of keys and values in one entry, unless one command alone has more."""


@define
class Batch:
    """One entry on its way."""

    sequence: int
    data: bytes
    waiting: list[Done]
    size: int
    proposed: float
    """When it was last proposed."""
    deadline: float


@define
class Proposals:
    """All commands of this node that have no answer yet."""

    node_id: int
    incarnation: int
    seconds: Callable[[], float]
    timeout: float
    """Seconds until a client is told that the outcome is unknown."""
    limit_commands: int
    limit_bytes: int
    log: Logger = field(factory=lambda: Logger(namespace="uring.proposals"))
    _gathered: list[tuple[Command, Done, int]] = field(factory=list, init=False)
    _batches: dict[int, Batch] = field(factory=dict, init=False)
    """By sequence, ascending: sequences only grow."""
    _sequence: int = field(default=0, init=False)
    _commands: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)

    @property
    def waiting(self) -> int:
        """Commands without an answer."""
        return self._commands

    def add(self, command: Command, done: Done) -> None:
        """Let ``command`` be in the next batch; ``done`` is told at once if too many wait."""
        size = _size(command)
        if self._commands >= self.limit_commands or self._bytes + size > self.limit_bytes:
            self._tell(done, Overloaded("too many commands are waiting; try again later"))
            return
        self._commands += 1
        self._bytes += size
        self._gathered.append((command, done, size))

    def take(self) -> tuple[int, bytes] | None:
        """Make a batch of what was gathered and return (sequence, encoded), or None."""
        if not self._gathered:
            return None
        count, size = 0, 0
        for _, _, each in islice(self._gathered, BATCH_COMMANDS_MAX):
            if count and size + each > BATCH_BYTES_MAX:
                break
            count, size = count + 1, size + each
        taken, self._gathered = self._gathered[:count], self._gathered[count:]
        self._sequence += 1
        floor = next(iter(self._batches), self._sequence)
        commands = [command for command, _, _ in taken]
        proposal = Proposal(self.node_id, self.incarnation, self._sequence, floor, commands)
        now = self.seconds()
        self._batches[self._sequence] = Batch(
            sequence=self._sequence,
            data=encode(proposal),
            waiting=[done for _, done, _ in taken],
            size=size,
            proposed=now,
            deadline=now + self.timeout,
        )
        return self._sequence, self._batches[self._sequence].data

    def resolve(self, applied: Applied) -> None:
        """Answer the batch that was applied, if it is one of ours."""
        if applied.proposer != self.node_id or applied.incarnation != self.incarnation:
            return
        batch = self._settle(applied.sequence)
        if batch is None:
            return
        if applied.results is None:
            # Applied before, at a place in the log that a snapshot has jumped over here.
            self._tell_all(batch, OutcomeUnknown("outcome unknown: the answer was lost"))
            return
        for done, result in zip(batch.waiting, applied.results, strict=True):
            self._tell(done, result)

    def refuse(self, sequence: int, error: UringError) -> None:
        """Answer a batch that was certainly not taken."""
        batch = self._settle(sequence)
        if batch is not None:
            self._tell_all(batch, error)

    def unresolved(self, older_than: float = 0.0) -> list[tuple[int, bytes]]:
        """Return the batches last proposed ``older_than`` seconds ago or more, as proposed now."""
        now = self.seconds()
        again = [batch for batch in self._batches.values() if now - batch.proposed >= older_than]
        for batch in again:
            batch.proposed = now
        return [(batch.sequence, batch.data) for batch in again]

    def sweep(self) -> None:
        """Tell the clients of batches whose time is over that the outcome is unknown."""
        now = self.seconds()
        for batch in [each for each in self._batches.values() if each.deadline <= now]:
            self._settle(batch.sequence)
            self._tell_all(
                batch, OutcomeUnknown("outcome unknown: not applied in time; read before retrying")
            )

    def fail_all(self, reason: str) -> None:
        """Answer everything: the node stops, or a snapshot took the place of the answers."""
        gathered, self._gathered = self._gathered, []
        for _, done, size in gathered:
            self._commands -= 1
            self._bytes -= size
            self._tell(done, Unavailable(reason))
        for sequence in list(self._batches):
            batch = self._settle(sequence)
            if batch is not None:
                self._tell_all(batch, OutcomeUnknown(f"outcome unknown: {reason}"))

    def _settle(self, sequence: int) -> Batch | None:
        batch = self._batches.pop(sequence, None)
        if batch is not None:
            self._commands -= len(batch.waiting)
            self._bytes -= batch.size
        return batch

    def _tell_all(self, batch: Batch, error: UringError) -> None:
        for done in batch.waiting:
            self._tell(done, error)

    def _tell(self, done: Done, result: Result | UringError) -> None:
        try:
            done(result)
        except Exception:
            self.log.failure("a client's callback failed")


def _size(command: Command) -> int:
    """Return about how many bytes ``command`` takes in an entry."""
    if type(command) is Put or type(command) is Cas:
        return len(command.key) + len(command.value) + 16
    return 64
