"""The nouns of Raft: entries, terms on disk, configurations, snapshots.

Everything here is a value: frozen, slotted, compared by content.  Node ids are positive integers;
0 means "nobody" (no leader, no vote).  Indexes and terms start at 1; 0 means "before the log".
"""

from __future__ import annotations

import enum

from attrs import field, frozen

NOBODY = 0
"""The id that no node has: no leader known, no vote given."""


class Role(enum.Enum):
    """What a node is at the moment; the names are those that /status shows."""

    FOLLOWER = "Follower"
    CANDIDATE = "Candidate"
    LEADER = "Leader"
    PRE_CANDIDATE = "PreCandidate"


class EntryKind(enum.IntEnum):
    """How an entry's data is to be read."""

    NORMAL = 0
    CONF_CHANGE = 1
    CONF_CHANGE_V2 = 2


@frozen
class Entry:
    """One place in the replicated log.

    ``data`` is opaque to the core.  ``record`` is the entry's encoded form (see
    :mod:`uring.wire.codec`) where somebody made it already: it travels to the disk and to every
    follower unchanged, so that an entry is encoded once in its life.  It is not part of the value.
    """

    term: int
    index: int
    kind: EntryKind = EntryKind.NORMAL
    data: bytes = b""
    record: bytes = field(default=b"", eq=False, repr=False)


@frozen
class HardState:
    """What must be on disk before any answer that depends on it (Raft paper, figure 2)."""

    term: int = 0
    vote: int = NOBODY
    commit: int = 0


@frozen
class SoftState:
    """What a node knows only while it runs."""

    leader: int = NOBODY
    role: Role = Role.FOLLOWER


@frozen
class ConfState:
    """A membership: who votes, who only listens, and both halves of a joint configuration.

    Each field is a sorted tuple of node ids.  ``voters_outgoing`` is empty outside a joint
    configuration; ``learners_next`` are voters of the outgoing half that become learners when it
    ends.
    """

    voters: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    voters_outgoing: tuple[int, ...] = ()
    learners_next: tuple[int, ...] = ()
    auto_leave: bool = False


@frozen
class SnapshotMeta:
    """What a snapshot stands for: all entries up to ``index``, and the membership there."""

    index: int = 0
    term: int = 0
    conf_state: ConfState = ConfState()


@frozen
class Snapshot:
    """A snapshot as the core sees it.  ``data`` says where the state is, not the state itself."""

    meta: SnapshotMeta = SnapshotMeta()
    data: bytes = b""

    @property
    def is_empty(self) -> bool:
        """True for the placeholder that means "no snapshot" (index 0)."""
        return self.meta.index == 0


class ConfChangeKind(enum.IntEnum):
    """One step of a membership change."""

    ADD_NODE = 0
    REMOVE_NODE = 1
    UPDATE_NODE = 2
    ADD_LEARNER = 3


class ConfChangeTransition(enum.IntEnum):
    """How a change of several steps enters and leaves its joint configuration (thesis 4.3)."""

    AUTO = 0
    JOINT_IMPLICIT = 1
    JOINT_EXPLICIT = 2


@frozen
class ConfChangeSingle:
    """One node, one step."""

    kind: ConfChangeKind
    node_id: int


@frozen
class ConfChange:
    """A membership change as it stands in the log; no steps at all means "leave the joint one".

    ``context`` is the proposer's and opaque to the core (uring keeps the member's address and the
    proposal's id there).
    """

    changes: tuple[ConfChangeSingle, ...] = ()
    transition: ConfChangeTransition = ConfChangeTransition.AUTO
    context: bytes = b""
