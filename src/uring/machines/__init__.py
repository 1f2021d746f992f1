"""What is replicated: keys and values, and the ring.  Deterministic; knows nothing of Raft."""
