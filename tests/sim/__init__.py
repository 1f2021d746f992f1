"""Whole nodes over a simulated clock, network and disk, all from one seed; see docs/TESTING.md."""
