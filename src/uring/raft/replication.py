"""Log replication (paper, 5.3 and 5.4): append, acknowledge, advance the commit index."""

from __future__ import annotations

from collections.abc import Sequence

from uring.raft.local import ProposalDropped
from uring.raft.messages import Append, AppendResponse, HeartbeatResponse, TimeoutNow
from uring.raft.progress import Progress, ProgressState
from uring.raft.reads import on_read_confirmed, release_early_reads
from uring.raft.snapshots import maybe_send_snapshot
from uring.raft.state import State
from uring.raft.storage import Compacted, Unavailable, data_size
from uring.raft.types import Entry, EntryKind

Payload = tuple[EntryKind, bytes]
"""What an entry says, before it has a term and an index."""


# The leader's side


def append_entries(state: State, payloads: Sequence[Payload]) -> int:
    """Append ``payloads`` to the leader's own log and return the last index.

    Raises :exc:`ProposalDropped` if too much is uncommitted already.
    """
    log, term, seal = state.log, state.term, state.seal
    size = sum([len(data) for _, data in payloads])
    # Empty data is never refused (the first entry of a term, leaving a joint configuration), and
    # neither is a proposal of any size while nothing else is uncommitted.
    uncommitted = state.uncommitted_bytes
    if size and uncommitted and uncommitted + size > state.settings.max_uncommitted_bytes:
        if state.trace is not None:
            state.trace(
                "warn",
                f"{state.id:x} appending new entries to log would exceed uncommitted entry"
                " size limit; dropping proposal",
            )
        raise ProposalDropped("too much is uncommitted")
    state.uncommitted_bytes += size
    start = log.last_index + 1
    log.append(
        [seal(term, index, kind, data) for index, (kind, data) in enumerate(payloads, start)]
    )
    # The leader acknowledges to itself, like everybody else, when the entries are durable.
    state.send_after_append(
        AppendResponse(to=state.id, from_=state.id, term=term, index=log.last_index)
    )
    return log.last_index


def broadcast_append(state: State) -> None:
    """Send everybody what they lack, or an empty Append to tell the commit index."""
    for peer in state.peers:
        maybe_send_append(state, peer, True)


def send_append(state: State, peer: Progress) -> None:
    """Send one follower what it lacks, or an empty Append."""
    maybe_send_append(state, peer, True)


def maybe_send_append(state: State, peer: Progress, send_if_empty: bool) -> bool:
    """Send one Append (or a snapshot) if the follower may be sent one; True if it was."""
    if peer.is_paused:
        return False
    log = state.log
    prev_index = peer.next - 1
    if prev_index == log.last_index and not send_if_empty:
        return False
    entries: Sequence[Entry] = ()
    try:
        prev_term = log.term(prev_index)
        # Past a full window only empty Appends go out.  One of them will be answered even if all
        # that filled the window was lost, and the answer clears it.
        if peer.state is not ProgressState.REPLICATE or not peer.inflights.is_full:
            entries = log.entries_from(peer.next, state.settings.max_append_bytes)
    except (Compacted, Unavailable):
        return maybe_send_snapshot(state, peer)
    if not entries and not send_if_empty:
        return False
    committed = log.committed
    state.messages.append(
        Append(
            to=peer.id,
            from_=state.id,
            term=state.term,
            prev_index=prev_index,
            prev_term=prev_term,
            entries=tuple(entries),
            commit=committed,
        )
    )
    peer.sent_entries(len(entries), data_size(entries))
    peer.sent_commit = committed
    return True


def maybe_commit(state: State) -> bool:
    """Advance the commit index to what a majority has; True if it moved.

    Only entries of the leader's own term are committed by counting (paper, 5.4.2 and figure 8);
    earlier ones are committed with them.
    """
    log, config = state.log, state.config
    progress = state.progress
    index = config.committed_index({node: progress[node].match for node in config.voters})
    if index <= log.committed or index < state.term_start:
        return False
    log.commit_to(index)
    return True


def on_append_response(state: State, message: AppendResponse) -> None:
    """As a leader: a follower took an Append or refused it."""
    peer = state.progress.get(message.from_)
    if peer is None:
        if state.trace is not None:
            state.trace("debug", f"{state.id:x} no progress available for {message.from_:x}")
        return
    peer.recent_active = True
    if message.reject:
        _on_rejection(state, peer, message)
        return
    if peer.maybe_update(message.index):
        _on_acknowledgement(state, peer, message.index)
    elif peer.match == message.index and peer.state is ProgressState.PROBE:
        # Nothing new, but the probe found where the logs agree.
        _on_acknowledgement(state, peer, message.index)


