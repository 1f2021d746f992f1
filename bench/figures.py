"""Percentiles, spreads and ratios: the arithmetic of every table here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from attrs import frozen

LADDER = (1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0)
"""The percentiles that make a latency curve."""


@frozen
class Spread:
    """The least, the median and the greatest of some figures."""

    low: float
    middle: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of ``values``.  Raises :exc:`ValueError` without any."""
    if not values:
        raise ValueError("no figures, so no spread")
    return Spread(min(values), statistics.median(values), max(values))


def ratios(own: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return one ratio for each round that has both; rounds beyond the shorter have none."""
    return [mine / theirs for mine, theirs in zip(own, other, strict=False) if theirs]


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of ``samples``.  Raises :exc:`ValueError` without any."""
    if not samples:
        raise ValueError("no samples, so no percentile")
    ordered = sorted(samples)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def weighted_percentiles(
    samples: Iterable[tuple[float, int]], percents: Sequence[float]
) -> list[float]:
    """Return nearest-rank percentiles of (value, how often); zeros without any.

    ``percents`` ascend.
    """
    ordered = sorted(samples)
    total = sum(count for _, count in ordered)
    found = []
    passed = 0
    values = iter(ordered)
    value = 0.0
    for percent in percents:
        while passed < total * percent / 100:
            value, count = next(values)
            passed += count
        found.append(value)
    return found


def bins(times: Iterable[float], width: float, length: float) -> list[int]:
    """Return how many of ``times`` fall into each interval of ``width``, from 0 to ``length``."""
    counts = [0] * round(length / width)
    for each in times:
        place = int(each // width)
        if 0 <= place < len(counts):
            counts[place] += 1
    return counts
