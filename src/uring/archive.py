"""A directory of backups: complete ones under their names, the newest kept, the oldest removed.

All of it blocks, and is for a thread.  A backup is written under a name that begins with a dot,
synced, read again from its beginning to its checksums, and only then renamed; what it makes
superfluous is removed after that.  So whatever ends the process on its way leaves every older
backup as it was.
"""

from __future__ import annotations

import calendar
import os
import re
import time
from pathlib import Path
from typing import BinaryIO

from attrs import define, field, frozen

from uring.backup import BackupReader, Manifest
from uring.space import free_bytes

_STAMP = "%Y%m%dT%H%M%SZ"


class ArchiveError(Exception):
    """A backup could not be kept; the text is one line that says why."""


@frozen(order=True)
class Kept:
    """A complete backup.  ``taken`` is in seconds since 1970."""

    taken: float
    index: int
    name: str = field(order=False)
    bytes: int = field(order=False)


@frozen
class Archive:
    """The backups that one node has made of one cluster; others there are not touched."""

    path: Path
    cluster: str
    """The id, in hexadecimal digits."""
    node: int
    keep: int
    """How many there shall be."""
    reserve: int
    """Bytes that must stay free on that file system."""

    @property
    def _prefix(self) -> str:
        return f"uring-{self.cluster[:8]}-node{self.node}-"

    def kept(self) -> list[Kept]:
        """Return all complete backups, the oldest first.  Raises ArchiveError."""
        pattern = re.compile(re.escape(self._prefix) + r"(\d{8}T\d{6}Z)-(\d+)\.backup")
        found = []
        try:
            for entry in os.scandir(self.path):
                match = pattern.fullmatch(entry.name)
                if match is not None and entry.is_file():
                    size = entry.stat().st_size
                    found.append(Kept(_seconds(match[1]), int(match[2]), entry.name, size))
        except OSError as problem:
            raise ArchiveError(self._told(problem)) from problem
        except ValueError:
            raise ArchiveError(f"{self.path}: a backup's name has no such time") from None
        return sorted(found)

    def begin(self) -> Draft:
        """Begin a backup.  Raises ArchiveError if there is no room for one as large as the last."""
        kept = self.kept()
        self._remove_drafts()
        self.check_room(kept[-1].bytes if kept else 0)
        path = self.path / f".{self._prefix}partial"
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            return Draft(self, path, os.fdopen(descriptor, "w+b"))
        except OSError as problem:
            raise ArchiveError(self._told(problem)) from problem

    def check_room(self, wanted: int) -> None:
        """Raise ArchiveError unless ``wanted`` bytes fit without touching the reserve."""
        free = free_bytes(self.path)
        if free - wanted < self.reserve:
            raise ArchiveError(
                f"{self.path}: {free >> 20} MiB are free, {wanted >> 20} are needed beside the "
                f"reserve of {self.reserve >> 20}: make room, or keep fewer (--backup-keep)"
            )

    def name(self, taken: float, index: int) -> str:
        """Return what a backup is called."""
        return f"{self._prefix}{time.strftime(_STAMP, time.gmtime(taken))}-{index}.backup"

    def remove_superfluous(self, newest: str) -> list[str]:
        """Remove the oldest, and never ``newest``, until there are as many as shall be."""
        others = [each for each in self.kept() if each.name != newest]
        removed = [each.name for each in others[: max(0, len(others) + 1 - self.keep)]]
        for name in removed:
            (self.path / name).unlink(missing_ok=True)
        return removed

    def _remove_drafts(self) -> None:
        (self.path / f".{self._prefix}partial").unlink(missing_ok=True)

    def _told(self, problem: OSError) -> str:
        if isinstance(problem, FileNotFoundError | NotADirectoryError):
            return f"{self.path}: there is no such directory; make it, or mount it (--backup-dir)"
        return f"{problem.filename or self.path}: {problem.strerror}"


@define(eq=False)
class Draft:
    """A backup that is being written."""

    _archive: Archive
    _path: Path
    _file: BinaryIO
    _unchecked: int = field(default=0, init=False)

    CHECK_BYTES = 8 * 1024 * 1024
    """After so many it looks again what is free: others write, too."""

    def write(self, piece: bytes) -> None:
        """Add a piece.  Raises ArchiveError, OSError."""
        self._unchecked += len(piece)
        if self._unchecked >= self.CHECK_BYTES:
            self._unchecked = 0
            self._archive.check_room(0)
        self._file.write(piece)

    def finish(self) -> tuple[Kept, list[str]]:
        """Make it a complete backup; return it, and the names of those that were removed.

        Raises ArchiveError, BackupDamaged, OSError.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        manifest = self._verified()
        self._file.close()
        name = self._archive.name(manifest.taken, manifest.index)
        self._path.rename(self._archive.path / name)
        _sync_directory(self._archive.path)
        kept = Kept(float(int(manifest.taken)), manifest.index, name, size)
        return kept, self._archive.remove_superfluous(name)

    def _verified(self) -> Manifest:
        """Read it as a restore would."""
        self._file.seek(0)
        reader = BackupReader(self._file)
        for _ in reader.chunks():
            pass
        return reader.manifest

    def discard(self) -> None:
        """Remove what was written."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _seconds(stamp: str) -> float:
    return float(calendar.timegm(time.strptime(stamp, _STAMP)))


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
