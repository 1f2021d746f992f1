"""Nodes of the ring, among themselves."""
