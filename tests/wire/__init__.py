"""Frames, entries, messages, hellos."""
