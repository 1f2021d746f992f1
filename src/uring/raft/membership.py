"""Membership changes (paper, section 6; thesis, chapter 4): how they are written and applied.

Written into an entry's data, big-endian: version (1 byte, 1), transition (1 byte), count of changes
(2 bytes), then for each change its kind (1 byte) and node id (8 bytes), then the context up to the
end.  Leaving a joint configuration without a context is the empty string, so that it can never be
too large.
"""

from __future__ import annotations

import struct

from uring.raft.changer import Changed
from uring.raft.election import become_follower
from uring.raft.replication import broadcast_append, maybe_commit, maybe_send_append
from uring.raft.state import State
from uring.raft.types import (
    NOBODY,
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfState,
    Role,
)

_VERSION = 1
_HEAD = struct.Struct(">BBH")
_CHANGE = struct.Struct(">BQ")


def encode_conf_change(change: ConfChange) -> bytes:
    """Return the entry data for ``change``.  Raises :exc:`ValueError` for ids that do not fit."""
    if change == ConfChange():
        return b""
    try:
        parts = [_HEAD.pack(_VERSION, change.transition, len(change.changes))]
        parts += [_CHANGE.pack(single.kind, single.node_id) for single in change.changes]
    except struct.error as error:
        raise ValueError(f"a membership change cannot be encoded: {error}") from error
    return b"".join([*parts, change.context])


def decode_conf_change(data: bytes) -> ConfChange:
    """Return the change that ``data`` was made from.  Raises :exc:`ValueError` otherwise."""
    if not data:
        return ConfChange()
    try:
        version, transition, count = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise ValueError(f"unknown version {version} of a membership change")
        end = _HEAD.size + count * _CHANGE.size
        changes = tuple(
            ConfChangeSingle(ConfChangeKind(kind), node_id)
            for kind, node_id in _CHANGE.iter_unpack(_exactly(data, _HEAD.size, end))
        )
        decoded = ConfChange(changes, ConfChangeTransition(transition), data[end:])
    except struct.error as error:
        raise ValueError(f"a membership change is malformed: {error}") from error
    if decoded == ConfChange():
        raise ValueError("an empty membership change must be empty data")
    return decoded


def _exactly(data: bytes, start: int, end: int) -> bytes:
    if len(data) < end:
        raise ValueError(f"a membership change ends after {len(data)} bytes, {end} expected")
    return data[start:end]


def joint_auto_leave(change: ConfChange) -> bool | None:
    """Say whether ``change`` needs a joint configuration, and if so, whether it ends by itself.

    None means that a simple change will do.  More steps than one go through a joint configuration
    since no majority is common to both otherwise (thesis 4.3).
    """
    if change.transition is ConfChangeTransition.AUTO and len(change.changes) <= 1:
        return None
    return change.transition is not ConfChangeTransition.JOINT_EXPLICIT


def leaves_joint(change: ConfChange) -> bool:
    """True if ``change`` ends a joint configuration."""
    return not change.changes and change.transition is ConfChangeTransition.AUTO


def apply_conf_change(state: State, change: ConfChange) -> ConfState:
    """Switch to the configuration that ``change`` leads to and return it.

    Raises :exc:`ConfChangeError` if the present configuration does not allow it; what is in the
    log is there on every node, so that a node that gets this must stop.
    """
    config, progress = _changed(state, change)
    conf_state = state.install(config, progress)
    own = progress.get(state.id)
    if state.role is not Role.LEADER:
        return conf_state
    if own is None or own.is_learner:
        # A leader outside the configuration leads on until the change is committed (paper, 6);
        # it is now, as this is called when it is applied.
        if state.settings.step_down_on_removal:
            become_follower(state, state.term, NOBODY)
        return conf_state
    if maybe_commit(state):
        # A smaller majority has more in common.
        broadcast_append(state)
    else:
        for peer in state.peers:
            maybe_send_append(state, peer, False)
    if state.lead_transferee != NOBODY and state.lead_transferee not in config.voters:
        state.lead_transferee = NOBODY
    return conf_state


def _changed(state: State, change: ConfChange) -> Changed:
    changer = state.changer()
    if leaves_joint(change):
        return changer.leave_joint()
    auto_leave = joint_auto_leave(change)
    if auto_leave is None:
        return changer.simple(change.changes)
    return changer.enter_joint(auto_leave, change.changes)
