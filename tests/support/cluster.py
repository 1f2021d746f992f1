"""Cores joined by a network in memory that loses, delays and reorders as it is told.

Every host has a core, a storage that survives restarts and a state machine that keeps the data of
the entries applied.  Nothing happens by itself: tests tick, deliver and write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from attrs import evolve

from uring.raft import MemoryStorage, RawNode, ReadState, Ready, Settings
from uring.raft.local import AnyMessage, Seal
from uring.raft.membership import decode_conf_change
from uring.raft.messages import InstallSnapshot, Message
from uring.raft.ready import StorageAppend, StorageApply
from uring.raft.types import (
    ConfState,
    Entry,
    EntryKind,
    HardState,
    Role,
    Snapshot,
    SnapshotMeta,
)

SEPARATOR = b"\0"


class LiveStorage(MemoryStorage):
    """Storage that makes a snapshot of the present state whenever it is asked for one."""

    def __init__(self) -> None:
        super().__init__()
        self.make_snapshot: Callable[[], object] = lambda: None

    def snapshot(self) -> Snapshot:
        self.make_snapshot()
        return super().snapshot()


class Host:
    """One node: its core, its disk, its state machine and what they still have to do."""

    def __init__(
        self,
        settings: Settings,
        storage: LiveStorage,
        seed: int,
        seal: Seal | None = None,
        talks: bool = False,
    ) -> None:
        self.settings = settings
        self.seal = seal
        #: What the core said about itself: levels and sentences.
        self.told: list[tuple[str, str]] = []
        self._log = (lambda level, text: self.told.append((level, text))) if talks else None
        self.storage = storage
        self.seed = seed
        self.read_states: list[ReadState] = []
        self.append_work: deque[StorageAppend] = deque()
        self.apply_work: deque[StorageApply] = deque()
        #: Every entry handed out to be applied since the last start, in order.
        self.applied: list[Entry] = []
        self.start()

    @property
    def id(self) -> int:
        return self.settings.node_id

    @property
    def role(self) -> Role:
        return self.raw.role

    def start(self) -> None:
        """Start, or start again, from what is on disk; the state machine is rebuilt from there."""
        self.storage.make_snapshot = lambda: None
        snapshot = self.storage.snapshot()
        self.append_work.clear()
        self.apply_work.clear()
        self.read_states.clear()
        self.applied.clear()
        self._load(snapshot)
        settings = evolve(self.settings, applied=snapshot.meta.index)
        self.raw = RawNode(settings, self.storage, Random(self.seed), seal=self.seal, log=self._log)
        self.storage.make_snapshot = self.make_snapshot

    def _load(self, snapshot: Snapshot) -> None:
        self.state = snapshot.data.split(SEPARATOR) if snapshot.data else []
        self.applied_index = snapshot.meta.index
        self.conf_state = snapshot.meta.conf_state

    def process(self) -> tuple[Ready | None, list[AnyMessage]]:
        """Take one Ready and do it, or with asynchronous writes put the work in line."""
        if not self.raw.has_ready():
            return None, []
        ready = self.raw.ready()
        self.read_states.extend(ready.read_states)
        if self.settings.async_storage_writes:
            self.append_work.extend([ready.append] if ready.append else [])
            self.apply_work.extend([ready.apply] if ready.apply else [])
        else:
            self._save(ready.hard_state, ready.snapshot, ready.entries)
            self._apply(ready.committed_entries)
            self.raw.advance()
        return ready, list(ready.messages)

    def write(self) -> list[AnyMessage]:
        """Do the oldest write in line; return what may leave after it."""
        if not self.append_work:
            return []
        work = self.append_work.popleft()
        self._save(work.hard_state, work.snapshot, work.entries)
        return self._deliver(work.responses)

    def apply(self) -> list[AnyMessage]:
        """Apply the oldest entries in line."""
        if not self.apply_work:
            return []
        work = self.apply_work.popleft()
        self._apply(work.entries)
        return self._deliver(work.responses)

    def _deliver(self, responses: Iterable[AnyMessage]) -> list[AnyMessage]:
        outgoing = []
        for message in responses:
            if message.to == self.id:
                self.raw.step(message)
            else:
                outgoing.append(message)
        return outgoing

    def _save(
        self, hard_state: HardState | None, snapshot: Snapshot | None, entries: Iterable[Entry]
    ) -> None:
        if snapshot is not None:
            self.storage.apply_snapshot(snapshot)
            self._load(snapshot)
        self.storage.append(tuple(entries))
        if hard_state is not None:
            self.storage.set_hard_state(hard_state)

    def _apply(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.index <= self.applied_index:
                continue  # a snapshot was installed while this was in line
            if entry.index != self.applied_index + 1:
                raise AssertionError(f"{entry.index} applied after {self.applied_index}")
            self.applied_index = entry.index
            self.applied.append(entry)
            if entry.kind is not EntryKind.NORMAL:
                self.conf_state = self.raw.apply_conf_change(decode_conf_change(entry.data))
            elif entry.data:
                self.state.append(entry.data)

    def make_snapshot(self) -> None:
        """Save the present state as a snapshot, unless the newest one says the same."""
        index, storage = self.applied_index, self.storage
        if MemoryStorage.snapshot(storage).meta.index < index <= storage.last_index():
            storage.create_snapshot(index, self.conf_state, SEPARATOR.join(self.state))

    def compact(self, keep: int = 0) -> None:
        """Make a snapshot and drop the log up to ``keep`` entries before it."""
        last = self.storage.snapshot().meta.index - keep
        if last >= self.storage.first_index():
            self.storage.compact(last)

    def log(self) -> list[Entry]:
        """Return all entries that this node still has, durable or not."""
        log = self.raw._state.log
        return log.slice(log.first_index, log.last_index + 1, 2**64 - 1) if log.last_index else []


class Cluster:
    """Hosts 1 to ``size``, all voters unless ``conf_state`` says otherwise.

    ``settings`` are given to every core.  Messages wait in ``network`` until delivered.
    """

    def __init__(
        self,
        size: int = 3,
        conf_state: ConfState | None = None,
        seed: int = 0,
        seal: Seal | None = None,
        talks: bool = True,
        **settings: Any,
    ) -> None:
        self.seed = seed
        self._seal = seal
        self._talks = talks
        self.conf_state = conf_state or ConfState(voters=tuple(range(1, size + 1)))
        self._settings = {"check_quorum": False, "pre_vote": False, **settings}
        self.hosts: dict[int, Host] = {}
        self.network: list[AnyMessage] = []
        self.sent: list[AnyMessage] = []
        self._cut: set[tuple[int, int]] = set()
        self.drop: Callable[[AnyMessage], bool] = lambda message: False
        for node in range(1, size + 1):
            self.add_host(node, self.conf_state)

    def add_host(self, node: int, conf_state: ConfState | None = None, **settings: Any) -> Host:
        """Add a node; with a ``conf_state`` it begins after a first, common snapshot."""
        storage = LiveStorage()
        if conf_state is not None:
            storage.apply_snapshot(Snapshot(SnapshotMeta(1, 1, conf_state)))
            storage.set_hard_state(HardState(term=1, commit=1))
        merged: dict[str, Any] = {**self._settings, **settings}
        host = Host(
            Settings(node_id=node, **merged),
            storage,
            self.seed * 1000 + node,
            self._seal,
            self._talks,
        )
        self.hosts[node] = host
        return host

    def __getitem__(self, node: int) -> Host:
        return self.hosts[node]

    @property
    def leader(self) -> Host | None:
        """The leader of the highest term."""
        leaders = [host for host in self.hosts.values() if host.raw.is_leader]
        return max(leaders, key=lambda host: host.raw.term, default=None)

    # The network

    def cut(self, one: int, other: int) -> None:
        """Lose everything between two nodes, in both directions."""
        self._cut |= {(one, other), (other, one)}

    def isolate(self, node: int) -> None:
        """Cut a node off from all others."""
        for other in self.hosts:
            if other != node:
                self.cut(node, other)

    def heal(self) -> None:
        """Let everything through again."""
        self._cut.clear()
        self.drop = lambda message: False

    def send(self, messages: Iterable[AnyMessage]) -> None:
        """Put messages on the network, unless they get lost."""
        for message in messages:
            self.sent.append(message)
            from_ = getattr(message, "from_", message.to)
            if (from_, message.to) in self._cut or self.drop(message):
                self.lose(message)
            else:
                self.network.append(message)

    def lose(self, message: AnyMessage) -> None:
        """Lose one message; a snapshot's sender is told, as the core demands."""
        if isinstance(message, InstallSnapshot):
            self.hosts[message.from_].raw.report_snapshot(message.to, False)

    def deliver(self, message: AnyMessage) -> None:
        """Hand one message to whom it is for; a snapshot's sender is told that it arrived."""
        host = self.hosts.get(message.to)
        if host is None:
            return
        host.raw.step(message)
        if isinstance(message, InstallSnapshot):
            self.hosts[message.from_].raw.report_snapshot(message.to, True)

    # Work

    def collect(self, *nodes: int) -> list[AnyMessage]:
        """Let nodes do all their work; return what they sent without delivering it."""
        sent: list[AnyMessage] = []
        for node in nodes or sorted(self.hosts):
            host = self.hosts[node]
            while host.raw.has_ready() or host.append_work or host.apply_work:
                sent += host.process()[1] + host.write() + host.apply()
        return sent

    def settle(self) -> None:
        """Work and deliver, in order, until nothing is left to do."""
        for _ in range(10_000):
            self.send(self.collect())
            if not self.network:
                return
            batch, self.network = self.network, []
            for message in batch:
                self.deliver(message)
        raise AssertionError("the cluster does not come to rest")

    def tick(self, node: int, ticks: int = 1) -> None:
        """Let time pass on one node."""
        for _ in range(ticks):
            self.hosts[node].raw.tick()

    def elect(self, node: int) -> Host:
        """Let ``node`` win an election."""
        self.hosts[node].raw.campaign()
        self.settle()
        if not self.hosts[node].raw.is_leader:
            raise AssertionError(f"{node} was not elected")
        return self.hosts[node]

    def propose(self, node: int, *data: bytes) -> None:
        """Propose and let it be replicated as far as it goes."""
        for each in data:
            self.hosts[node].raw.propose(each)
        self.settle()

    def messages_of(self, kind: type[Message]) -> list[Any]:
        """Return everything of one kind that was ever sent."""
        return [message for message in self.sent if isinstance(message, kind)]
