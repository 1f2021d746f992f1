"""Raft consensus as a deterministic core: no clock, no disk, no network, no threads.

The owner of a :class:`RawNode` feeds it ticks, messages and proposals, and takes one
:class:`Ready` at a time.  How to treat a Ready, in this order:

1. Write ``snapshot``, then ``entries``, then ``hard_state``, in one atomic batch; sync it if
   ``must_sync``.  Entries replace whatever stands at their indexes or later.
2. Send ``messages``; not before the write is durable, since votes and acknowledgements among them
   promise that it is.  After sending an InstallSnapshot call ``report_snapshot``.
3. Install ``snapshot`` in the state machine and apply ``committed_entries``; call
   ``apply_conf_change`` for each membership change among them.
4. Call ``advance``.

With ``async_storage_writes`` none of these waits for the others: ``messages`` leave at once, since
nothing in them depends on the write; ``append`` is written (in order, one after the other) and its
responses are delivered when it is durable; ``apply`` is applied (in order) and its responses are
delivered after it.  Then ``advance`` is not called.

``read_states`` are answered when the state machine has applied their index.
"""

from uring.raft.changer import ConfChangeError
from uring.raft.core import RawNode
from uring.raft.invariants import InvariantViolation
from uring.raft.local import (
    PeerNotFound,
    ProposalDropped,
    StepRefused,
    StorageAppendResponse,
    StorageApplyResponse,
)
from uring.raft.membership import decode_conf_change, encode_conf_change
from uring.raft.progress import ProgressState, ProgressView
from uring.raft.readqueue import ReadState
from uring.raft.ready import Ready, Status, StorageAppend, StorageApply
from uring.raft.settings import NO_LIMIT, Settings
from uring.raft.storage import MemoryStorage, Storage

__all__ = [
    "NO_LIMIT",
    "ConfChangeError",
    "InvariantViolation",
    "MemoryStorage",
    "PeerNotFound",
    "ProgressState",
    "ProgressView",
    "ProposalDropped",
    "RawNode",
    "ReadState",
    "Ready",
    "Settings",
    "Status",
    "StepRefused",
    "Storage",
    "StorageAppend",
    "StorageAppendResponse",
    "StorageApply",
    "StorageApplyResponse",
    "decode_conf_change",
    "encode_conf_change",
]
