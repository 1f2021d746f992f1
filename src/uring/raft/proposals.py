"""Proposals: checked, then appended by the leader or handed on to it."""

from __future__ import annotations

from collections.abc import Sequence

from uring.raft.local import ProposalDropped
from uring.raft.membership import decode_conf_change
from uring.raft.messages import Propose
from uring.raft.replication import Payload, append_entries, broadcast_append
from uring.raft.state import State
from uring.raft.types import NOBODY, ConfChange, Entry, EntryKind, Role


def propose(state: State, payloads: Sequence[Payload]) -> int:
    """Append as a leader and return the last index, or hand on as a follower and return 0.

    Raises :exc:`ProposalDropped`; then none of them is in any log.
    """
    if state.role is Role.LEADER:
        return propose_as_leader(state, payloads)
    leader = _leader_to_ask(state)
    entries = tuple(Entry(0, 0, kind, data) for kind, data in payloads)
    state.send(Propose(to=leader, from_=state.id, entries=entries))
    return 0


def on_propose(state: State, message: Propose) -> None:
    """Take what another node handed on.  Raises :exc:`ProposalDropped`."""
    if state.role is Role.LEADER:
        propose_as_leader(state, [(entry.kind, entry.data) for entry in message.entries])
        return
    leader = _leader_to_ask(state)
    state.send(Propose(to=leader, from_=message.from_, entries=message.entries))


def _leader_to_ask(state: State) -> int:
    leader = state.leader
    if state.role is not Role.FOLLOWER or leader == NOBODY:
        why = f"no leader at term {state.term}"
    elif state.settings.disable_proposal_forwarding:
        why = f"not forwarding to leader {leader:x} at term {state.term}"
    else:
        return leader
    if state.trace is not None:
        state.trace("info", f"{state.id:x} {why}; dropping proposal")
    raise ProposalDropped(why)


def propose_as_leader(state: State, payloads: Sequence[Payload]) -> int:
    """Append, replicate, and return the last index.  Raises :exc:`ProposalDropped`."""
    if not payloads:
        raise ProposalDropped("nothing was proposed")
    if state.id not in state.progress:
        raise ProposalDropped("this leader is no longer a member")
    if state.lead_transferee != NOBODY:
        if state.trace is not None:
            state.trace(
                "debug",
                f"{state.id:x} [term {state.term}] transfer leadership to"
                f" {state.lead_transferee:x} is in progress; dropping proposal",
            )
        raise ProposalDropped(f"leadership goes to {state.lead_transferee}")
    pending = state.pending_conf_index
    if any(kind is not EntryKind.NORMAL for kind, _ in payloads):
        payloads, pending = _vetted(state, payloads)
    last = append_entries(state, payloads)
    state.pending_conf_index = pending
    broadcast_append(state)
    return last


def _vetted(state: State, payloads: Sequence[Payload]) -> tuple[list[Payload], int]:
    """Replace each membership change that may not be proposed now by an empty entry.

    Also returns where the last one will stand.
    """
    checked: list[Payload] = []
    pending = state.pending_conf_index
    for index, (kind, data) in enumerate(payloads, state.log.last_index + 1):
        if kind is not EntryKind.NORMAL:
            try:
                change = decode_conf_change(data)
            except ValueError as error:
                raise ProposalDropped(str(error)) from error
            why = _why_not(state, change, pending)
            if why and not state.settings.disable_conf_change_validation:
                if state.trace is not None:
                    state.trace(
                        "info",
                        f"{state.id:x} ignoring conf change {change}"
                        f" at config {state.config}: {why}",
                    )
                kind, data = EntryKind.NORMAL, b""
            else:
                pending = index
        checked.append((kind, data))
    return checked, pending


def _why_not(state: State, change: ConfChange, pending: int) -> str:
    """Say why ``change`` may not be proposed, or nothing.

    At most one change is under way (thesis 4.1): the majorities of two need not overlap.
    """
    applied = state.log.applied
    if pending > applied:
        return f"possible unapplied conf change at index {pending} (applied to {applied})"
    wants_leave = not change.changes
    if state.config.is_joint and not wants_leave:
        return "must transition out of joint config first"
    if not state.config.is_joint and wants_leave:
        return "not in joint state; refusing empty conf change"
    return ""
