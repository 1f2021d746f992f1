"""Snapshots: for a follower that is too far behind, and installing one (paper, section 7)."""

from __future__ import annotations

from uring.raft import invariants
from uring.raft.messages import AppendResponse, InstallSnapshot
from uring.raft.progress import Progress, ProgressState
from uring.raft.state import State
from uring.raft.storage import SnapshotTemporarilyUnavailable
from uring.raft.types import Role, Snapshot


def maybe_send_snapshot(state: State, peer: Progress) -> bool:
    """As a leader: send the newest snapshot, if there is one and the follower is there."""
    if not peer.recent_active:
        if state.trace is not None:
            state.trace(
                "debug",
                f"ignore sending snapshot to {peer.id:x} since it is not recently active",
            )
        return False
    try:
        snapshot = state.log.newest_snapshot()
    except SnapshotTemporarilyUnavailable:
        if state.trace is not None:
            state.trace(
                "debug",
                f"{state.id:x} failed to send snapshot to {peer.id:x} because snapshot"
                " is temporarily unavailable",
            )
        return False
    meta = snapshot.meta
    if snapshot.is_empty:
        invariants.violated("7", f"entries that {peer.id} needs are gone without a snapshot")
    if state.trace is not None:
        state.trace(
            "debug",
            f"{state.id:x} [firstindex: {state.log.first_index}, commit: {state.log.committed}] "
            f"sent snapshot[index: {meta.index}, term: {meta.term}] to {peer.id:x} [{peer}]",
        )
    peer.become_snapshot(meta.index)
    if state.trace is not None:
        state.trace(
            "debug",
            f"{state.id:x} paused sending replication messages to {peer.id:x} [{peer}]",
        )
    state.send(InstallSnapshot(to=peer.id, from_=state.id, term=state.term, snapshot=snapshot))
    return True


def report_snapshot(state: State, node: int, ok: bool) -> None:
    """As a leader: the transport says whether the follower got its snapshot."""
    peer = state.progress.get(node)
    if state.role is not Role.LEADER or peer is None or peer.state is not ProgressState.SNAPSHOT:
        return
    if not ok:
        # Else the next probe would start after a snapshot that was never installed.
        peer.pending_snapshot = 0
    peer.become_probe()
    if state.trace is not None:
        state.trace(
            "debug",
            f"{state.id:x} snapshot {'succeeded' if ok else 'failed'}, resumed sending"
            f" replication messages to {node:x} [{peer}]",
        )
    # After a success wait for its answer, after a failure for the next heartbeat's.
    peer.paused = True


def on_install_snapshot(state: State, message: InstallSnapshot) -> None:
    """As a follower: restore ``message.snapshot`` if it is news, and answer how far we are."""
    snapshot = message.snapshot
    restored = _restore(state, snapshot)
    index = state.log.last_index if restored else state.log.committed
    if state.trace is not None:
        state.trace(
            "info",
            f"{state.id:x} [commit: {state.log.committed}] "
            f"{'restored' if restored else 'ignored'} snapshot "
            f"[index: {snapshot.meta.index}, term: {snapshot.meta.term}]",
        )
    state.send_after_append(
        AppendResponse(to=message.from_, from_=state.id, term=state.term, index=index)
    )


def _restore(state: State, snapshot: Snapshot) -> bool:
    """Put the log and the configuration to ``snapshot``; False if it is of no use."""
    meta, log = snapshot.meta, state.log
    if meta.index <= log.committed:
        return False
    members = meta.conf_state
    if state.id not in (*members.voters, *members.learners, *members.voters_outgoing):
        if state.trace is not None:
            state.trace(
                "warn",
                f"{state.id:x} attempted to restore snapshot but it is not in the ConfState"
                f" {members}; should never happen",
            )
        return False
    if log.matches(meta.index, meta.term):
        # Our log has all of it (figure 13, rule 6): only the commit index is news.
        _trace_position(state, "fast-forwarded commit to", snapshot)
        log.commit_to(meta.index)
        return False
    log.restore(snapshot)
    state.restore_configuration(members)
    _trace_position(state, "restored", snapshot)
    return True


def _trace_position(state: State, what: str, snapshot: Snapshot) -> None:
    if state.trace is not None:
        log, meta = state.log, snapshot.meta
        state.trace(
            "info",
            f"{state.id:x} [commit: {log.committed}, lastindex: {log.last_index}, "
            f"lastterm: {log.last_term}] {what} snapshot "
            f"[index: {meta.index}, term: {meta.term}]",
        )
