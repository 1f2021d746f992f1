"""Leader election (paper, 5.2 and 5.4.1): roles, campaigns, votes, the check of the quorum."""

from __future__ import annotations

import enum

from uring.raft import invariants
from uring.raft.messages import PreVote, PreVoteResponse, TimeoutNow, Vote, VoteResponse
from uring.raft.quorum import VoteResult
from uring.raft.replication import append_entries, broadcast_append
from uring.raft.state import State
from uring.raft.types import NOBODY, EntryKind, Role


class Campaign(enum.Enum):
    """Why a node campaigns: to ask first (thesis 9.6), to be elected, or told so (thesis 3.10)."""

    PRE_ELECTION = "pre-election"
    ELECTION = "election"
    TRANSFER = "transfer"


# Roles


def become_follower(state: State, term: int, leader: int) -> None:
    """Follow ``leader``, or nobody yet, in ``term``."""
    state.reset(term)
    state.leader = leader
    state.role = Role.FOLLOWER
    if state.trace is not None:
        state.trace("info", f"{state.id:x} became follower at term {state.term}")


def _become_candidate(state: State) -> None:
    _check_no_leader(state)
    state.reset(state.term + 1)
    state.vote = state.id
    state.role = Role.CANDIDATE
    if state.trace is not None:
        state.trace("info", f"{state.id:x} became candidate at term {state.term}")


def _become_pre_candidate(state: State) -> None:
    """Neither the term nor the vote changes: nothing has happened yet."""
    _check_no_leader(state)
    state.votes = {}
    state.leader = NOBODY
    state.role = Role.PRE_CANDIDATE
    if state.trace is not None:
        state.trace("info", f"{state.id:x} became pre-candidate at term {state.term}")


def _check_no_leader(state: State) -> None:
    if state.role is Role.LEADER:
        invariants.violated("figure 4", f"the leader of term {state.term} would campaign")


def _become_leader(state: State) -> None:
    if state.role is not Role.CANDIDATE:
        invariants.violated("figure 4", f"a {state.role.value} would lead term {state.term}")
    state.reset(state.term)
    state.leader = state.id
    state.role = Role.LEADER
    own = state.progress[state.id]
    own.become_replicate()
    own.recent_active = True
    # Any entry so far may be a membership change: none is proposed before all are applied.
    state.pending_conf_index = state.log.last_index
    state.term_start = state.log.last_index + 1
    # The first entry of the term commits what earlier leaders left (paper, 5.4.2 and 8).
    append_entries(state, [(EntryKind.NORMAL, b"")])
    if state.trace is not None:
        state.trace("info", f"{state.id:x} became leader at term {state.term}")


# Campaigning


def start_campaign(state: State, kind: Campaign) -> None:
    """Campaign unless this node leads already, may not, or has a membership change to apply."""
    if state.role is Role.LEADER:
        if state.trace is not None:
            state.trace("debug", f"{state.id:x} ignoring MsgHup because already leader")
        return
    if not state.is_promotable:
        if state.trace is not None:
            state.trace("warn", f"{state.id:x} is unpromotable and can not campaign")
        return
    if state.log.has_unapplied_conf_change():
        # It would ask the wrong voters.
        if state.trace is not None:
            state.trace(
                "warn",
                f"{state.id:x} cannot campaign at term {state.term} since there are still"
                " pending configuration changes to apply",
            )
        return
    if state.trace is not None:
        state.trace("info", f"{state.id:x} is starting a new election at term {state.term}")
    _campaign(state, kind)


def campaign_or_ask_first(state: State) -> None:
    """Campaign as the settings say."""
    start_campaign(state, Campaign.PRE_ELECTION if state.settings.pre_vote else Campaign.ELECTION)


def _campaign(state: State, kind: Campaign) -> None:
    pre = kind is Campaign.PRE_ELECTION
    if pre:
        _become_pre_candidate(state)
        request, answer, term = PreVote, PreVoteResponse, state.term + 1
    else:
        _become_candidate(state)
        request, answer, term = Vote, VoteResponse, state.term  # type: ignore[assignment]
    log = state.log
    for voter in sorted(state.config.voters):
        if voter == state.id:
            # The own vote counts, like any other, when it is durable.
            state.send_after_append(answer(to=voter, from_=state.id, term=term))
            continue
        if state.trace is not None:
            state.trace(
                "info",
                f"{state.id:x} [logterm: {log.last_term}, index: {log.last_index}] sent"
                f" {_name(pre)} request to {voter:x} at term {state.term}",
            )
        state.send(
            request(
                to=voter,
                from_=state.id,
                term=term,
                last_index=log.last_index,
                last_term=log.last_term,
                transfer=kind is Campaign.TRANSFER,
            )
        )


def _name(pre: bool) -> str:
    return "MsgPreVote" if pre else "MsgVote"


def on_timeout_now(state: State, message: TimeoutNow) -> None:
    """As a follower: the leader wants to hand over.  No need to ask first, it is not lost."""
    if state.trace is not None:
        state.trace(
            "info",
            f"{state.id:x} [term {state.term}] received MsgTimeoutNow from {message.from_:x}"
            " and starts an election to get leadership.",
        )
    start_campaign(state, Campaign.TRANSFER)


