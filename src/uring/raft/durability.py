"""What follows when the disk or the state machine says that it is done."""

from __future__ import annotations

from uring.raft.local import ProposalDropped, StorageAppendResponse, StorageApplyResponse
from uring.raft.proposals import propose_as_leader
from uring.raft.state import State
from uring.raft.storage import data_size, entries_size
from uring.raft.types import EntryKind, Role, Snapshot


def on_storage_append(state: State, message: StorageAppendResponse) -> None:
    """Entries or a snapshot are durable.

    A response from an earlier term proves nothing about entries: another leader's may be on their
    way to the same place.  A snapshot is committed state, whatever the term.
    """
    if message.index:
        if message.term == state.term:
            state.log.stable_to(message.index, message.log_term)
        elif state.trace is not None:
            state.trace(
                "info",
                f"{state.id:x} [term: {state.term}] ignored entry appends from a"
                f" MsgStorageAppendResp message with lower term [term: {message.term}]",
            )
    if message.snapshot is not None:
        _snapshot_installed(state, message.snapshot)


def on_storage_apply(state: State, message: StorageApplyResponse) -> None:
    """Entries are applied."""
    entries = message.entries
    if not entries:
        return
    applied_to(state, entries[-1].index, entries_size(entries))
    state.uncommitted_bytes = max(0, state.uncommitted_bytes - data_size(entries))


def _snapshot_installed(state: State, snapshot: Snapshot) -> None:
    state.log.snapshot_installed(snapshot.meta.index)
    applied_to(state, snapshot.meta.index, 0)


def applied_to(state: State, index: int, size: int) -> None:
    """Everything up to ``index`` is applied; a joint configuration may end by itself now."""
    applied = max(index, state.log.applied)
    state.log.applied_to(applied, size)
    if state.role is not Role.LEADER or not state.config.auto_leave:
        return
    if applied < state.pending_conf_index:
        return
    # This may be refused while leadership is handed over; it is tried again with what is applied
    # next, by this leader or by the new one.
    try:
        propose_as_leader(state, [(EntryKind.CONF_CHANGE_V2, b"")])
    except ProposalDropped as dropped:
        if state.trace is not None:
            state.trace(
                "debug",
                "not initiating automatic transition out of joint configuration"
                f" {state.config}: {dropped}",
            )
        return
    if state.trace is not None:
        state.trace(
            "info",
            f"initiating automatic transition out of joint configuration {state.config}",
        )
