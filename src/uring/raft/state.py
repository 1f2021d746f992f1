"""What one core knows, and the few changes that every topic makes to it.

The topics (election, replication, snapshots, membership, reads, ...) are functions over this state;
:mod:`uring.raft.dispatch` says which one a message is for.
"""

from __future__ import annotations

from typing import Protocol

from attrs import Factory, define

from uring.raft import invariants
from uring.raft.changer import Changer, Configuration, ProgressMap, restored
from uring.raft.local import Seal, Trace
from uring.raft.log import RaftLog
from uring.raft.messages import Message, ReadIndex
from uring.raft.progress import Progress
from uring.raft.readqueue import ReadQueue, ReadState
from uring.raft.settings import Settings
from uring.raft.storage import Storage
from uring.raft.types import NOBODY, ConfState, Entry, EntryKind, HardState, Role, SoftState


class Random(Protocol):
    """The one source of chance, handed in: a :class:`random.Random` or a stand-in."""

    def randrange(self, stop: int, /) -> int:
        """Return a number from 0 up to, and without, ``stop``."""


def plain_entry(term: int, index: int, kind: EntryKind, data: bytes) -> Entry:
    """Make an entry that has no encoded form."""
    return Entry(term, index, kind, data)


@define(eq=False)
class State:
    """Everything a core remembers between two calls.

    ``messages`` may leave at once, ``after_append`` only when all that was handed out to be
    written, and all that waits to be, is durable.  ``pending_conf_index`` is at or after the last
    membership change that is not applied; no other may be proposed before it is.  ``term_start``
    is the index of the leader's first entry of its term.  ``uncommitted_bytes`` is an estimate.
    """

    settings: Settings
    log: RaftLog
    random: Random
    seal: Seal
    trace: Trace | None

    id: int
    term: int = 0
    vote: int = NOBODY
    role: Role = Role.FOLLOWER
    leader: int = NOBODY

    config: Configuration = Factory(Configuration)
    conf_state: ConfState = Factory(ConfState)
    progress: ProgressMap = Factory(dict)
    peers: tuple[Progress, ...] = ()
    is_learner: bool = False
    votes: dict[int, bool] = Factory(dict)

    messages: list[Message] = Factory(list)
    after_append: list[Message] = Factory(list)
    read_states: list[ReadState] = Factory(list)
    reads: ReadQueue = Factory(ReadQueue)
    early_reads: list[ReadIndex] = Factory(list)

    lead_transferee: int = NOBODY
    pending_conf_index: int = 0
    term_start: int = 0
    uncommitted_bytes: int = 0

    election_elapsed: int = 0
    heartbeat_elapsed: int = 0
    randomized_timeout: int = 0

    @property
    def soft_state(self) -> SoftState:
        """The role and the leader known."""
        return SoftState(self.leader, self.role)

    @property
    def hard_state(self) -> HardState:
        """What has to be on disk."""
        return HardState(self.term, self.vote, self.log.committed)

    @property
    def is_promotable(self) -> bool:
        """True if this node may campaign: a voter, and no snapshot waits to be installed."""
        own = self.progress.get(self.id)
        return own is not None and not own.is_learner and self.log.snapshot is None

    def send(self, message: Message) -> None:
        """Let ``message`` leave at once."""
        self.messages.append(message)

    def send_after_append(self, message: Message) -> None:
        """Let ``message`` leave when what it speaks of is durable (thesis 3.8)."""
        self.after_append.append(message)

    def install(self, config: Configuration, progress: ProgressMap) -> ConfState:
        """Make ``config`` the present configuration; the caller sees to what follows from it."""
        self.config = config
        self.progress = progress
        own = progress.get(self.id)
        self.peers = tuple(progress[node] for node in sorted(progress) if node != self.id)
        self.is_learner = own is not None and own.is_learner
        if self.trace is not None:
            self.trace("info", f"{self.id:x} switched to configuration {config}")
        self.conf_state = config.conf_state()
        return self.conf_state

    def changer(self) -> Changer:
        """Return a changer that starts from the present configuration."""
        return Changer(
            self.config,
            self.progress,
            self.log.last_index,
            self.settings.max_inflight_messages,
            self.settings.max_inflight_bytes,
        )

    def restore_configuration(self, conf_state: ConfState) -> None:
        """Replace the configuration by one from disk or from a snapshot.

        Raises :exc:`ConfChangeError` if it describes none.
        """
        changer = self.changer()
        changer.config, changer.progress = Configuration(), {}
        self.install(*restored(changer, conf_state))

    def reset(self, term: int) -> None:
        """Forget what belongs to a role, and in a new term the vote as well."""
        if term < self.term:
            invariants.violated("figure 2", f"term would fall from {self.term} to {term}")
        if term != self.term:
            self.term = term
            self.vote = NOBODY
        self.leader = NOBODY
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        ticks = self.settings.election_ticks
        self.randomized_timeout = ticks + self.random.randrange(ticks)
        self.lead_transferee = NOBODY
        self.votes = {}
        last = self.log.last_index
        for each in self.progress.values():
            each.forget(last + 1, last if each.id == self.id else 0)
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.reads = ReadQueue()
        self.early_reads = []

    def committed_in_term(self) -> bool:
        """True if this leader has committed an entry of its own term.

        Before that, it does not know how far the log is committed (paper, section 8).
        """
        return self.log.committed >= self.term_start


def initial(
    settings: Settings, storage: Storage, random: Random, seal: Seal, trace: Trace | None
) -> State:
    """Return the state of a core that starts, or starts again, from ``storage``.

    Raises :exc:`InvariantViolation` if what storage says cannot be, :exc:`ConfChangeError` if its
    configuration cannot.
    """
    log = RaftLog(storage, settings.max_committed_bytes_per_ready, trace)
    state = State(settings, log, random, seal, trace, id=settings.node_id)
    hard_state, conf_state = storage.initial_state()
    state.restore_configuration(conf_state)
    state.term = hard_state.term
    state.vote = hard_state.vote
    # What was applied, or dropped from the log, was committed, even if a crash came before the
    # write that would have said so: with asynchronous writes nothing waits for that one.
    log.commit_to(max(hard_state.commit, settings.applied))
    if settings.applied:
        log.applied_to(settings.applied, 0)
    return state
