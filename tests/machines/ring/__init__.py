"""Placement, plans, and hand-offs."""
