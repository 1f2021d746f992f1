"""Every bound of the door that all share, and of the connections between nodes."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class PeerLimits:
    """Sizes are bytes, times are seconds."""

    frame_bytes: int = 64 * 1024 * 1024
    """One turn's messages for one peer; larger ones are split by the sender.  The same everywhere:
    what is sent must be taken."""
    outbox_bytes: int = 32 * 1024 * 1024
    """What waits for a peer that does not read; beyond it messages are dropped, and sent again."""
    hello_seconds: float = 5.0
    """From a connection's begin until both sides agree."""
    frame_seconds: float = 10.0
    """From a frame's first byte to its last."""
    strangers: int = 64
    """Accepted connections that are not yet accepted as a node's,"""
    strangers_per_address: int = 16
    """and those of one address, so that one cannot keep all others out."""
    silence_seconds: float = 5.0
    """After which a connection that has not said what it is gets closed."""
    undecided: int = 1024
    """Connections that have not said what they are yet; the oldest makes room."""
    clients_per_address: int = 5000
    """Connections of clients from one address."""
