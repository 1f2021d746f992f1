"""What the tests of the store share."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from uring.raft.types import Entry, EntryKind, HardState, SnapshotMeta
from uring.store.directory import DataDirectory, open_directory
from uring.store.log import WINDOW_BYTES, LogStore
from uring.store.state import StateStore
from uring.wire.codec import seal


def entry(index: int, term: int = 1, data: bytes | None = None) -> Entry:
    """Return an entry with its record."""
    return seal(term, index, EntryKind.NORMAL, f"data {index}".encode() if data is None else data)


def run(low: int, high: int, term: int = 1) -> list[Entry]:
    """Return entries ``low`` to ``high`` inclusive."""
    return [entry(index, term) for index in range(low, high + 1)]


def write(
    log: LogStore,
    entries: Sequence[Entry] = (),
    hard: HardState | None = None,
    meta: SnapshotMeta | None = None,
) -> None:
    """Take one batch through all its steps."""
    batch = log.prepare(hard, entries, meta)
    batch.write()
    batch.done()


def commit(
    state: StateStore, index: int, values: Mapping[bytes, bytes | None] | None = None, term: int = 1
) -> None:
    """Commit ``values`` as applied up to ``index``, and write them."""
    gather(state, index, values, term)
    state.write_all()


def gather(
    state: StateStore, index: int, values: Mapping[bytes, bytes | None] | None = None, term: int = 1
) -> None:
    """Commit ``values``, None for what is deleted, as applied up to ``index``."""
    transaction = state.begin()
    for key, value in (values or {}).items():
        if value is None:
            transaction.delete(key)
        else:
            transaction.put(key, value)
    transaction.commit(index, term)


def sync(state: StateStore) -> None:
    """Take one sync through all its steps."""
    job = state.sync()
    job.write()
    job.done()


def compact(log: LogStore, index: int) -> None:
    """Compact up to ``index`` and delete all the garbage."""
    batch = log.compact(index, log.term(index))
    batch.write()
    batch.done()
    while (piece := log.collect_garbage()) is not None:
        piece.write()
        piece.done()


class DirectoryTestCase(SynchronousTestCase):
    """Opens data directories below a temporary one and closes them at the end."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.path = self.base / "node"

    def open(self, path: Path | None = None, window_bytes: int = WINDOW_BYTES) -> DataDirectory:
        """Open a directory of node 1, to be closed at the end."""
        directory = open_directory(path or self.path, 1, window_bytes=window_bytes)
        self.addCleanup(directory.close)
        return directory

    def crash(self, name: str = "crashed") -> Path:
        """Copy the files as they are now: what kill -9 at this point leaves."""
        copy = self.base / name
        shutil.copytree(self.path, copy)
        return copy
