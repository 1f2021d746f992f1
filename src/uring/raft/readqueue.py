"""Reads that wait until a majority confirms that the leader still leads (thesis 6.4)."""

from __future__ import annotations

import struct
from collections import deque

from attrs import Factory, define, frozen

from uring.raft.changer import Configuration
from uring.raft.messages import ReadIndex

_POSITION = struct.Struct(">Q")


@frozen
class ReadState:
    """A read may be answered as soon as the state machine has applied ``index``.

    ``context`` is what the request was named.
    """

    index: int
    context: bytes


@define(eq=False)
class ReadQueue:
    """Reads in the order they came, each with the commit index at that time.

    Heartbeats carry the position of the newest read and their answers bring it back, so that one
    round confirms every read before it, and contexts need not be unique.  Positions start over with
    each term; an answer from another term never gets here.
    """

    _waiting: deque[tuple[ReadIndex, int]] = Factory(deque)
    _confirmed: int = 0
    _acked: dict[int, int] = Factory(dict)

    @property
    def _newest(self) -> int:
        return self._confirmed + len(self._waiting)

    def add(self, leader: int, request: ReadIndex, commit: int) -> None:
        """Queue a read at commit index ``commit``; the leader confirms itself."""
        self._waiting.append((request, commit))
        self._acked[leader] = self._newest

    def context(self) -> bytes:
        """Return what a heartbeat must carry to confirm all reads that wait now."""
        return _POSITION.pack(self._newest) if self._waiting else b""

    def acknowledge(
        self, node: int, context: bytes, config: Configuration
    ) -> list[tuple[ReadIndex, int]]:
        """Take a heartbeat's answer; return the reads it confirms, in order."""
        if len(context) != _POSITION.size or not self._waiting:
            return []
        position = _POSITION.unpack(context)[0]
        if position > self._newest or position <= self._acked.get(node, 0):
            return []
        self._acked[node] = position
        confirmed = min(config.committed_index(self._acked), self._newest)
        count = max(0, confirmed - self._confirmed)
        self._confirmed += count
        return [self._waiting.popleft() for _ in range(count)]
