"""Bytes to values and back, without a socket in sight."""
