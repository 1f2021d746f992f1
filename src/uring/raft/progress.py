"""The leader's view of one follower: what it has, what it was sent, and how fast to send.

A follower is *probed* (one Append at a time) until it is known where the logs agree, then
*replicated* to (a window of Appends ahead of the answers), or it waits for a *snapshot*.
"""

from __future__ import annotations

import enum
from collections import deque

from attrs import Factory, define, frozen

from uring.raft.invariants import violated


class ProgressState(enum.Enum):
    """How the leader sends to a follower; the values are the names etcd prints."""

    PROBE = "StateProbe"
    REPLICATE = "StateReplicate"
    SNAPSHOT = "StateSnapshot"


@define(eq=False)
class Inflights:
    """The window of Appends sent and not yet answered, limited in messages and in bytes."""

    max_messages: int
    max_bytes: int
    bytes: int = 0
    _sent: deque[tuple[int, int]] = Factory(deque)

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def is_full(self) -> bool:
        """True when nothing more may be sent; the last message may overshoot the bytes."""
        return len(self._sent) >= self.max_messages or self.bytes >= self.max_bytes

    def add(self, last_index: int, size: int) -> None:
        """Note an Append whose last entry is ``last_index``, ``size`` bytes of data."""
        if self.is_full:
            violated("5.3", f"an Append up to {last_index} was sent past a full window")
        self._sent.append((last_index, size))
        self.bytes += size

    def free_to(self, index: int) -> None:
        """Forget every Append whose last entry is at or before ``index``."""
        sent = self._sent
        while sent and sent[0][0] <= index:
            self.bytes -= sent.popleft()[1]

    def clear(self) -> None:
        """Forget them all."""
        self._sent.clear()
        self.bytes = 0


@define(eq=False)
class Progress:
    """One follower (or the leader itself) as the leader sees it.

    ``match`` is the last index known to agree with the leader's log, ``next`` the first one not
    sent yet; invariant: ``match < next``.  ``sent_commit`` is the commit index it was last told.
    ``paused`` holds Appends back until an answer or a heartbeat's answer comes.
    ``pending_snapshot`` is the index of the snapshot it waits for.
    """

    id: int
    next: int
    inflights: Inflights
    match: int = 0
    state: ProgressState = ProgressState.PROBE
    pending_snapshot: int = 0
    recent_active: bool = False
    paused: bool = False
    is_learner: bool = False
    sent_commit: int = 0

    def copy(self) -> Progress:
        """Return a copy that shares only the window."""
        return Progress(
            self.id,
            self.next,
            self.inflights,
            self.match,
            self.state,
            self.pending_snapshot,
            self.recent_active,
            self.paused,
            self.is_learner,
            self.sent_commit,
        )

    def forget(self, next_index: int, match: int) -> None:
        """Start over, as at the beginning of a term."""
        self.reset_state(ProgressState.PROBE)
        self.match = match
        self.next = next_index
        self.recent_active = False
        self.sent_commit = 0

    def reset_state(self, state: ProgressState) -> None:
        """Go to ``state`` with nothing in flight."""
        self.paused = False
        self.pending_snapshot = 0
        self.state = state
        self.inflights.clear()

    def become_probe(self) -> None:
        """Probe after what matches, or after the snapshot that is known to have arrived."""
        # A snapshot that was sent successfully is where the next probe starts.
        after = self.pending_snapshot if self.state is ProgressState.SNAPSHOT else 0
        self.reset_state(ProgressState.PROBE)
        self.next = max(self.match, after) + 1
        self.sent_commit = min(self.sent_commit, self.next - 1)

    def become_replicate(self) -> None:
        """Send ahead of the answers, beginning after what matches."""
        self.reset_state(ProgressState.REPLICATE)
        self.next = self.match + 1

    def become_snapshot(self, index: int) -> None:
        """Wait for the snapshot of ``index`` to be installed."""
        self.reset_state(ProgressState.SNAPSHOT)
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    def sent_entries(self, count: int, size: int) -> None:
        """Note that ``count`` entries with ``size`` bytes of data were sent from ``next`` on."""
        if self.state is ProgressState.REPLICATE:
            if count:
                self.next += count
                self.inflights.add(self.next - 1, size)
            # A message into a full window is a probe: one is enough until somebody answers.
            self.paused = self.inflights.is_full
        elif count:
            self.paused = True

    def can_bump_commit(self, commit: int) -> bool:
        """True if telling ``commit`` could move the follower's commit index."""
        return self.sent_commit < commit and self.sent_commit < self.next - 1

    def maybe_update(self, index: int) -> bool:
        """Take an acknowledgement of ``index``; False if it says nothing new."""
        if index <= self.match:
            return False
        self.match = index
        self.paused = False
        if self.next <= index:
            self.next = index + 1
        return True

    def maybe_decrease(self, rejected: int, hint: int) -> bool:
        """Take the rejection of an Append that followed ``rejected``; False if it is stale."""
        if self.state is ProgressState.REPLICATE:
            if rejected <= self.match:
                return False
            self.next = self.match + 1
            self.sent_commit = min(self.sent_commit, self.next - 1)
            return True
        # While probing there is one Append under way, so only its own rejection counts.
        if self.next - 1 != rejected:
            return False
        self.next = max(min(rejected, hint + 1), self.match + 1)
        self.sent_commit = min(self.sent_commit, self.next - 1)
        self.paused = False
        return True

    @property
    def is_paused(self) -> bool:
        """True if no Append may be sent now."""
        return self.paused or self.state is ProgressState.SNAPSHOT

    def view(self) -> ProgressView:
        """Return what others may see."""
        return ProgressView(
            match=self.match,
            next=self.next,
            state=self.state,
            is_learner=self.is_learner,
            is_paused=self.is_paused,
            pending_snapshot=self.pending_snapshot,
            recent_active=self.recent_active,
            inflight_messages=len(self.inflights),
            inflight_bytes=self.inflights.bytes,
            is_full=self.inflights.is_full,
        )

    def __str__(self) -> str:
        return str(self.view())


@frozen(kw_only=True)
class ProgressView:
    """A progress at one moment; prints as etcd prints it."""

    match: int
    next: int
    state: ProgressState
    is_learner: bool
    is_paused: bool
    pending_snapshot: int
    recent_active: bool
    inflight_messages: int
    inflight_bytes: int
    is_full: bool

    def __str__(self) -> str:
        text = f"{self.state.value} match={self.match} next={self.next}"
        if self.is_learner:
            text += " learner"
        if self.is_paused:
            text += " paused"
        if self.pending_snapshot:
            text += f" pendingSnap={self.pending_snapshot}"
        if not self.recent_active:
            text += " inactive"
        if self.inflight_messages:
            text += f" inflight={self.inflight_messages}" + ("[full]" if self.is_full else "")
        return text
