"""Handing leadership over (thesis 3.10)."""

from __future__ import annotations

from attrs import evolve

from uring.raft.messages import TransferLeader
from uring.raft.replication import send_append, send_timeout_now
from uring.raft.state import State
from uring.raft.types import NOBODY


def on_transfer_as_leader(state: State, message: TransferLeader) -> None:
    """Bring ``message.from_`` up to date and tell it to campaign; refuse proposals meanwhile."""
    target = message.from_
    peer = state.progress.get(target)
    if peer is None:
        _trace(state, "debug", f"no progress available for {target:x}")
        return
    if peer.is_learner:
        _trace(state, "debug", "is learner. Ignored transferring leadership")
        return
    present = state.lead_transferee
    term = f"[term {state.term}]"
    if present == target:
        _trace(
            state,
            "info",
            f"{term} transfer leadership to {target:x} is in progress,"
            f" ignores request to same node {target:x}",
        )
        return
    if present != NOBODY:
        state.lead_transferee = NOBODY
        _trace(state, "info", f"{term} abort previous transferring leadership to {present:x}")
    if target == state.id:
        _trace(state, "debug", "is already leader. Ignored transferring leadership to self")
        return
    _trace(state, "info", f"{term} starts to transfer leadership to {target:x}")
    # It should be done within an election time-out, after which the attempt is given up.
    state.election_elapsed = 0
    state.lead_transferee = target
    if peer.match == state.log.last_index:
        send_timeout_now(state, target)
        _trace(
            state,
            "info",
            f"sends MsgTimeoutNow to {target:x} immediately"
            f" as {target:x} already has up-to-date log",
        )
    else:
        send_append(state, peer)


def on_transfer_as_follower(state: State, message: TransferLeader) -> None:
    """Hand the request on to the leader."""
    if state.leader == NOBODY:
        _trace(state, "info", f"no leader at term {state.term}; dropping leader transfer msg")
        return
    state.send(evolve(message, to=state.leader, term=state.term))


def _trace(state: State, level: str, text: str) -> None:
    if state.trace is not None:
        state.trace(level, f"{state.id:x} {text}")
