"""Connections between nodes, and the one port that they share with HTTP."""
