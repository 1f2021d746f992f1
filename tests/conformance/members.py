"""One node of an interaction script: a core, its storage and an appending state machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random

from uring.raft import MemoryStorage, RawNode, Settings
from uring.raft.local import Trace
from uring.raft.membership import decode_conf_change
from uring.raft.ready import StorageAppend, StorageApply
from uring.raft.types import Entry, EntryKind, HardState, Snapshot, SnapshotMeta


class HistoryStorage(MemoryStorage):
    """Storage whose newest snapshot is always what the state machine has reached."""

    def __init__(self, history: list[Snapshot]) -> None:
        super().__init__()
        self._history = history

    def snapshot(self) -> Snapshot:
        """Return the state after the last entry applied."""
        return self._history[-1]


class Member:
    """A node and what it still has to do; ids count from 1."""

    def __init__(self, settings: Settings, start: Snapshot, log: Trace) -> None:
        self.settings = settings
        self.history = [start]
        self.storage = HistoryStorage(self.history)
        if not start.is_empty:
            self.storage.apply_snapshot(start)
        self.raw = RawNode(settings, self.storage, Random(settings.node_id), log=log)
        self.append_work: deque[StorageAppend] = deque()
        self.apply_work: deque[StorageApply] = deque()

    def save(
        self, hard_state: HardState | None, entries: Sequence[Entry], snapshot: Snapshot | None
    ) -> None:
        """Write what a Ready asks for."""
        if hard_state is not None:
            self.storage.set_hard_state(hard_state)
        if snapshot is None:
            self.storage.append(entries)
            return
        if entries:
            raise ValueError("can't apply snapshot and entries at the same time")
        self.storage.apply_snapshot(snapshot)

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply entries; every one of them makes a snapshot."""
        for entry in entries:
            last = self.history[-1]
            conf_state, update = last.meta.conf_state, entry.data
            if entry.kind is not EntryKind.NORMAL:
                change = decode_conf_change(entry.data)
                conf_state, update = self.raw.apply_conf_change(change), change.context
            meta = SnapshotMeta(entry.index, entry.term, conf_state)
            self.history.append(Snapshot(meta, last.data + update))

    def set_randomized_election_timeout(self, ticks: int) -> None:
        """Put what chance has chosen; it is chosen anew when the role changes."""
        self.raw._state.randomized_timeout = ticks
