"""What was committed to the state and is not yet written to its LevelDB.

Most commands change keys that were changed a moment ago, and records of the machines that each
batch changes.  Written one batch at a time each change costs a system call, a place in the
memtable and one in a table; gathered, only the last of them does.  The log has all of it until
the state is synced, so a crash of the process takes no more than a loss of power would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from attrs import define, field

from uring.raft.types import ConfState
from uring.store.recent import RECORD_OVERHEAD, UNKNOWN, Unknown

PENDING_BYTES = 2 << 20
"""Size of one generation from which it is to be written: some 12 ms of a thread."""
OVERWRITTEN_FACTOR = 4
"""So many times as large it may become where what comes overwrites what is in it: a few thousand
keys that are written over and over then never leave memory."""
OVERWRITTEN_RATIO = 1.25
"""Commits of so many times what is to be written show that."""
REPLACED_FACTOR = 16
"""So many times as much may be committed to it, where most of that has been replaced since: what
has to be applied again after a crash stays small, too."""


@define(eq=False)
class Generation:
    """Commits that are written together, or not at all."""

    writes: dict[bytes, bytes | None] = field(factory=dict)
    applied: tuple[int, int] | None = None
    """Index and term of the last entry in it; None as long as it is empty."""
    committed: int = 0
    """Bytes, counting those that were replaced."""
    _count: int = 0
    """Records, counting those that were replaced."""
    conf_state: ConfState | None = None
    addresses: Mapping[int, str] | None = None
    level: int | None = None
    must_sync: bool = False
    written: bool = False
    """Set by whoever wrote it, in any thread."""

    def add(self, writes: Mapping[bytes, bytes | None], applied: tuple[int, int]) -> None:
        """Take one commit, up to the (index, term) of the log's entry ``applied``."""
        self.applied = applied
        self.committed += _size(writes)
        self._count += len(writes)
        self.writes.update(writes)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was committed, not even that an entry without effect was applied."""
        return self.applied is None

    @property
    def size(self) -> int:
        """About how many bytes are to be written, from the mean of all records."""
        return self.committed * len(self.writes) // max(1, self._count)

    def exact_size(self) -> int:
        """Return how many bytes are to be written."""
        return _size(self.writes)

    def is_full(self, limit: int) -> bool:
        """Whether it is time to write it, by its size or by what was committed to it."""
        size, committed = self.size, self.committed
        if size >= OVERWRITTEN_FACTOR * limit or committed >= REPLACED_FACTOR * limit:
            return True
        return size >= limit and committed < OVERWRITTEN_RATIO * size


@define(eq=False)
class Pending:
    """The generation that is being gathered, and older ones that are being written."""

    young: Generation = field(factory=Generation)
    leaving: deque[Generation] = field(factory=deque)
    """Oldest first."""

    def get(self, key: bytes) -> bytes | Unknown | None:
        """Return the value under ``key``, None if it was deleted, or UNKNOWN."""
        found: bytes | Unknown | None = self.young.writes.get(key, UNKNOWN)
        if found is UNKNOWN and self.leaving:
            for generation in reversed(self.leaving):
                found = generation.writes.get(key, UNKNOWN)
                if found is not UNKNOWN:
                    break
        return found

    def turn_over(self) -> Generation:
        """Return what was gathered, to be written, and begin a new generation."""
        leaving, self.young = self.young, Generation()
        self.leaving.append(leaving)
        return leaving

    def written(self) -> list[Generation]:
        """Return the generations that LevelDB has, oldest first, and forget them."""
        done = []
        while self.leaving and self.leaving[0].written:
            done.append(self.leaving.popleft())
        return done

    def clear(self) -> None:
        """Forget everything; what a thread was to write is void."""
        for generation in self.leaving:
            generation.written = True
        self.leaving.clear()
        self.young = Generation()


def _size(writes: Mapping[bytes, bytes | None]) -> int:
    size = sum(map(len, writes)) + sum(map(len, filter(None, writes.values())))
    return size + len(writes) * RECORD_OVERHEAD
