"""What a core wants done, and what it tells about itself."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from uring.raft.local import AnyMessage
from uring.raft.messages import Message
from uring.raft.progress import ProgressView
from uring.raft.readqueue import ReadState
from uring.raft.types import ConfState, Entry, HardState, Snapshot, SoftState


@frozen(kw_only=True)
class StorageAppend:
    """Write this; when it is durable, deliver ``responses`` in order.

    Appends must be written in the order they are handed out.  ``hard_state`` is None if it has not
    changed.  If there is a snapshot it replaces everything, and ``entries`` follow it.  ``entries``
    replace whatever stands at their indexes or later.  A response whose ``to`` is this node is
    stepped into the core, any other one goes to that peer.  Without responses the write need not
    be synced.
    """

    hard_state: HardState | None
    entries: tuple[Entry, ...]
    snapshot: Snapshot | None
    responses: tuple[AnyMessage, ...]


@frozen(kw_only=True)
class StorageApply:
    """Apply ``entries`` in order; then step ``responses`` into the core.

    Entries that a snapshot holds which was installed since they were handed out must be skipped,
    and so must ``apply_conf_change`` for them.
    """

    entries: tuple[Entry, ...]
    responses: tuple[AnyMessage, ...]


@frozen(kw_only=True)
class Ready:
    """One batch of work; the order in which to do it is in :mod:`uring.raft`.

    ``soft_state`` and ``hard_state`` are None if unchanged.  ``messages`` are for peers.
    ``must_sync`` says that the write must be durable before anything that depends on it leaves.
    With asynchronous writes ``append`` and ``apply`` say what to write and apply (``entries``,
    ``snapshot``, ``hard_state`` and ``committed_entries`` only repeat it), and ``messages`` may
    leave before any of it is durable.
    """

    soft_state: SoftState | None
    hard_state: HardState | None
    read_states: tuple[ReadState, ...]
    messages: tuple[Message, ...]
    entries: tuple[Entry, ...]
    snapshot: Snapshot | None
    committed_entries: tuple[Entry, ...]
    must_sync: bool
    append: StorageAppend | None = None
    apply: StorageApply | None = None


@frozen(kw_only=True)
class Status:
    """A core at one moment.  ``progress`` is empty unless it leads."""

    id: int
    hard_state: HardState
    soft_state: SoftState
    applied: int
    first_index: int
    last_index: int
    last_term: int
    conf_state: ConfState
    progress: Mapping[int, ProgressView]
    lead_transferee: int
    pending_conf_index: int
    uncommitted_bytes: int
    election_elapsed: int
    heartbeat_elapsed: int
    randomized_election_timeout: int
