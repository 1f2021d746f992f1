"""Which rule a message or a tick is for.  Dispatch only: the rules are in the topics' modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uring.raft import invariants
from uring.raft.durability import on_storage_append, on_storage_apply
from uring.raft.election import (
    become_follower,
    campaign_or_ask_first,
    check_quorum,
    is_in_lease,
    on_timeout_now,
    on_vote_request,
    on_vote_response,
    reject_vote,
)
from uring.raft.heartbeats import broadcast_heartbeat, on_heartbeat
from uring.raft.local import AnyMessage, StorageAppendResponse, StorageApplyResponse
from uring.raft.messages import (
    Append,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    PreVote,
    PreVoteResponse,
    Propose,
    ReadIndex,
    ReadIndexResponse,
    TimeoutNow,
    TransferLeader,
    Vote,
    VoteResponse,
)
from uring.raft.proposals import on_propose
from uring.raft.reads import on_read_as_follower, on_read_as_leader, on_read_response
from uring.raft.replication import on_append, on_append_response, on_heartbeat_response
from uring.raft.snapshots import on_install_snapshot
from uring.raft.state import State
from uring.raft.transfer import on_transfer_as_follower, on_transfer_as_leader
from uring.raft.types import NOBODY, Role

FromLeader = Append | Heartbeat | InstallSnapshot
Rule = Callable[[State, Any], None]

RESPONSES = (
    AppendResponse,
    HeartbeatResponse,
    PreVoteResponse,
    ReadIndexResponse,
    VoteResponse,
)
"""Kinds that only a member of the present configuration has a say in."""

_TERMLESS = (Propose, ReadIndex, StorageApplyResponse, TransferLeader)
"""Kinds that may belong to no term (then theirs is 0)."""

_FROM_LEADER: dict[type, Rule] = {
    Append: on_append,
    Heartbeat: on_heartbeat,
    InstallSnapshot: on_install_snapshot,
}


def _follow(state: State, message: FromLeader) -> None:
    """As a follower: whoever sends these in our term is its leader."""
    if state.leader != NOBODY:
        invariants.check_single_leader(state.term, state.leader, message.from_)
    state.election_elapsed = 0
    state.leader = message.from_
    _FROM_LEADER[type(message)](state, message)


def _concede(state: State, message: FromLeader) -> None:
    """As a candidate: somebody else has won this term (paper, 5.2)."""
    become_follower(state, message.term, message.from_)
    _FROM_LEADER[type(message)](state, message)


def _deny(state: State, message: FromLeader) -> None:
    """As a leader: nobody else can lead this term."""
    invariants.check_single_leader(state.term, state.id, message.from_)


def _too_late(state: State, message: TimeoutNow) -> None:
    if state.trace is not None:
        state.trace(
            "debug",
            f"{state.id:x} [term {state.term} state State{state.role.value}]"
            f" ignored MsgTimeoutNow from {message.from_:x}",
        )


_FOR_ALL: dict[type, Rule] = {
    Vote: on_vote_request,
    PreVote: on_vote_request,
    Propose: on_propose,
    StorageAppendResponse: on_storage_append,
    StorageApplyResponse: on_storage_apply,
}

_CANDIDATE: dict[type, Rule] = {
    **_FOR_ALL,
    **dict.fromkeys(_FROM_LEADER, _concede),
    VoteResponse: on_vote_response,
    PreVoteResponse: on_vote_response,
    TimeoutNow: _too_late,
}

_RULES: dict[Role, dict[type, Rule]] = {
    Role.FOLLOWER: {
        **_FOR_ALL,
        **dict.fromkeys(_FROM_LEADER, _follow),
        ReadIndex: on_read_as_follower,
        ReadIndexResponse: on_read_response,
        TimeoutNow: on_timeout_now,
        TransferLeader: on_transfer_as_follower,
    },
    Role.CANDIDATE: _CANDIDATE,
    Role.PRE_CANDIDATE: _CANDIDATE,
    Role.LEADER: {
        **_FOR_ALL,
        **dict.fromkeys(_FROM_LEADER, _deny),
        AppendResponse: on_append_response,
        HeartbeatResponse: on_heartbeat_response,
        ReadIndex: on_read_as_leader,
        TransferLeader: on_transfer_as_leader,
    },
}


def step(state: State, message: AnyMessage) -> None:
    """Take one message.  Raises :exc:`ProposalDropped` for a proposal that is not taken."""
    term = message.term
    if not term:
        if not isinstance(message, _TERMLESS):
            return
    elif term != state.term:
        if term < state.term:
            _on_lower_term(state, message)
            return
        if not _accept_higher_term(state, message):
            return
    rule = _RULES[state.role].get(type(message))
    if rule is not None:
        rule(state, message)


def _accept_higher_term(state: State, message: AnyMessage) -> bool:
    """Move to a later term (paper, 5.1); False if the message is to be ignored instead."""
    if isinstance(message, Vote | PreVote) and is_in_lease(state, message):
        return False
    if isinstance(message, PreVote):
        return True
    if isinstance(message, PreVoteResponse) and not message.reject:
        # Granted for a term that we would enter only after winning the poll.
        return True
    if isinstance(message, StorageAppendResponse | StorageApplyResponse):
        invariants.violated("5.1", f"this node wrote at term {message.term}, a later one")
    if state.trace is not None:
        state.trace(
            "info",
            f"{state.id:x} [term: {state.term}] received a {_name(message)} message with higher"
            f" term from {message.from_:x} [term: {message.term}]",
        )
    leader = message.from_ if isinstance(message, FromLeader) else NOBODY
    become_follower(state, message.term, leader)
    return True


def _on_lower_term(state: State, message: AnyMessage) -> None:
    """Answer or ignore what comes from an earlier term (paper, 5.1)."""
    settings = state.settings
    if isinstance(message, StorageAppendResponse):
        on_storage_append(state, message)
    elif isinstance(message, Append | Heartbeat) and (settings.check_quorum or settings.pre_vote):
        # An old leader would never hear of our term otherwise: votes are ignored in its lease, and
        # pre-votes raise no term.  This answer makes it step down and frees us both.
        state.send_after_append(
            AppendResponse(to=message.from_, from_=state.id, term=state.term, index=0)
        )
    elif isinstance(message, PreVote):
        # The asker may be stuck with a shorter log and an old term: tell it ours.
        reject_vote(state, message)
    elif state.trace is not None and not isinstance(message, StorageApplyResponse):
        state.trace(
            "info",
            f"{state.id:x} [term: {state.term}] ignored a {_name(message)} message with lower"
            f" term from {message.from_:x} [term: {message.term}]",
        )


_NAMES = {
    Append: "MsgApp",
    AppendResponse: "MsgAppResp",
    Vote: "MsgVote",
    VoteResponse: "MsgVoteResp",
    PreVote: "MsgPreVote",
    PreVoteResponse: "MsgPreVoteResp",
    Heartbeat: "MsgHeartbeat",
    HeartbeatResponse: "MsgHeartbeatResp",
    InstallSnapshot: "MsgSnap",
    Propose: "MsgProp",
    ReadIndex: "MsgReadIndex",
    ReadIndexResponse: "MsgReadIndexResp",
    TransferLeader: "MsgTransferLeader",
    TimeoutNow: "MsgTimeoutNow",
    StorageAppendResponse: "MsgStorageAppendResp",
    StorageApplyResponse: "MsgStorageApplyResp",
}


def _name(message: AnyMessage) -> str:
    """Return the name that etcd gives a message of this kind."""
    return _NAMES[type(message)]


def tick(state: State) -> None:
    """One tick has passed."""
    state.election_elapsed += 1
    if state.role is Role.LEADER:
        _tick_leader(state)
    elif state.election_elapsed >= state.randomized_timeout and state.is_promotable:
        state.election_elapsed = 0
        campaign_or_ask_first(state)


def _tick_leader(state: State) -> None:
    settings = state.settings
    state.heartbeat_elapsed += 1
    if state.election_elapsed >= settings.election_ticks:
        state.election_elapsed = 0
        if settings.check_quorum:
            check_quorum(state)
        # A transfer that took so long has failed (thesis 3.10): take proposals again.
        state.lead_transferee = NOBODY
        if state.role is not Role.LEADER:
            return
    if state.heartbeat_elapsed >= settings.heartbeat_ticks:
        state.heartbeat_elapsed = 0
        broadcast_heartbeat(state)
