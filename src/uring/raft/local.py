"""What never crosses the network: answers of the local disk and the refusals of the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from uring.raft.messages import Message
from uring.raft.types import Entry, EntryKind, Snapshot

Trace: TypeAlias = Callable[[str, str], None]
"""Called with a level (debug, info, warn, error) and a sentence about what the core just did."""

Seal: TypeAlias = Callable[[int, int, EntryKind, bytes], Entry]
"""Makes an entry from its term, index, kind and data; the place to encode it, once."""


@frozen(kw_only=True)
class StorageAppendResponse:
    """Everything up to the StorageAppend that carried this is durable; step it into the core.

    ``index`` and ``log_term`` attest the last entry of the log at that time (0 if there is nothing
    to attest).  A response of an earlier ``term`` proves nothing about entries: those may have
    been overwritten since by a write that is still under way.
    """

    to: int
    term: int
    index: int = 0
    log_term: int = 0
    snapshot: Snapshot | None = None


@frozen(kw_only=True)
class StorageApplyResponse:
    """The entries of one StorageApply are applied; step it into the core."""

    to: int
    entries: tuple[Entry, ...]
    term: int = 0


LocalMessage: TypeAlias = StorageAppendResponse | StorageApplyResponse
AnyMessage: TypeAlias = Message | LocalMessage


class StepRefused(Exception):
    """The core did not take a message or a proposal; nothing has changed."""


class ProposalDropped(StepRefused):
    """No leader, a transfer under way, or too much uncommitted: the proposal is not in any log."""


class PeerNotFound(StepRefused):
    """A response came from a node that is not a member of the present configuration."""
