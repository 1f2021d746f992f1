"""Variety that is the same on every replica."""

from __future__ import annotations


class Sequence64:
    """Numbers that look like chance and are the same everywhere (Knuth's MMIX generator)."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, bound: int) -> int:
        """Return a number from 0 to ``bound`` - 1."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        return (self._state >> 33) % bound

    def permutation(self, count: int) -> list[int]:
        """Return the numbers from 0 to ``count`` - 1 in some order (Fisher-Yates)."""
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order
