"""What one core may be told at start: ticks, limits and switches, validated in one place."""

from __future__ import annotations

from attrs import frozen

NO_LIMIT = 2**64 - 1
"""A limit that no log reaches."""


@frozen(kw_only=True)
class Settings:
    """The behaviour of one core; fixed as long as it lives.  Raises :exc:`ValueError`.

    Times are in ticks (the caller decides how long a tick is), sizes in bytes.
    """

    node_id: int
    """Who this is; positive."""

    election_ticks: int = 10
    """A follower campaigns after one to two times as many ticks without a leader (paper, 5.2)."""

    heartbeat_ticks: int = 1
    """A leader sends a heartbeat every so many ticks."""

    applied: int = 0
    """The last index that the state machine has applied already (after a restart)."""

    max_append_bytes: int = 1 << 20
    """Entries in one Append; 0 means one entry at a time."""

    max_inflight_messages: int = 256
    """Appends sent to one follower and not answered yet."""

    max_inflight_bytes: int = 16 << 20
    """Data in those Appends."""

    max_uncommitted_bytes: int = 64 << 20
    """Data in the leader's log that is not committed; past it, proposals are refused."""

    max_committed_bytes_per_ready: int = 4 << 20
    """Entries handed out to be applied and not acknowledged yet."""

    check_quorum: bool = True
    """A leader that hears from no majority for an election time-out steps down (thesis 6.2)."""

    pre_vote: bool = True
    """Ask whether an election could be won before raising the term (thesis 9.6)."""

    read_only_lease: bool = False
    """Answer reads from the leader's lease, without a round of heartbeats (thesis 6.4.1)."""

    async_storage_writes: bool = False
    """Writes complete later and are acknowledged by messages (thesis 10.2.1)."""

    disable_proposal_forwarding: bool = False
    """A follower refuses proposals and does not hand them to its leader."""

    disable_conf_change_validation: bool = False
    """Membership changes are not checked against the present configuration when proposed."""

    step_down_on_removal: bool = False
    """A leader that is removed or demoted becomes a follower when it applies that change."""

    def __attrs_post_init__(self) -> None:
        for rule, text in (
            (self.node_id > 0, "node_id must be positive"),
            (self.heartbeat_ticks > 0, "heartbeat_ticks must be positive"),
            (
                self.election_ticks > self.heartbeat_ticks,
                "election_ticks must be greater than heartbeat_ticks",
            ),
            (self.applied >= 0, "applied must not be negative"),
            (self.max_append_bytes >= 0, "max_append_bytes must not be negative"),
            (self.max_inflight_messages > 0, "max_inflight_messages must be positive"),
            (
                self.max_inflight_bytes >= self.max_append_bytes,
                "max_inflight_bytes must not be less than max_append_bytes",
            ),
            (self.max_uncommitted_bytes > 0, "max_uncommitted_bytes must be positive"),
            (
                self.max_committed_bytes_per_ready > 0,
                "max_committed_bytes_per_ready must be positive",
            ),
            (
                self.check_quorum or not self.read_only_lease,
                "read_only_lease needs check_quorum: without it a deposed leader keeps its lease",
            ),
        ):
            if not rule:
                raise ValueError(text)
