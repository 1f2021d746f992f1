"""Watches: the kept changes, and who is told what."""
