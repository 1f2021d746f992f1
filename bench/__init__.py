"""Measurements against running nodes; each file is a script of its own."""