# Voting


def is_in_lease(state: State, message: Vote | PreVote) -> bool:
    """True if a leader was heard of too recently to give ``message`` a vote (thesis 4.2.3)."""
    ticks = state.settings.election_ticks
    if message.transfer or not state.settings.check_quorum or state.leader == NOBODY:
        return False
    if state.election_elapsed >= ticks:
        return False
    _trace_vote(
        state,
        "ignored",
        message,
        f": lease is not expired (remaining ticks: {ticks - state.election_elapsed})",
    )
    return True


def on_vote_request(state: State, message: Vote | PreVote) -> None:
    """Vote for the first who asks in a term and whose log is at least as new as ours.

    Learners vote too: one that is asked is a voter already and has not heard of it yet.
    """
    pre = isinstance(message, PreVote)
    can_vote = (
        state.vote == message.from_
        or (state.vote == NOBODY and state.leader == NOBODY)
        or (pre and message.term > state.term)
    )
    if not can_vote or not state.log.is_up_to_date(message.last_index, message.last_term):
        reject_vote(state, message)
        return
    _trace_vote(state, "cast", message)
    # The request's term, not ours: to a pre-candidate that is ahead ours would be old news.
    answer = PreVoteResponse if pre else VoteResponse
    state.send_after_append(answer(to=message.from_, from_=state.id, term=message.term))
    if not pre:
        state.election_elapsed = 0
        state.vote = message.from_


def reject_vote(state: State, message: Vote | PreVote) -> None:
    """Answer no."""
    _trace_vote(state, "rejected", message)
    answer = PreVoteResponse if isinstance(message, PreVote) else VoteResponse
    state.send_after_append(answer(to=message.from_, from_=state.id, term=state.term, reject=True))


def _trace_vote(state: State, verdict: str, message: Vote | PreVote, why: str = "") -> None:
    if state.trace is None:
        return
    log = state.log
    name = _name(isinstance(message, PreVote))
    toward = "for" if verdict == "cast" else "from"
    state.trace(
        "info",
        f"{state.id:x} [logterm: {log.last_term}, index: {log.last_index}, "
        f"vote: {state.vote:x}] {verdict} {name} {toward} {message.from_:x} "
        f"[logterm: {message.last_term}, index: {message.last_index}] at term {state.term}{why}",
    )


def on_vote_response(state: State, message: VoteResponse | PreVoteResponse) -> None:
    """As a candidate: count; answers to the other kind of campaign are old news."""
    pre = isinstance(message, PreVoteResponse)
    if pre is not (state.role is Role.PRE_CANDIDATE):
        return
    if state.trace is not None:
        state.trace(
            "info",
            f"{state.id:x} received {_name(pre)}Resp{' rejection' if message.reject else ''}"
            f" from {message.from_:x} at term {state.term}",
        )
    state.votes.setdefault(message.from_, not message.reject)
    if state.trace is not None:
        counted = [
            vote
            for node, vote in state.votes.items()
            if node in state.progress and not state.progress[node].is_learner
        ]
        state.trace(
            "info",
            f"{state.id:x} has received {counted.count(True)} {_name(pre)}Resp votes"
            f" and {counted.count(False)} vote rejections",
        )
    result = state.config.vote_result(state.votes)
    if result is VoteResult.LOST:
        # A pre-candidate's answers carry a term that nobody has; ours has not changed.
        become_follower(state, state.term, NOBODY)
    elif result is VoteResult.WON:
        if pre:
            _campaign(state, Campaign.ELECTION)
        elif state.id in state.votes:
            # With others' votes alone it could lead, lose power before its own vote and term are on
            # its disk, and win the same term again with another log (Raft paper, 5.2).
            _become_leader(state)
            broadcast_append(state)


# Staying a leader


def check_quorum(state: State) -> None:
    """As a leader: step down unless a majority was heard of since the last check (thesis 6.2)."""
    active = {
        node: each.recent_active for node, each in state.progress.items() if not each.is_learner
    }
    if state.config.vote_result(active) is not VoteResult.WON:
        if state.trace is not None:
            state.trace("warn", f"{state.id:x} stepped down to follower since quorum is not active")
        become_follower(state, state.term, NOBODY)
    for peer in state.peers:
        peer.recent_active = False


def forget_leader(state: State) -> None:
    """As a follower: stop relying on the leader, so that a vote may be given at once."""
    if state.role is not Role.FOLLOWER:
        return
    if state.settings.read_only_lease:
        # The leader's lease rests on nobody voting for another one.
        if state.trace is not None:
            state.trace("error", "ignoring MsgForgetLeader due to ReadOnlyLeaseBased")
        return
    if state.leader != NOBODY:
        if state.trace is not None:
            state.trace(
                "info",
                f"{state.id:x} forgetting leader {state.leader:x} at term {state.term}",
            )
        state.leader = NOBODY
