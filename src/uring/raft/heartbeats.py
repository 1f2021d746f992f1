"""The leader's heartbeats and what a follower does with them (paper, 5.2)."""

from __future__ import annotations

from uring.raft.messages import Heartbeat, HeartbeatResponse
from uring.raft.state import State


def broadcast_heartbeat(state: State) -> None:
    """Send everybody a heartbeat; it asks for a confirmation of the reads that wait."""
    context = state.reads.context()
    committed = state.log.committed
    for peer in state.peers:
        # Never past what is known to match: the rest of its log may be another one's.
        commit = min(peer.match, committed)
        state.send(
            Heartbeat(to=peer.id, from_=state.id, term=state.term, commit=commit, context=context)
        )
        peer.sent_commit = commit


def on_heartbeat(state: State, message: Heartbeat) -> None:
    """As a follower: take the commit index and answer."""
    state.log.commit_to(message.commit)
    state.send(
        HeartbeatResponse(
            to=message.from_, from_=state.id, term=state.term, context=message.context
        )
    )
