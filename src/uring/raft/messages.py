"""One frozen class for each kind of message between nodes: a closed union.

``to`` and ``from_`` are node ids, ``term`` is the sender's term (0 on the kinds that are local or
forwarded: Propose, ReadIndex, TransferLeader).
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from uring.raft.types import Entry, Snapshot


@frozen(kw_only=True)
class _Envelope:
    to: int
    from_: int
    term: int = 0


@frozen(kw_only=True)
class Propose(_Envelope):
    """A follower hands client entries to the leader; their terms and indexes are not set yet."""

    entries: tuple[Entry, ...]


@frozen(kw_only=True)
class Append(_Envelope):
    """AppendEntries (paper, figure 2): ``prev_index``/``prev_term`` precede the first entry."""

    prev_index: int
    prev_term: int
    entries: tuple[Entry, ...] = ()
    commit: int = 0


@frozen(kw_only=True)
class AppendResponse(_Envelope):
    """``index`` is the last index that matches, or, when rejected, the index refused.

    A rejection carries where the follower's log may still agree (``hint_index``, ``hint_term``).
    """

    index: int
    reject: bool = False
    hint_index: int = 0
    hint_term: int = 0
    commit: int = 0


@frozen(kw_only=True)
class Vote(_Envelope):
    """RequestVote (paper, figure 2); ``transfer`` marks a campaign the leader asked for."""

    last_index: int
    last_term: int
    transfer: bool = False


@frozen(kw_only=True)
class VoteResponse(_Envelope):
    """The answer to a Vote; ``term`` is the vote's, so that a candidate behind still hears it."""

    reject: bool = False


@frozen(kw_only=True)
class PreVote(_Envelope):
    """A poll that changes nobody's term (thesis 9.6); ``term`` is the one that would be next."""

    last_index: int
    last_term: int
    transfer: bool = False


@frozen(kw_only=True)
class PreVoteResponse(_Envelope):
    """The answer to a PreVote: granted at the term asked for, refused at the voter's own."""

    reject: bool = False


@frozen(kw_only=True)
class Heartbeat(_Envelope):
    """``commit`` never exceeds what the receiver is known to match; ``context`` names a read."""

    commit: int = 0
    context: bytes = b""


@frozen(kw_only=True)
class HeartbeatResponse(_Envelope):
    """The follower is there; ``context`` is the heartbeat's."""

    context: bytes = b""


@frozen(kw_only=True)
class InstallSnapshot(_Envelope):
    """A follower needs what is no longer in the leader's log (paper, figure 13)."""

    snapshot: Snapshot


@frozen(kw_only=True)
class ReadIndex(_Envelope):
    """A follower asks the leader for a read index (thesis 6.4); ``context`` names the request."""

    context: bytes


@frozen(kw_only=True)
class ReadIndexResponse(_Envelope):
    """The read named ``context`` may be answered once ``index`` is applied."""

    index: int
    context: bytes


@frozen(kw_only=True)
class TransferLeader(_Envelope):
    """A request to make ``from_`` the leader (thesis 3.10)."""


@frozen(kw_only=True)
class TimeoutNow(_Envelope):
    """The leader tells the receiver to campaign at once (thesis 3.10)."""


Message: TypeAlias = (
    Propose
    | Append
    | AppendResponse
    | Vote
    | VoteResponse
    | PreVote
    | PreVoteResponse
    | Heartbeat
    | HeartbeatResponse
    | InstallSnapshot
    | ReadIndex
    | ReadIndexResponse
    | TransferLeader
    | TimeoutNow
)
"""Every message that may cross the network between two cores."""
