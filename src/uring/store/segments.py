"""Files that only grow, named by a number, and removed whole: what the history is kept in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

from uring.store.leveldb import sync_directory

_SUFFIX = ".history"
_DIGITS = 20


@define(eq=False)
class SegmentFiles:
    """The segments in one directory.  All methods raise :exc:`OSError`."""

    directory: Path
    _file: int = field(default=-1, init=False)
    """The descriptor of the segment that is appended to."""

    def names(self) -> dict[int, int]:
        """Return number -> size in bytes of every segment; make the directory if need be."""
        if not self.directory.exists():
            self.directory.mkdir()
            sync_directory(self.directory.parent)
        found = {}
        for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
            digits = path.name.removesuffix(_SUFFIX)
            if digits.isascii() and digits.isdecimal():
                found[int(digits)] = path.stat().st_size
        return found

    def create(self, number: int) -> None:
        """Begin a segment; what is appended goes there."""
        self.close()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._file = os.open(self._path(number), flags, 0o644)

    def reopen(self, number: int, size: int) -> None:
        """Go on with a segment after its first ``size`` bytes; the rest is cut off."""
        self.close()
        os.truncate(self._path(number), size)
        self._file = os.open(self._path(number), os.O_WRONLY | os.O_APPEND)

    def append(self, parts: Sequence[bytes]) -> None:
        """Write at the end, unsynced."""
        written = os.writev(self._file, parts)
        if written == sum(map(len, parts)):
            return
        rest = memoryview(b"".join(parts))[written:]
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes; usable in any thread."""
        descriptor = os.open(self._path(number), os.O_RDONLY)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def remove(self, number: int) -> None:
        """Remove a segment; that it does not exist is no error."""
        self._path(number).unlink(missing_ok=True)

    def close(self) -> None:
        """Append no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:0{_DIGITS}d}{_SUFFIX}"
