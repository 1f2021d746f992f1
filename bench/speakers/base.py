"""One connection of the load generator, whatever it speaks."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

Sample = tuple[float, float, int]
"""When a reply was read and how long it took, in seconds, and how many were read with it."""


class LoadFailed(Exception):
    """A server answered a request with an error, or ended the conversation."""


KEY_LEAST = 16


def key_of(number: int, size: int = KEY_LEAST) -> str:
    """Return the key of ``number``: ``size`` characters, 16 at the least."""
    return f"key-{number:0{max(KEY_LEAST, size) - 4}d}"


class Speaker:
    """One connection.  ``requests`` are whole requests, sent in turn for ever."""

    def __init__(self, sock: socket.socket, requests: Sequence[Any]) -> None:
        self.sock = sock
        self.left: int = 1 << 62
        """How many requests it may still send."""
        self.bundle = 1
        """Operations in each request; each is answered by itself."""
        self._requests = requests
        self._next = 0

    def _take(self, count: int) -> list[Any]:
        """Return the next ``count`` requests (at most as many as there are)."""
        first, self._next = self._next, self._next + count
        taken = list(self._requests[first : self._next])
        if self._next >= len(self._requests):
            self._next -= len(self._requests)
            taken += self._requests[: self._next]
        return taken

    def ask(self, count: int, now: float) -> None:
        """Send ``count`` requests in one piece."""
        raise NotImplementedError

    def hear(self, data: bytes, now: float) -> list[Sample]:
        """Take what was received; return a sample for each bundle of replies in it.

        Raises :exc:`LoadFailed` for an error.
        """
        raise NotImplementedError


class Ordered:
    """When requests were sent whose replies come in the same order."""

    def __init__(self) -> None:
        self._asked: deque[list[float]] = deque()

    def sent(self, count: int, now: float) -> None:
        """Note ``count`` requests."""
        self._asked.append([now, count])

    def answered(self, count: int, now: float) -> list[Sample]:
        """Return the samples of the oldest ``count`` requests.  More than were sent: LoadFailed."""
        samples: list[Sample] = []
        while count:
            if not self._asked:
                raise LoadFailed("more replies came than there were requests")
            oldest = self._asked[0]
            taken = min(count, int(oldest[1]))
            samples.append((now, now - oldest[0], taken))
            count -= taken
            oldest[1] -= taken
            if not oldest[1]:
                self._asked.popleft()
        return samples
