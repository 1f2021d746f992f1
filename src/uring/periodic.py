"""Backups from time to time: a node that has a --backup-dir takes its own, of what it has applied.

Each interval of the wall clock is shared out among the members by their ids, so that no two nodes
are busy with it at the same time as long as a backup takes less than its share.  A node that was
down when it was its turn catches up when it is back.  What fails is logged, shown, and tried again;
it never stops the node, and never takes an older backup with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from uring.archive import Archive, Draft, Kept
from uring.backup import Backup
from uring.errors import UringError

if TYPE_CHECKING:
    from uring.node import Node

CHECK_SECONDS = 1.0
RETRY_SECONDS = 300.0
"""Until the next attempt after one that failed, unless the interval is shorter."""
FIRST_SECONDS = 30.0
"""Nodes that are overdue when they start begin within so long, each at a moment of its own."""


@define(eq=False)
class PeriodicBackups:
    """One backup at a time, when it is this node's turn."""

    node: Node
    archive: Callable[[str], Archive]
    """Returns the directory for the backups of the cluster of that id."""
    thread: Any
    """Another disk thread: it waits for the directory's disk, and nobody waits for it."""
    interval: float
    """In seconds."""
    chance: Callable[[], float]
    last: Kept | None = field(default=None, init=False)
    """The newest that is complete."""
    problem: str = field(default="", init=False)
    """Why the last attempt failed; empty if it did not."""
    seconds: float = field(default=0.0, init=False)
    """What the last one took."""
    log: Logger = field(factory=lambda: Logger(namespace="uring.backup"), init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _busy: bool = field(default=False, init=False)
    _looked: bool = field(default=False, init=False)
    """Whether what is in the directory was found out."""
    _not_before: float = field(default=0.0, init=False)
    _began: float = field(default=0.0, init=False)
    _stopped: bool = field(default=False, init=False)
    _draft: Draft | None = field(default=None, init=False)
    _source: Backup | None = field(default=None, init=False)

    def start(self) -> None:
        """Begin to look at the clock."""
        wait = self.chance() * min(FIRST_SECONDS, self.interval / 4)
        self._not_before = self.node.clock.seconds() + wait
        self._again()

    def stop(self) -> None:
        """Begin no other; what is under way is given up, and removed at the next start."""
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._source is not None:
            self._source.close()

    def shown(self) -> dict[str, Any]:
        """Return what /status shows."""
        last = self.last
        return {
            "interval_seconds": self.interval,
            "last": None if last is None else last.name,
            "last_taken": None if last is None else last.taken,
            "last_bytes": None if last is None else last.bytes,
            "problem": self.problem or None,
        }

    # -- when ------------------------------------------------------------------------------------

    def _again(self) -> None:
        self._call = self.node.clock.callLater(CHECK_SECONDS, self._check)

    def _check(self) -> None:
        self._again()
        node, now = self.node, self.node.clock.seconds()
        if self._busy or now < self._not_before or not node.directory.identity.cluster_id:
            return
        if not self._looked:
            self._submit(self._archive().kept, self._found)
        elif self.is_due():
            self._begin()

    def _archive(self) -> Archive:
        return self.archive(self.node.directory.identity.cluster_id.hex())

    def is_due(self) -> bool:
        """Tell whether this node's turn has come since its last backup was taken."""
        return self.last is None or self.turn() > self.last.taken

    def turn(self) -> float:
        """Return when this node's turn came last, by the wall clock (s since 1970)."""
        members = sorted({*self.node.members_known(), self.node.id})
        share = members.index(self.node.id) / len(members)
        return (math.floor(self._wall() / self.interval - share) + share) * self.interval

    def _wall(self) -> float:
        return self.node.facts().get("wall_time", 0.0)

    def _found(self, kept: list[Kept]) -> None:
        """Take the newest; one from the future was dated by a clock that has been set since."""
        self._busy, self._looked, self.problem = False, True, ""
        now = self._wall()
        self.last = max((each for each in kept if each.taken <= now), default=None)

    # -- one backup ------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._began = self.node.clock.seconds()
        self._submit(self._archive().begin, self._opened)

    def _submit(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run ``work`` in the thread, then ``then``; what fails ends this attempt, and no more."""

        def done(result: Any) -> None:
            if self._stopped:
                return
            if isinstance(result, Failure):
                self._failed(result.getErrorMessage())
            else:
                then(result)

        self._busy = True
        self.thread.submit(work, done)

    def _opened(self, draft: Draft) -> None:
        self._draft = draft
        try:
            self._source = self.node.begin_backup()
        except UringError as error:
            self._failed(str(error))
            return
        self._source.on_abort = lambda: self._failed("the disk of --backup-dir does not answer")
        self._source.next(self._piece)

    def _piece(self, piece: bytes | UringError) -> None:
        """Write a piece, and ask for the next when that is done: one is in memory at a time."""
        draft, source = self._draft, self._source
        if self._stopped or draft is None or source is None:
            return
        if isinstance(piece, UringError):
            self._failed(str(piece))
        elif piece:
            self._submit(lambda: draft.write(piece), lambda written: self._next(source))
        else:
            self._submit(draft.finish, self._finished)

    def _next(self, source: Backup) -> None:
        if self._source is source:
            source.next(self._piece)

    def _finished(self, result: tuple[Kept, list[str]]) -> None:
        self.last, removed = result
        self._end()
        self.problem = ""
        self.node.measures.backups += 1
        self.seconds = self.node.clock.seconds() - self._began
        self.log.info(
            "backup {name} is complete: {size} bytes in {seconds:.1f} s; {removed} removed",
            name=self.last.name,
            size=self.last.bytes,
            seconds=self.seconds,
            removed=len(removed),
        )

    def _failed(self, reason: str) -> None:
        draft = self._draft
        if draft is not None:
            self.thread.submit(draft.discard, lambda result: None)
        self._end()
        self.problem = reason
        self.node.measures.backup_failures += 1
        self._not_before = self.node.clock.seconds() + min(self.interval, RETRY_SECONDS)
        self.log.error("no backup was made: {reason}", reason=reason)

    def _end(self) -> None:
        source, self._source, self._draft = self._source, None, None
        if source is not None:
            source.close()
        self._busy = False
