"""Linearizable reads without a log entry (thesis 6.4): ReadIndex, by quorum or by lease."""

from __future__ import annotations

from uring.raft.heartbeats import broadcast_heartbeat
from uring.raft.messages import HeartbeatResponse, ReadIndex, ReadIndexResponse
from uring.raft.readqueue import ReadState
from uring.raft.state import State
from uring.raft.types import NOBODY


def on_read_as_leader(state: State, request: ReadIndex) -> None:
    """Find the index at which ``request`` may be answered, or queue it until that is known."""
    # This comes before all shortcuts, a lone voter's too: after a restart even that one's commit
    # index may be behind what it has answered before, until the first commit of its new term.
    if not state.committed_in_term():
        state.early_reads.append(request)
        return
    if state.settings.read_only_lease or state.config.voters == {state.id}:
        _answer(state, request, state.log.committed)
        return
    state.reads.add(state.id, request, state.log.committed)
    broadcast_heartbeat(state)


def release_early_reads(state: State) -> None:
    """Serve the reads that came before the first commit of the term."""
    if state.early_reads and state.committed_in_term():
        early, state.early_reads = state.early_reads, []
        for request in early:
            on_read_as_leader(state, request)


def on_read_as_follower(state: State, request: ReadIndex) -> None:
    """Hand the request on to the leader; without one it is lost and its owner asks again."""
    if state.leader == NOBODY:
        if state.trace is not None:
            state.trace(
                "info",
                f"{state.id:x} no leader at term {state.term}; dropping index reading msg",
            )
        return
    state.send(ReadIndex(to=state.leader, from_=request.from_, context=request.context))


def on_read_response(state: State, message: ReadIndexResponse) -> None:
    """As a follower: the leader says at which index the read may be answered."""
    state.read_states.append(ReadState(message.index, message.context))


def on_read_confirmed(state: State, message: HeartbeatResponse) -> None:
    """As a leader: count who still follows and answer the reads a majority confirms."""
    for request, index in state.reads.acknowledge(message.from_, message.context, state.config):
        _answer(state, request, index)


def _answer(state: State, request: ReadIndex, index: int) -> None:
    if request.from_ in (NOBODY, state.id):
        state.read_states.append(ReadState(index, request.context))
        return
    state.send(
        ReadIndexResponse(
            to=request.from_,
            from_=state.id,
            term=state.term,
            index=index,
            context=request.context,
        )
    )
