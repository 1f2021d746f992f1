"""What a node is told of time and bounds."""

from __future__ import annotations

from attrs import frozen

from uring.machines.levels import LEVEL


@frozen(kw_only=True)
class NodeSettings:
    """What a node needs to know of time and bounds.  Times are seconds."""

    node_id: int
    address: str
    version: str
    level: int = LEVEL
    """The feature level it supports: its program's, but where tests play an older one."""
    tick: float = 0.05
    election: float = 1.0
    lost_leader: float = 0.1
    """About how long to wait with a campaign once the leader's process is known to have ended;
    0 to wait for an election time-out then, too."""
    request_timeout: float = 5.0
    waiting_commands: int = 100_000
    waiting_bytes: int = 64 << 20
    log_entries_max: int = 10_000
    """Applied entries that the log keeps before the oldest are dropped."""
    log_bytes_max: int = 64 << 20
    history_entries: int = 100_000
    """Changes that are kept for those who watch, at the most,"""
    history_bytes: int = 64 << 20
    """and how many bytes of them."""
    trailing_entries: int = 5_000
    """Applied entries that stay in the log for followers that are a little behind."""
    disk_reserve: int = 0
    """Bytes that must be free for new data to be taken; 0 to watch nothing."""
