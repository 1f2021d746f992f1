"""Every bound of the doors, with its reason."""

from __future__ import annotations

from attrs import frozen

from uring.machines.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX


@frozen(kw_only=True)
class Limits:
    """Sizes are bytes, times are seconds."""

    body_bytes: int = 2 * VALUE_BYTES_MAX
    """A value of the largest size fits even if JSON has to escape some of it."""
    message_bytes: int = 2 * VALUE_BYTES_MAX
    """The same for one WebSocket message, and for one frame of it."""
    uri_bytes: int = 3 * KEY_BYTES_MAX + 512
    """The longest key with every byte percent-escaped."""
    json_depth: int = 32
    """Our deepest message has three levels."""
    batch_commands: int = 1024
    """Commands in one message or body: applying them takes some milliseconds."""
    batch_answer_bytes: int = 8 * 1024 * 1024
    """The answers to them together; what does not fit is left out, and said so."""
    in_flight: int = 4096
    """Commands of one WebSocket without an answer; beyond it the socket is not read from."""
    subscriptions: int = 64
    """Of one WebSocket: each may have a piece of 128 KiB on its way."""
    fragments: int = 4096
    """Frames of one WebSocket message: empty ones cost memory without making it longer."""
    turn_bytes: int = 256 * 1024
    """Replies that are gathered into one write."""
    backlog_bytes: int = 16 * 1024 * 1024
    """What waits for a client that does not read; beyond it the connection is closed."""
    connections: int = 20_000
    """Clients' connections in all."""
    token_failures: int = 20
    """Wrong tokens from one address within ``token_failure_seconds``; more are answered 429."""
    token_failure_seconds: float = 60.0
    header_seconds: float = 5.0
    """From a request's first byte to the end of its headers."""
    body_seconds: float = 30.0
    """From a request's first byte to its last."""
    idle_seconds: float = 60.0
    """Between two requests of a kept connection."""
    ping_seconds: float = 20.0
    """Between pings on a WebSocket; without a pong for as long it is closed."""
