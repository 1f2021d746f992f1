"""Tests of uring.store."""
