"""What can go wrong with a disk, and the one flag that makes the first failure the last."""

from __future__ import annotations

from typing import Self

import plyvel
from attrs import define


class StoreFailed(Exception):
    """A write or read of the store failed; whether the write took effect is unknown.

    The store takes nothing more after it: the page cache may have dropped what failed to reach
    the disk, so that a later success would prove nothing.
    """


class StoreDamaged(StoreFailed):
    """What was read is not what was written (checksum, index or layout)."""


class DirectoryError(Exception):
    """The data directory cannot be used; the text is one line with its path and what to do."""


FAILURES = (plyvel.Error, OSError, StoreFailed)
"""What LevelDB and the file system raise; after any of them the store is given up."""


@define
class Health:
    """Shared by the log and the state of one directory: the first failure of either ends both."""

    failure: StoreFailed | None = None

    def check(self) -> None:
        """Raise :exc:`StoreFailed` if anything failed before."""
        if self.failure is not None:
            raise StoreFailed(f"the store failed before: {self.failure}") from self.failure

    def fail(self, error: BaseException) -> StoreFailed:
        """Note the first failure and return it as the exception to raise."""
        if isinstance(error, StoreFailed):
            failure = error
        elif isinstance(error, plyvel.CorruptionError) or _is_cut_table(error):
            failure = StoreDamaged(str(error))
        else:
            failure = StoreFailed(f"{type(error).__name__}: {error}")
        if self.failure is None:
            self.failure = failure
        return failure

    def guard(self) -> Self:
        """Turn every failure of LevelDB or the file system inside into a final one.

        To be used with ``with``; it holds nothing, so it may be nested and shared by threads.
        """
        return self

    def __enter__(self) -> None:
        self.check()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FAILURES):
            raise self.fail(error) from error


def _is_cut_table(error: BaseException) -> bool:
    """Tell whether LevelDB found a table shorter than it was: it cannot map what is not there."""
    return isinstance(error, plyvel.IOError) and ".ldb: Invalid argument" in str(error)
