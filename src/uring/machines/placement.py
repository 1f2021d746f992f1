"""Which node owns which vnodes: pure arithmetic on ranges, one function for each strategy.

A layout is a tuple of (node, start, end) in the order in which the nodes were added; a node owns
the vnodes ``start <= v < end``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

Layout: TypeAlias = tuple[tuple[str, int, int], ...]
Relocations: TypeAlias = dict[str, dict[str, list[tuple[int, int]]]]
"""From node, to node, the ranges that move."""


def continuous(size: int, nodes: Sequence[str]) -> Layout:
    """Give each node one contiguous range, as the original does.

    The first ``size mod n`` nodes own one vnode more than the others.  Where there are more nodes
    than vnodes the last ones own none.
    """
    if not nodes:
        return ()
    share, more = divmod(size, len(nodes))
    layout = []
    start = 0
    for position, node in enumerate(nodes):
        end = start + share + (position < more)
        layout.append((node, start, end))
        start = end
    return tuple(layout)


STRATEGIES: dict[str, Callable[[int, Sequence[str]], Layout]] = {"continuous": continuous}
"""By the name under which a ring stores its strategy."""


def relocations(before: Layout, after: Layout) -> Relocations:
    """Return what has to move from whom to whom; both layouts are ascending."""
    moves: Relocations = {}
    olds = [span for span in before if span[1] < span[2]]
    news = [span for span in after if span[1] < span[2]]
    i = j = 0
    while i < len(olds) and j < len(news):
        source, old_start, old_end = olds[i]
        target, new_start, new_end = news[j]
        start, end = max(old_start, new_start), min(old_end, new_end)
        if start < end and source != target:
            moves.setdefault(source, {}).setdefault(target, []).append((start, end))
        if old_end <= new_end:
            i += 1
        if new_end <= old_end:
            j += 1
    return moves


def moved(moves: Relocations) -> int:
    """Return how many vnodes move."""
    return sum(
        end - start
        for targets in moves.values()
        for ranges in targets.values()
        for start, end in ranges
    )
