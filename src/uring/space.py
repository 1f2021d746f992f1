"""A reserve of disk space: writes that grow the state stop before the disk is full.

LevelDB may lose later writes once one has failed for want of space, so the first write that fails
ends the process (docs/DISK.md).  It must not come to that: below the reserve new data is refused,
while the log goes on within it, and what makes room is still taken.  Every node watches its own
disk and tells the others, because what the leader's disk cannot take no node may accept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure

from uring.errors import DiskFull
from uring.machines.commands import AddNode, Cas, Command, Grant, Once, Put, PutOp, SetSize, Txn

CHECK_SECONDS = 1.0
CLEAR_FACTOR = 1.1
"""How much more than the reserve must be free again: who is at the edge shall not flicker."""


def free_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes that this user may still write where ``path`` is.  May block."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def grows(command: Command) -> bool:
    """Tell whether ``command`` may make the state larger."""
    if isinstance(command, Once):
        command = command.command
    if isinstance(command, Txn):
        return any(isinstance(each, PutOp) for each in (*command.then, *command.otherwise))
    return isinstance(command, Put | Cas | Grant | SetSize | AddNode)


@define
class DiskSpace:
    """What one node knows of its own disk and of those of others."""

    free: Callable[[], int] | None
    """Measures; called in ``thread``.  None where nothing is watched."""
    reserve: int
    """In bytes."""
    thread: Callable[[Callable[[], Any], Callable[[Any], None]], None]
    """Runs its first argument elsewhere, then the second with what came of it."""
    changed: Callable[[bool], None]
    """Told when this node's own disk gets low, and when it is not any more."""
    log: Logger = field(factory=lambda: Logger(namespace="uring.space"))
    own: bool = field(default=False, init=False)
    others: set[int] = field(factory=set, init=False)
    """Other nodes that said that theirs is low."""
    is_low: bool = field(default=False, init=False)
    """Whether any is: asked for each command, and nearly always all that is asked."""
    _measuring: bool = field(default=False, init=False)
    _next: float = field(default=0.0, init=False)
    _failed: bool = field(default=False, init=False)

    def check(self, now: float) -> None:
        """Measure if it is time to."""
        if self.free is None or not self.reserve or self._measuring or now < self._next:
            return
        self._measuring = True
        self._next = now + CHECK_SECONDS
        self.thread(self.free, self._measured)

    def _measured(self, found: int | Failure) -> None:
        self._measuring = False
        if isinstance(found, Failure):
            if not self._failed:
                self.log.warn("free space unknown: {why}", why=found.getErrorMessage())
            self._failed = True
            return
        self._failed = False
        is_low = found < self.reserve * (CLEAR_FACTOR if self.own else 1)
        if is_low == self.own:
            return
        self.own = is_low
        text = "only {free} MiB are free" if is_low else "{free} MiB are free again"
        log = self.log.error if is_low else self.log.warn
        log(text, free=found >> 20, reserve=self.reserve >> 20)
        self._update()
        self.changed(is_low)

    def heard(self, node: int, is_low: bool) -> None:
        """Take note of what another node says of its disk; False also when it is gone."""
        (self.others.add if is_low else self.others.discard)(node)
        self._update()

    def _update(self) -> None:
        self.is_low = self.own or bool(self.others)

    def refusal(self, command: Command, leader: int) -> DiskFull | None:
        """Say why ``command`` is not taken while ``leader`` leads, or None if it is."""
        if not (self.own or leader in self.others) or not grows(command):
            return None
        whose = "this node" if self.own else f"the leader, node {leader}"
        return DiskFull(
            f"the disk of {whose} has less than its reserve left; nothing was done, reads and "
            "deletes go on: make room, or delete keys"
        )
