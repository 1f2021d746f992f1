"""Percentiles, spreads and ratios."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.figures import Spread, bins, percentile, ratios, spread, weighted_percentiles


class PercentileTests(SynchronousTestCase):
    """Nearest-rank percentiles."""

    def test_nearest_rank(self) -> None:
        """A percentile is a value that was measured."""
        samples = [float(value) for value in range(1, 101)]
        self.assertEqual(percentile(samples, 50), 50.0)
        self.assertEqual(percentile(samples, 99), 99.0)
        self.assertEqual(percentile([3.0], 50), 3.0)
        self.assertRaises(ValueError, percentile, [], 50)

    def test_weighted(self) -> None:
        """Values that occurred often count as often, whatever their order."""
        samples = [(5.0, 1), (1.0, 98), (2.0, 1)]
        self.assertEqual(weighted_percentiles(samples, [1, 50, 98, 99, 100]), [1, 1, 1, 2, 5])

    def test_weighted_agrees(self) -> None:
        """Both functions agree on the same samples."""
        values = [float(value * 37 % 101) for value in range(1000)]
        percents = [1.0, 50.0, 99.0, 99.9, 100.0]
        self.assertEqual(
            weighted_percentiles([(value, 1) for value in values], percents),
            [percentile(values, percent) for percent in percents],
        )

    def test_nothing(self) -> None:
        """Without samples there are zeros: a load that ended before anything was counted."""
        self.assertEqual(weighted_percentiles([], [50, 99]), [0, 0])


class SpreadTests(SynchronousTestCase):
    """Several rounds of one figure."""

    def test_spread(self) -> None:
        """The median is between the least and the greatest."""
        self.assertEqual(spread([3, 1, 2]), Spread(1, 2, 3))
        self.assertRaises(ValueError, spread, [])

    def test_ratios(self) -> None:
        """Rounds are compared one by one; a round without a partner, or with zero, has no ratio."""
        self.assertEqual(ratios([4, 9, 5], [2, 3]), [2, 3])
        self.assertEqual(ratios([1], [0]), [])

    def test_bins(self) -> None:
        """Times are counted by interval; what lies beyond the end is in none."""
        self.assertEqual(bins([0.0, 0.05, 0.1, 0.39, 0.4, 7], 0.1, 0.4), [2, 1, 0, 1])