def _on_acknowledgement(state: State, peer: Progress, index: int) -> None:
    if peer.state is ProgressState.REPLICATE:
        peer.inflights.free_to(index)
    elif peer.state is ProgressState.PROBE:
        peer.become_replicate()
    elif peer.match + 1 >= state.log.first_index:
        # Whatever snapshot it installed, from here on the log will do.
        if state.trace is not None:
            state.trace(
                "debug",
                f"{state.id:x} recovered from needing snapshot, resumed sending replication"
                f" messages to {peer.id:x} [{peer}]",
            )
        peer.become_probe()
        peer.become_replicate()
    is_other = peer.id != state.id
    if maybe_commit(state):
        release_early_reads(state)
        broadcast_append(state)
    elif is_other and peer.can_bump_commit(state.log.committed):
        send_append(state, peer)
    if is_other:
        # The window may have room for several messages now.
        while maybe_send_append(state, peer, False):
            pass
    if peer.id == state.lead_transferee and peer.match == state.log.last_index:
        if state.trace is not None:
            state.trace(
                "info",
                f"{state.id:x} sent MsgTimeoutNow to {peer.id:x} after received MsgAppResp",
            )
        send_timeout_now(state, peer.id)


def _on_rejection(state: State, peer: Progress, message: AppendResponse) -> None:
    """Find the next place to probe (paper, end of 5.3: at most one probe for each term).

    The follower's term at the hint bounds its terms before it: where this log has a later term,
    they cannot agree.
    """
    if state.trace is not None:
        state.trace(
            "debug",
            f"{state.id:x} received MsgAppResp(rejected, hint: (index {message.hint_index},"
            f" term {message.hint_term})) from {peer.id:x} for index {message.index}",
        )
    probe = message.hint_index
    if message.hint_term:
        probe, _ = state.log.find_conflict_by_term(probe, message.hint_term)
    if not peer.maybe_decrease(message.index, probe):
        return
    if state.trace is not None:
        state.trace("debug", f"{state.id:x} decreased progress of {peer.id:x} to [{peer}]")
    if peer.state is ProgressState.REPLICATE:
        peer.become_probe()
    send_append(state, peer)


def on_heartbeat_response(state: State, message: HeartbeatResponse) -> None:
    """As a leader: a follower is there; let replication to it go on, and confirm reads."""
    peer = state.progress.get(message.from_)
    if peer is None:
        if state.trace is not None:
            state.trace("debug", f"{state.id:x} no progress available for {message.from_:x}")
        return
    peer.recent_active = True
    peer.paused = False
    # Even past a full window an empty Append goes out, in case all that filled it was lost.
    if peer.match < state.log.last_index or peer.state is ProgressState.PROBE:
        send_append(state, peer)
    if message.context:
        on_read_confirmed(state, message)


def send_timeout_now(state: State, target: int) -> None:
    """Tell ``target`` to campaign at once (thesis 3.10)."""
    state.send(TimeoutNow(to=target, from_=state.id, term=state.term))


def report_unreachable(state: State, node: int) -> None:
    """As a leader: the transport lost something it was to send; what was in flight may be gone."""
    peer = state.progress.get(node)
    if peer is None:
        return
    if peer.state is ProgressState.REPLICATE:
        peer.become_probe()
    if state.trace is not None:
        state.trace(
            "debug",
            f"{state.id:x} failed to send message to {node:x} because it is unreachable [{peer}]",
        )


# The follower's side


def on_append(state: State, message: Append) -> None:
    """As a follower: append what the leader sent, or say where the logs may agree."""
    log = state.log
    if message.prev_index < log.committed:
        # Old news: everything up to the commit index matches already.
        _acknowledge(state, message.from_, log.committed)
        return
    matched = log.maybe_append(
        message.prev_index, message.prev_term, message.entries, message.commit
    )
    if matched is not None:
        _acknowledge(state, message.from_, matched)
        return
    if state.trace is not None:
        try:
            ours = log.term(message.prev_index)
        except (Compacted, Unavailable):
            ours = 0
        state.trace(
            "debug",
            f"{state.id:x} [logterm: {ours}, index: {message.prev_index}] rejected MsgApp"
            f" [logterm: {message.prev_term}, index: {message.prev_index}]"
            f" from {message.from_:x}",
        )
    hint_index, hint_term = log.find_conflict_by_term(
        min(message.prev_index, log.last_index), message.prev_term
    )
    state.send_after_append(
        AppendResponse(
            to=message.from_,
            from_=state.id,
            term=state.term,
            index=message.prev_index,
            reject=True,
            hint_index=hint_index,
            hint_term=hint_term,
        )
    )


def _acknowledge(state: State, leader: int, index: int) -> None:
    state.send_after_append(AppendResponse(to=leader, from_=state.id, term=state.term, index=index))
