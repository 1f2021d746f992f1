"""Hubs without a node, and subscribers that write down what they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock

from tests.support.disk import ManualDisk
from tests.support.gateway import View, copy_of
from tests.support.segments import memory_history
from uring.errors import UringError
from uring.machines.base import MemoryState
from uring.machines.commands import Command, SetSize
from uring.machines.kv import KvCommand
from uring.machines.proposal import Proposal, encode
from uring.machines.table import Machines
from uring.watch import Hub, Subscription, Told, Watch
from uring.watch.history import History


@define(eq=False)
class Recorder:
    """A sink; ``full`` is what the test says."""

    full: bool = False
    begun: int = -1
    changes: list[tuple[int, str]] = field(factory=list)
    """(revision, key) of every change."""
    refused: list[str] = field(factory=list)
    """Keys of compare-and-swaps that stored nothing."""
    local: list[dict[str, object]] = field(factory=list)
    compactions: list[tuple[int, int]] = field(factory=list)
    items: list[Any] = field(factory=list)
    snapshots: list[int] = field(factory=list)
    """Revisions of the snapshots that are complete."""
    marks: list[int] = field(factory=list)
    error: UringError | None = None
    resume: int | None = None
    after_each: Callable[[], None] = lambda: None
    on_told: Callable[[Sequence[Told]], None] = lambda batch: None

    def subscribed(self, revision: int) -> None:
        self.begun = revision

    def told(self, batch: Sequence[Told]) -> None:
        self.on_told(batch)
        for told in batch:
            if told.channel == "uring":
                self.local.append(told.event.spelled())
            elif told.is_change:
                self.changes.append((told.revision, getattr(told.event, "key", "")))
            else:
                self.refused.append(told.event.key)
        self.after_each()

    def compacted(self, revision: int, oldest: int) -> None:
        self.compactions.append((revision, oldest))

    def snapshot(self, revision: int, items: Sequence[Any], last: bool) -> None:
        self.items.extend(items)
        if last:
            self.snapshots.append(revision)
        self.after_each()

    def progress(self, revision: int) -> None:
        self.marks.append(revision)

    def ended(self, error: UringError, resume: int | None) -> None:
        self.error, self.resume = error, resume

    @property
    def revisions(self) -> list[int]:
        return [revision for revision, _ in self.changes]


@define(eq=False)
class Replica:
    """The machines of one node and its hub; ``log`` may be that of others, too."""

    log: list[list[Command]] = field(factory=list)
    bounds: dict[str, int] = field(factory=dict)
    clock: Clock = field(factory=Clock)
    disk: ManualDisk = field(factory=ManualDisk)
    state: MemoryState = field(factory=MemoryState)
    machines: Machines = field(factory=Machines)
    applied: int = 0
    hub: Hub = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin with a hub that nobody is subscribed to, on the same files."""
        store = memory_history(**self.bounds)
        if hasattr(self, "hub"):
            store.files = self.hub.history.store.files
            store._segments.clear()
            store.open(self.machines.revision(self.state), self.applied)
            self.disk = ManualDisk()
        self.hub = Hub(
            clock=self.clock,
            history=History(store),
            submit=self.disk.submit,
            open_view=lambda: copy_of(self.state),
        )

    def apply(self) -> None:
        """Apply the next entry of the log."""
        commands = self.log[self.applied]
        self.applied += 1
        data = encode(Proposal(1, 1, self.applied, self.applied, commands))
        outcome = self.machines.apply(self.state, self.applied, data)
        self.hub.keep(self.applied, outcome.events)
        self.hub.publish(outcome.before, outcome.events)

    def do(self, *commands: KvCommand | SetSize | Any) -> None:
        """Apply one more entry."""
        self.log.append(list(commands))
        while self.applied < len(self.log):
            self.apply()

    def install(self, other: Replica) -> None:
        """Get the state of another one, as by a snapshot."""
        self.state = copy_of(other.state)
        self.applied = other.applied
        self.hub.replaced(self.machines.revision(self.state))

    def subscribe(self, recorder: Recorder, channel: str = "kv", **more: Any) -> Subscription:
        return self.hub.subscribe(Watch(channel=channel, **more), recorder)

    def settle(self) -> None:
        """Let turns pass and the disk work until nothing is left to do."""
        for _ in range(10_000):
            self.clock.advance(0)
            if not self.disk.pending and not self.hub._queue:
                return
            self.disk.run_all()
        raise AssertionError("the hub does not come to rest")


__all__ = ["Recorder", "Replica", "View"]
