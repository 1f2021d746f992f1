"""Makes the log of a stopped node long, without the hour that so many single puts would take."""

from __future__ import annotations

from pathlib import Path

from uring.machines.commands import Put
from uring.machines.proposal import Proposal, encode
from uring.raft.types import Entry, HardState
from uring.store.directory import open_directory

CHUNK = 1000
PROPOSER = 1
INCARNATION = (1 << 62) + 1
"""A life that no node has had."""


def pad(directory: Path | str, node_id: int, last: int) -> int:
    """Append committed entries of one put each, up to index ``last``; return how many.

    The same on every node of a cluster whose logs end alike.  Raises what the store raises.
    """
    data = open_directory(directory, node_id)
    try:
        log = data.log
        hard = log.initial_state()[0]
        first = log.last_index() + 1
        for low in range(first, last + 1, CHUNK):
            high = min(low + CHUNK - 1, last)
            entries = [
                Entry(hard.term, index, data=_put(index - first + 1))
                for index in range(low, high + 1)
            ]
            batch = log.prepare(HardState(hard.term, hard.vote, high), entries)
            batch.write()
            batch.done()
        return max(0, last + 1 - first)
    finally:
        data.close()


def _put(sequence: int) -> bytes:
    command = Put(key=f"padding-{sequence % 1000:08d}", value="v" * 256)
    return encode(Proposal(PROPOSER, INCARNATION, sequence, sequence, [command]))
