"""One Raft node without a clock, a disk or a network: the whole surface of the core."""

from __future__ import annotations

from collections.abc import Sequence

from uring.raft import dispatch, election, invariants, membership, proposals, replication, snapshots
from uring.raft.local import (
    AnyMessage,
    LocalMessage,
    PeerNotFound,
    ProposalDropped,
    Seal,
    StepRefused,
    StorageAppendResponse,
    StorageApplyResponse,
    Trace,
)
from uring.raft.membership import encode_conf_change
from uring.raft.messages import Message, ReadIndex, TransferLeader
from uring.raft.ready import Ready, Status, StorageAppend, StorageApply
from uring.raft.settings import Settings
from uring.raft.state import Random, initial, plain_entry
from uring.raft.storage import Storage, entries_size
from uring.raft.types import (
    NOBODY,
    ConfChange,
    ConfState,
    Entry,
    EntryKind,
    HardState,
    Role,
    Snapshot,
    SoftState,
)

__all__ = ["ProposalDropped", "RawNode", "Ready", "Status", "StorageAppend", "StorageApply"]


class RawNode:
    """A core and the bookkeeping of what was handed out.  Not re-entrant.

    ``random`` is the only source of chance.  ``seal`` makes the entries of a leader and may encode
    them at once; ``log`` is called with a level and a sentence about what happens.

    Raises :exc:`InvariantViolation` from any method if safety is at stake: stop the node then.
    """

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        random: Random,
        *,
        seal: Seal | None = None,
        log: Trace | None = None,
    ) -> None:
        state = initial(settings, storage, random, seal or plain_entry, log)
        election.become_follower(state, state.term, NOBODY)
        self._state = state
        self._async = settings.async_storage_writes
        self._soft_state = state.soft_state
        self._hard_state = state.hard_state
        self._on_advance: list[AnyMessage] | None = None
        if log is not None:
            peers = ",".join(f"{voter:x}" for voter in sorted(state.config.voters))
            raft_log = state.log
            log(
                "info",
                f"newRaft {state.id:x} [peers: [{peers}], term: {state.term}, "
                f"commit: {raft_log.committed}, applied: {raft_log.applied}, "
                f"lastindex: {raft_log.last_index}, lastterm: {raft_log.last_term}]",
            )

    # Cheap facts

    @property
    def id(self) -> int:
        """Who this is."""
        return self._state.id

    @property
    def role(self) -> Role:
        """What this node is at the moment."""
        return self._state.role

    @property
    def is_leader(self) -> bool:
        """True while this node leads."""
        return self._state.role is Role.LEADER

    @property
    def leader_id(self) -> int:
        """The leader of the present term, or :data:`NOBODY`."""
        return self._state.leader

    @property
    def term(self) -> int:
        """The present term."""
        return self._state.term

    @property
    def commit(self) -> int:
        """The last index known to be committed."""
        return self._state.log.committed

    @property
    def applied(self) -> int:
        """The last index that the state machine has reported."""
        return self._state.log.applied

    @property
    def last_index(self) -> int:
        """The last index in the log, durable or not."""
        return self._state.log.last_index

    @property
    def conf_state(self) -> ConfState:
        """The configuration applied last."""
        return self._state.conf_state

    @property
    def conf_change_pending(self) -> bool:
        """True if a membership change proposed to this leader now would be refused as second."""
        return self._state.pending_conf_index > self._state.log.applied

    @property
    def installing_snapshot(self) -> bool:
        """True while a snapshot that the core accepted is not reported to be durable."""
        return self._state.log.snapshot is not None

    # Input

    def tick(self) -> None:
        """Let one tick pass."""
        dispatch.tick(self._state)

    def campaign(self) -> None:
        """Start an election now, unless this node leads or may not."""
        election.campaign_or_ask_first(self._state)

    def step(self, message: AnyMessage) -> StepRefused | None:
        """Take a message from a peer, or an answer of the local storage.

        Returns why it was not taken, if so: :class:`PeerNotFound` for the answer of a stranger,
        :class:`ProposalDropped` for a forwarded proposal that cannot be appended.  Nothing has
        changed then, and there is nothing that the caller must do.
        """
        if isinstance(message, dispatch.RESPONSES) and message.from_ not in self._state.progress:
            return PeerNotFound(f"{message.from_} is not a member")
        try:
            dispatch.step(self._state, message)
        except ProposalDropped as dropped:
            return dropped
        return None

    def propose(self, data: bytes) -> int:
        """Propose one entry; see :meth:`propose_many`."""
        return proposals.propose(self._state, ((EntryKind.NORMAL, data),))

    def propose_many(self, data: Sequence[bytes]) -> int:
        """Propose entries that stand together in the log: all of them, or none.

        Returns the index of the last one on the leader, and 0 where they were handed on to it.
        Raises :exc:`ProposalDropped` if there is no leader, leadership is being handed over, or too
        much is uncommitted.
        """
        return proposals.propose(self._state, [(EntryKind.NORMAL, each) for each in data])

    def propose_conf_change(
        self, change: ConfChange, kind: EntryKind = EntryKind.CONF_CHANGE_V2
    ) -> int:
        """Propose a membership change; returns and raises as :meth:`propose_many` does.

        A change that may not be made now (another one is under way, or the configuration is joint)
        takes its place in the log as an empty entry of kind NORMAL.
        """
        return proposals.propose(self._state, ((kind, encode_conf_change(change)),))

    def apply_conf_change(self, change: ConfChange) -> ConfState:
        """Switch to what ``change`` makes of the configuration; call it when applying the entry.

        Raises :exc:`ConfChangeError` if the configuration does not allow it: stop the node then.
        """
        return membership.apply_conf_change(self._state, change)

    def read_index(self, context: bytes) -> bool:
        """Ask from which index on a linearizable read may be answered.

        The answer is a :class:`ReadState` with this ``context`` in a later Ready, or none if the
        leader changes or a message is lost: ask again then.  False if no leader is known.
        """
        state = self._state
        if state.leader == NOBODY:
            return False
        dispatch.step(state, ReadIndex(to=state.id, from_=state.id, context=context))
        return True

    def transfer_leader(self, node: int) -> None:
        """Ask the leader, this node or another, to hand leadership to ``node``."""
        dispatch.step(self._state, TransferLeader(to=self._state.id, from_=node))

    def step_down(self) -> None:
        """As a leader: stop leading, without a successor; others campaign after their time-outs."""
        if self._state.role is Role.LEADER:
            election.become_follower(self._state, self._state.term, NOBODY)

    def forget_leader(self) -> None:
        """As a follower: take the leader for lost, without campaigning."""
        election.forget_leader(self._state)

    def report_unreachable(self, node: int) -> None:
        """Say that something sent to ``node`` was lost."""
        if self._state.role is Role.LEADER:
            replication.report_unreachable(self._state, node)

    def report_snapshot(self, node: int, ok: bool) -> None:
        """Say whether a snapshot arrived at ``node``; must be called after each one sent."""
        snapshots.report_snapshot(self._state, node, ok)

    # Output

    def has_ready(self) -> bool:
        """True if :meth:`ready` has something to hand out."""
        state = self._state
        log = state.log
        return bool(
            state.messages
            or state.after_append
            or log.has_unwritten
            or log.has_committed(not self._async)
            or state.read_states
            or self._hard_state_changed()
            or state.leader != self._soft_state.leader
            or state.role is not self._soft_state.role
            or log.unwritten_snapshot() is not None
        )

    def ready(self) -> Ready:
        """Hand out what there is to do; it is not handed out again.

        Without asynchronous writes each Ready must be followed by :meth:`advance` before the next.
        """
        if self._on_advance is not None:
            raise RuntimeError("the last Ready was not followed by advance()")
        state, log = self._state, self._state.log
        entries = log.unwritten()
        snapshot = log.unwritten_snapshot()
        committed = log.next_committed(not self._async)
        hard_state = self._changed_hard_state()
        append, apply, sent_after = self._storage_work(hard_state, entries, snapshot, committed)
        saved = self._hard_state
        ready = Ready(
            soft_state=self._changed_soft_state(),
            hard_state=hard_state,
            read_states=tuple(state.read_states),
            messages=(*state.messages, *sent_after),
            entries=entries,
            snapshot=snapshot,
            committed_entries=committed,
            must_sync=bool(entries) or state.term != saved.term or state.vote != saved.vote,
            append=append,
            apply=apply,
        )
        self._accept(ready)
        return ready

    def _storage_work(
        self,
        hard_state: HardState | None,
        entries: tuple[Entry, ...],
        snapshot: Snapshot | None,
        committed: tuple[Entry, ...],
    ) -> tuple[StorageAppend | None, StorageApply | None, list[Message]]:
        """Return what is to be written and applied, and what is sent when it is written.

        Without asynchronous writes the core tells itself the rest in :meth:`advance`.
        """
        state = self._state
        responses = state.after_append
        done: list[AnyMessage] = []
        if committed:
            done.append(StorageApplyResponse(to=state.id, entries=committed))
        attested = self._attested(snapshot)
        own: list[AnyMessage] = [] if attested is None else [attested]
        if not self._async:
            told = [each for each in responses if each.to == state.id]
            self._on_advance = [*told, *own, *done]
            return None, None, [each for each in responses if each.to != state.id]
        append = apply = None
        if entries or hard_state is not None or snapshot is not None or responses:
            append = StorageAppend(
                hard_state=hard_state,
                entries=entries,
                snapshot=snapshot,
                responses=(*responses, *own),
            )
        if committed:
            apply = StorageApply(entries=committed, responses=tuple(done))
        return append, apply, []

    def advance(self) -> None:
        """Say that the last Ready is written and applied (without asynchronous writes only)."""
        if self._async or self._on_advance is None:
            raise RuntimeError("there is no Ready to advance from")
        waiting, self._on_advance = self._on_advance, None
        for message in waiting:
            dispatch.step(self._state, message)

    def status(self) -> Status:
        """Return what this node knows about itself, and as a leader about the others."""
        state, log = self._state, self._state.log
        progress = state.progress if state.role is Role.LEADER else {}
        return Status(
            id=state.id,
            hard_state=state.hard_state,
            soft_state=state.soft_state,
            applied=log.applied,
            first_index=log.first_index,
            last_index=log.last_index,
            last_term=log.last_term,
            conf_state=state.conf_state,
            progress={node: progress[node].view() for node in sorted(progress)},
            lead_transferee=state.lead_transferee,
            pending_conf_index=state.pending_conf_index,
            uncommitted_bytes=state.uncommitted_bytes,
            election_elapsed=state.election_elapsed,
            heartbeat_elapsed=state.heartbeat_elapsed,
            randomized_election_timeout=state.randomized_timeout,
        )

    # What has changed

    def _hard_state_changed(self) -> bool:
        state, saved = self._state, self._hard_state
        return (
            state.log.committed != saved.commit
            or state.term != saved.term
            or state.vote != saved.vote
        )

    def _changed_hard_state(self) -> HardState | None:
        if not self._hard_state_changed():
            return None
        hard_state = self._state.hard_state
        invariants.check_hard_state(self._hard_state, hard_state)
        return hard_state

    def _changed_soft_state(self) -> SoftState | None:
        soft_state = self._state.soft_state
        return None if soft_state == self._soft_state else soft_state

    def _attested(self, snapshot: Snapshot | None) -> LocalMessage | None:
        """Return what the disk is to say when the writes up to this Ready are durable.

        The end of the log is attested whenever something in it is not known to be durable, even if
        this Ready holds no entry: the answer to the write of an entry is void after a change of
        term, so that a later write has to speak for it too.
        """
        state, log = self._state, self._state.log
        if not log.has_tail and snapshot is None:
            return None
        return StorageAppendResponse(
            to=state.id,
            term=state.term,
            index=log.last_index if log.has_tail else 0,
            log_term=log.last_term if log.has_tail else 0,
            snapshot=snapshot,
        )

    def _accept(self, ready: Ready) -> None:
        state, log = self._state, self._state.log
        if ready.soft_state is not None:
            self._soft_state = ready.soft_state
        if ready.hard_state is not None:
            self._hard_state = ready.hard_state
        state.read_states = []
        state.messages = []
        state.after_append = []
        log.accept_unwritten()
        committed: tuple[Entry, ...] = ready.committed_entries
        if committed:
            log.accept_applying(
                committed[-1].index, entries_size(committed), allow_unstable=not self._async
            )
