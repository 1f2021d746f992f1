"""Bytes that nobody would send, at every decoder."""
