"""A disk in memory below the real stores: files and databases that forget what was not synced.

``simulated_files`` puts it in the place of LevelDB and of the file system, so that everything in
``uring.store`` runs as it is.  A process that is killed loses nothing that it wrote; a machine that
loses power keeps what was synced and any prefix of what was written since, for each database and
for the names in the directory.
"""

from __future__ import annotations

import errno
import io
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

from attrs import define, field

from uring.store import directory as directory_module
from uring.store import snapshots as snapshots_module
from uring.store import state as state_module
from uring.store.directory import DataDirectory, _open
from uring.store.log import WINDOW_BYTES

Write = tuple[bytes, bytes | None]


class Crashed(BaseException):
    """The process ends here, in the middle of whatever it does."""


@define(eq=False)
class Table:
    """What one database holds: for whoever reads it now, and after a loss of power."""

    view: dict[bytes, bytes] = field(factory=dict)
    keys: list[bytes] = field(factory=list)
    durable: dict[bytes, bytes] = field(factory=dict)
    unsynced: list[list[Write]] = field(factory=list)

    def write(self, writes: list[Write]) -> None:
        """Write one batch, unsynced."""
        for key, value in writes:
            if value is None:
                if self.view.pop(key, None) is not None:
                    del self.keys[bisect_left(self.keys, key)]
            else:
                if key not in self.view:
                    insort(self.keys, key)
                self.view[key] = value
        self.unsynced.append(writes)

    def sync(self, count: int | None = None) -> None:
        """Make the first ``count`` batches durable, or all."""
        for writes in self.unsynced[:count]:
            for key, value in writes:
                if value is None:
                    self.durable.pop(key, None)
                else:
                    self.durable[key] = value
        del self.unsynced[:count]

    def lose_power(self, random: Random) -> int:
        """Keep any prefix of what was not synced; return how many batches are gone."""
        kept = random.randrange(len(self.unsynced) + 1)
        lost = len(self.unsynced) - kept
        self.sync(kept)
        self.unsynced.clear()
        self.view = dict(self.durable)
        self.keys = sorted(self.view)
        return lost


@define(eq=False)
class Files:
    """The data directory of one node: databases by name."""

    random: Random
    names: dict[str, Table] = field(factory=dict)
    durable_names: dict[str, Table] = field(factory=dict)
    renames: list[Callable[[dict[str, Table]], None]] = field(factory=list)
    segments: dict[int, bytearray] = field(factory=dict)
    """The history; nothing of it is ever synced."""
    operations: int = 0
    """Touches of the disk so far."""
    crash_in: int = 0
    """The touch, counted from now, at which the process ends; 0 for none."""
    error: int = 0
    """The errno with which every write fails, or 0."""
    only_syncs: bool = False
    """Whether writes succeed all the same, and only making them durable fails."""
    after_write: Callable[[], None] = lambda: None
    """Called whenever something became durable."""

    def touch(self, writes: bool = True, syncs: bool = False) -> None:
        """Count one access.  Raises Crashed or OSError if that is what is to happen."""
        self.operations += 1
        if self.crash_in:
            self.crash_in -= 1
            if not self.crash_in:
                raise Crashed
        if self.error and writes and (syncs or not self.only_syncs):
            raise OSError(self.error, "the disk fails")

    def rename(self, change: Callable[[dict[str, Table]], None]) -> None:
        """Change the names, not durably."""
        self.touch()
        change(self.names)
        self.renames.append(change)

    def sync(self) -> None:
        """Make the names durable."""
        self.touch(syncs=True)
        self._sync(len(self.renames))

    def _sync(self, count: int) -> None:
        for change in self.renames[:count]:
            change(self.durable_names)
        del self.renames[:count]

    def lose_power(self) -> int:
        """Keep any prefix of what was not synced, in every file; return what is gone."""
        kept = self.random.randrange(len(self.renames) + 1)
        lost = len(self.renames) - kept
        self._sync(kept)
        self.renames.clear()
        self.names = dict(self.durable_names)
        for name in sorted(self.names):
            lost += self.names[name].lose_power(self.random)
        self._lose_segments()
        return lost

    def _lose_segments(self) -> None:
        """Nothing of the history was synced: each segment ends anywhere, in zeros, or is gone."""
        for number in sorted(self.segments):
            content = self.segments[number]
            kept = self.random.randrange(len(content) + 1)
            fate = self.random.random()
            if fate < 0.2:
                del self.segments[number]
            elif fate < 0.5:
                content[kept:] = bytes(len(content) - kept)
            elif fate < 0.8:
                del content[kept:]

    def begin(self) -> None:
        """Forget the faults of the last life."""
        self.crash_in = self.error = 0
        self.only_syncs = False


@define(eq=False)
class Batch:
    """A write batch of LevelDB."""

    database: Database
    sync: bool
    writes: list[Write] = field(factory=list)

    def put(self, key: bytes, value: bytes) -> None:
        self.writes.append((key, value))

    def delete(self, key: bytes) -> None:
        self.writes.append((key, None))

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: Any, *about: object) -> None:
        if kind is None:
            self.database.commit(self.writes, self.sync)


