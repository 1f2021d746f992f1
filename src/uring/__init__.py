"""uring: a key/value store and a managed ring of vnodes, replicated by Raft, for Twisted."""

__version__ = "0.1.0"