@define(eq=False)
class Database:
    """The part of ``plyvel.DB`` that the stores use."""

    files: Files
    table: Table
    closed: bool = False

    def get(self, key: bytes, verify_checksums: bool = False) -> bytes | None:
        return self.table.view.get(key)

    def put(self, key: bytes, value: bytes, sync: bool = False) -> None:
        self.commit([(key, value)], sync)

    def write_batch(self, transaction: bool = False, sync: bool = False) -> Batch:
        return Batch(self, sync)

    def commit(self, writes: list[Write], sync: bool) -> None:
        """Write, and sync if asked; a write that fails may be there later all the same."""
        if self.closed:
            raise RuntimeError("the database is closed")
        try:
            self.files.touch()
        except OSError:
            if self.files.random.random() < 0.5:
                self.table.write(writes)
            raise
        self.table.write(writes)
        if sync:
            self.files.touch(syncs=True)
            self.table.sync()
            self.files.after_write()

    def iterator(self, start: bytes, stop: bytes, **about: object) -> Run:
        keys = self.table.keys
        chosen = keys[bisect_left(keys, start) : bisect_left(keys, stop)]
        return Run([(key, self.table.view[key]) for key in chosen])

    def snapshot(self) -> View:
        return View(list(self.table.keys), dict(self.table.view))

    def compact_range(self, start: bytes, stop: bytes) -> None:
        """Flush: everything written so far becomes durable."""
        self.files.touch(syncs=True)
        self.table.sync()

    def close(self) -> None:
        self.closed = True


@define(eq=False)
class Run:
    """An iterator of LevelDB."""

    items: list[tuple[bytes, bytes]]

    def __enter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.items)

    def __exit__(self, *about: object) -> None:
        return None


@define(eq=False)
class View:
    """A snapshot of LevelDB."""

    keys: list[bytes]
    view: dict[bytes, bytes]

    def get(self, key: bytes, verify_checksums: bool = False) -> bytes | None:
        return self.view.get(key)

    def iterator(self, start: bytes, stop: bytes, **about: object) -> Run:
        chosen = self.keys[bisect_left(self.keys, start) : bisect_left(self.keys, stop)]
        return Run([(key, self.view[key]) for key in chosen])

    def close(self) -> None:
        return None


@define(frozen=True)
class Place:
    """The part of ``pathlib.Path`` that the stores use."""

    files: Files
    name: str = ""

    def __truediv__(self, name: str) -> Place:
        return Place(self.files, name)

    def exists(self) -> bool:
        return self.name in self.files.names

    def rename(self, other: Place) -> None:
        before, after = self.name, other.name

        def change(names: dict[str, Table]) -> None:
            if before in names:
                names[after] = names.pop(before)

        self.files.rename(change)


class _Shutil:
    @staticmethod
    def rmtree(place: Place, ignore_errors: bool = False) -> None:
        name = place.name

        def change(names: dict[str, Table]) -> None:
            names.pop(name, None)

        if place.exists():
            place.files.rename(change)


@define(eq=False)
class Segments:
    """The part of SegmentFiles that the history uses."""

    place: Place
    current: int = -1

    @property
    def content(self) -> dict[int, bytearray]:
        return self.place.files.segments

    def names(self) -> dict[int, int]:
        self.place.files.touch(writes=False)
        return {number: len(self.content[number]) for number in sorted(self.content)}

    def create(self, number: int) -> None:
        self.place.files.touch()
        self.content[number] = bytearray()
        self.current = number

    def reopen(self, number: int, size: int) -> None:
        self.place.files.touch()
        del self.content[number][size:]
        self.current = number

    def append(self, parts: list[bytes]) -> None:
        """Write; a process that ends meanwhile may leave any part of it."""
        data = b"".join(parts)
        try:
            self.place.files.touch()
        except (Crashed, OSError):
            self.content[self.current] += data[: self.place.files.random.randrange(len(data) + 1)]
            raise
        self.content[self.current] += data

    def read(self, number: int, offset: int, size: int) -> bytes:
        if number not in self.content:
            raise FileNotFoundError(number)
        return bytes(self.content[number][offset : offset + size])

    def remove(self, number: int) -> None:
        self.place.files.touch()
        self.content.pop(number, None)

    def close(self) -> None:
        self.current = -1


def _open_database(path: Place, write_buffer: int, *, create: bool, paranoid: bool) -> Database:
    files, name = path.files, path.name
    if create:
        table = Table()

        def change(names: dict[str, Table]) -> None:
            names[name] = table

        files.rename(change)
    else:
        files.touch(writes=False)
        table = files.names[name]
        table.sync()  # LevelDB turns what it recovers into synced tables
        files.after_write()
    return Database(files, table)


def _sync_directory(path: Place) -> None:
    path.files.sync()


@define(eq=False)
class _Os:
    random: Random

    def urandom(self, count: int) -> bytes:
        return self.random.randbytes(count)


@contextmanager
def simulated_files(random: Random) -> Iterator[None]:
    """Let the stores work on :class:`Files` while this lasts."""
    with (
        patch.object(directory_module, "open_database", _open_database),
        patch.object(directory_module, "sync_directory", _sync_directory),
        patch.object(directory_module, "SegmentFiles", Segments),
        patch.object(directory_module, "shutil", _Shutil),
        patch.object(directory_module, "os", _Os(random)),
        patch.object(state_module, "open_database", _open_database),
        patch.object(snapshots_module, "open_database", _open_database),
        patch.object(snapshots_module, "sync_directory", _sync_directory),
        patch.object(snapshots_module, "shutil", _Shutil),
    ):
        yield


def open_files(files: Files, node_id: int) -> DataDirectory:
    """Open the directory of ``node_id``.  Raises StoreFailed, DirectoryError, Crashed, OSError."""
    place: Any = Place(files)
    lock: Any = io.BytesIO()
    return _open(place, node_id, True, WINDOW_BYTES, lock, [])


FULL = errno.ENOSPC
BROKEN = errno.EIO
