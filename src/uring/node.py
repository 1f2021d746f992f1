"""The pump: sole owner of Raft.  It gives the core time, disk and network, in one order.

Everything that arrives in one reactor turn is stepped first; then what the core wants done is
taken at once: one batch to the disk thread, one frame for each peer, one batch applied to the
machines, the replies.  Nothing waits between reading the core's state and acting on it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, cast

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from uring import backup, status
from uring.access import Access
from uring.api.gateway import Done
from uring.applying import Applying
from uring.compaction import Compaction
from uring.diskprobe import DiskProbe
from uring.errors import Overloaded, Unavailable
from uring.lengthy import Answers
from uring.lessor import Lessor
from uring.machines import leases, tokens
from uring.machines.commands import Command, Query
from uring.machines.table import Machines
from uring.measures import Measures
from uring.members import Administration, Member
from uring.nodesettings import NodeSettings
from uring.notices import CommitNotices
from uring.periodic import PeriodicBackups
from uring.proposals import Proposals
from uring.raft.core import RawNode
from uring.raft.local import ProposalDropped
from uring.raft.messages import InstallSnapshot, Message
from uring.raft.ready import StorageAppend
from uring.raft.types import Entry, HardState, Role
from uring.reads import LinearizableReads
from uring.reports import Reports
from uring.space import DiskSpace
from uring.timeline import Timeline
from uring.together import DoneAll, one_by_one
from uring.transfers import Transfers
from uring.upgrades import ProgramTooOld, Upgrades
from uring.watch import Hub, Sink, Subscription, Watch
from uring.watch.history import History
from uring.wire.envelopes import (
    AdminReply,
    AdminRequest,
    Announce,
    Envelope,
    Forward,
    ForwardRefused,
    Report,
    SnapshotAck,
    SnapshotChunk,
    SpaceReport,
)

PeerMessage = Message | Envelope

LOG_FAILED = "the log could not be written"

ALONE_BYTES = 4096
"""Entries of at most so many bytes may be synced in the reactor thread: some commands of some
clients.  Where more of them gather, it has better things to do than to wait for the disk."""

TURN_SECONDS = 0.02
"""After so long a turn lets the reactor look after everything else."""


@define
class Node:
    """One member of the cluster, or one that waits to be added.  Fulfils api.gateway.Gateway."""

    settings: NodeSettings
    clock: IReactorTime
    raft: RawNode
    directory: Any
    """The open data directory: ``identity``, ``log``, ``state``."""
    disk: Any
    """Writes the log: runs jobs in order in a thread; ``submit(job, done)``, ``busy_since()``."""
    background: Any
    """Another such thread, for long reads and writes that nobody's durability waits for."""
    reader: Any
    """Another one, that reads the history for those who watch."""
    mesh: Any
    machines: Machines
    fail_stop: Callable[[str], None]
    chance: Callable[[], float] = random.random
    facts: Callable[[], dict[str, float]] = dict
    """What only the surroundings know of this node; see :class:`uring.reports.Reports`."""
    measures: Measures = field(factory=Measures)
    access: Access = field(factory=Access)
    backups: list[backup.Backup] = field(factory=list, init=False)
    """Those under way."""
    periodic: PeriodicBackups | None = field(default=None, init=False)
    """Who takes them from time to time, if anybody does."""
    free_bytes: Callable[[], int] | None = None
    """Measures what is free on the disk, in a thread; None where nothing is watched."""
    probe: DiskProbe | None = None
    """Measures the disk when somebody asks."""
    log: Logger = field(factory=lambda: Logger(namespace="uring.node"))

    proposals: Proposals = field(init=False)
    reads: LinearizableReads = field(init=False)
    administration: Administration = field(init=False)
    upgrades: Upgrades = field(init=False)
    transfers: Transfers = field(init=False)
    hub: Hub = field(init=False)
    lessor: Lessor = field(init=False)
    reports: Reports = field(init=False)
    timeline: Timeline = field(init=False)
    space: DiskSpace = field(init=False)
    notices: CommitNotices = field(init=False)
    compaction: Compaction = field(init=False)
    applying: Applying = field(init=False)
    answers: Answers = field(init=False)
    _turn_call: IDelayedCall | None = field(default=None, init=False)
    _tick_call: IDelayedCall | None = field(default=None, init=False)
    _campaign_call: IDelayedCall | None = field(default=None, init=False)
    _lost_leader: int = field(default=0, init=False)
    """The last leader, if its process has ended and there is no other yet."""
    _last_tick: float = field(default=0.0, init=False)
    _appends: list[StorageAppend] = field(factory=list, init=False)
    _late_state: HardState | None = field(default=None, init=False)
    """A commit index that is written with whatever is written next."""
    _writing: bool = field(default=False, init=False)
    installing: bool = field(default=False, init=False)
    """A snapshot is taking the place of the state."""
    _postponed: bool = field(default=False, init=False)
    """Batches wait because leadership was being handed over."""
    _running: bool = field(default=False, init=False)
    _leader: int = field(default=0, init=False)
    _role: str = field(default="Follower", init=False)
    _faults: dict[str, str] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        settings, identity = self.settings, self.directory.identity
        self.proposals = Proposals(
            node_id=settings.node_id,
            incarnation=identity.life,
            seconds=self.clock.seconds,
            timeout=settings.request_timeout,
            limit_commands=settings.waiting_commands,
            limit_bytes=settings.waiting_bytes,
        )
        self.reads = LinearizableReads(
            incarnation=identity.life,
            timeout=settings.request_timeout,
            limit=settings.waiting_commands,
            retry=settings.election / 2,
        )
        self.access.replace(tokens.every(self.directory.state))
        self.administration = Administration(self)
        self.upgrades = Upgrades(self)
        self.transfers = Transfers(self)
        self.hub = Hub(
            clock=self.clock,
            history=self._open_history(),
            submit=self.reader.submit,
            open_view=self._view,
            has_leader=self._hears_leader,
            guarded=self._guarded,
        )
        self.lessor = Lessor(
            read=lambda after, count: leases.every(self.directory.state, after, count),
            submit=self.submit,
            step=2 * settings.tick,
        )
        self.space = DiskSpace(
            free=self.free_bytes,
            reserve=settings.disk_reserve,
            thread=self._measure,
            changed=self._space_changed,
        )
        self.notices = CommitNotices(self.clock, self._send_to, self._guarded)
        self.reports = Reports(self, self.facts)
        self.timeline = Timeline(settings.node_id, self.clock.seconds())
        self.compaction = Compaction(self)
        self.applying = Applying(self)
        self.answers = Answers(self.machines, self.directory.state, self.reader.submit)

    def _view(self) -> Any:
        """Return the state as it is; None while it is replaced, or once its store has failed."""
        if self.installing or self.directory.failed:
            return None
        return self.directory.state.view()

    def _hears_leader(self) -> bool:
        """Tell whether this node is up to date, as far as it can know.

        Who was removed, or is a learner, never campaigns, and would remember its last leader for
        ever.
        """
        heard = self.raft.status().election_elapsed * self.settings.tick
        return self.raft.is_leader or (bool(self.raft.leader_id) and heard < self.settings.election)

    def _open_history(self) -> History:
        store, state = self.directory.history, self.directory.state
        store.entries_max = self.settings.history_entries
        store.bytes_max = self.settings.history_bytes
        store.open(self.machines.revision(state), state.applied_index)
        return History(store)

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to tick and to talk.  The only voter of a cluster campaigns at once."""
        self._guarded(self._start)

    def _start(self) -> None:
        self._running = True
        self._last_tick = self.clock.seconds()
        self.mesh.set_members(self.addresses())
        self._turn()
        if self.raft.conf_state.voters == (self.id,) and not self.raft.is_leader:
            self.raft.campaign()
        self._tick_call = self.clock.callLater(self.settings.tick, self._guarded, self._tick)
        self.wake()

    def stop(self) -> None:
        """Answer what waits and stop.  The caller closes mesh, disk and directory afterwards."""
        self._running = False
        for call in (self._turn_call, self._tick_call, self._campaign_call):
            if call is not None and call.active():
                call.cancel()
        self._turn_call = self._tick_call = self._campaign_call = None
        self.notices.stop()
        self.proposals.fail_all("the node is stopping")
        self.reads.fail_all("the node is stopping")
        self.administration.fail_all()
        self.hub.stop()

    def rest(self) -> None:
        """Give memory back; to be called when a load has ended."""
        if self._running and not self.directory.failed:
            self._guarded(self.compaction.rest)

    def hand_over(self) -> Deferred[None]:
        """Before stopping: if this node leads, let the best follower take over (thesis 3.10)."""
        if not self._running:
            # It has failed: an attempt that can come to nothing would keep the others waiting.
            return succeed(None)
        successor = self.administration.successor()
        if not self.raft.is_leader or not successor:
            return succeed(None)
        return self.administration.transfer(successor)

    @property
    def id(self) -> int:
        """Who this is."""
        return self.settings.node_id

    def wake(self) -> None:
        """Ask for a turn at the end of this reactor iteration; one is enough for all."""
        if self._turn_call is None and self._running:
            self._turn_call = self.clock.callLater(0, self._guarded, self._turn)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run ``work``; an exception means that this node's state can no longer be trusted."""
        try:
            work()
        except ProgramTooOld as problem:
            self._running = False
            self.fail_stop(str(problem))
        except Exception as error:
            self.log.failure("the node cannot go on")
            self._running = False
            self.fail_stop(f"{type(error).__name__}: {error}")

    # -- what comes in ---------------------------------------------------------------------------

    def submit(self, command: Command, done: Done) -> None:
        """See Gateway."""
        if not self._running:
            done(Unavailable("the node is stopping"))
        elif not self.raft.leader_id:
            done(Unavailable(self._no_leader()))
        elif self.space.is_low and (full := self.space.refusal(command, self.raft.leader_id)):
            done(full)
        elif self.upgrades.is_behind and (early := self.upgrades.refusal(command)):
            done(early)
        else:
            self.proposals.add(command, done)
            self.wake()

    def submit_all(self, commands: Sequence[Command], done: DoneAll) -> None:
        """See Gateway."""
        if not self._running or not self.raft.leader_id or self.space.is_low:
            one_by_one(self.submit, commands, done)  # which says why not, of each
        else:
            self.proposals.add_all(commands, done)
            self.wake()

    def query(self, query: Query, done: Callable[[Any], None], stale: bool = False) -> None:
        """See Gateway."""
        if self.installing:
            done(Unavailable("a snapshot is being installed; try again"))
        elif stale:
            self.answers.give((query,), lambda found: done(found[0]))
        elif not self._running:
            done(Unavailable("the node is stopping"))
        elif not self.raft.leader_id:
            done(Unavailable(self._no_leader()))
        else:
            self.reads.add(query, done, self.clock.seconds())
            self.wake()

    def query_all(self, queries: Sequence[Query], done: DoneAll) -> None:
        """See Gateway."""
        if self.installing or not self._running or not self.raft.leader_id:
            one_by_one(self.query, queries, done)
        else:
            self.reads.add_all(queries, done, self.clock.seconds())
            self.wake()

    def _no_leader(self) -> str:
        if not self.raft.conf_state.voters:
            return (
                f"node {self.id} is not a member of a cluster; "
                f"POST /node/{self.id} to a member, or start it with --bootstrap"
            )
        return "no leader at the moment; try again"

    def receive(self, from_: int, messages: Sequence[PeerMessage]) -> None:
        """Take the messages of one frame of node ``from_``."""
        if self._running:
            self._guarded(lambda: self._receive(from_, messages))
            # A frame is what its sender gathered; waiting for more would only cost time.
            self._guarded(self._turn)

    def _receive(self, from_: int, messages: Sequence[PeerMessage]) -> None:
        for message in messages:
            handler = self._HANDLERS.get(type(message))
            if handler not in self._NEWS and not self._is_of_a_cluster(from_):
                return
            if handler is None:
                self.raft.step(cast(Message, message))
            else:
                handler(self, message)

    def _is_of_a_cluster(self, peer: int) -> bool:
        return bool(self.directory.identity.cluster_id) or self._join_cluster(peer)

    def _join_cluster(self, peer: int) -> bool:
        """Belong to the cluster of the first member that treats this node as one, for good."""
        cluster = self.administration.clusters.get(peer, b"")
        if not cluster:
            # It had none itself when it said hello; by now it has.
            self.mesh.renew(peer)
            return False
        self.directory.set_cluster_id(cluster)
        self.log.info("joined cluster {cluster}", cluster=cluster.hex())
        return True

    def _forwarded(self, message: Forward) -> None:
        """A peer believes that this node leads: propose its batch, or say who does."""
        try:
            if not self.raft.is_leader:
                raise ProposalDropped("not the leader")
            self.notices.awaited(message.from_, self.raft.propose(message.batch))
        except ProposalDropped as dropped:
            refusal = ForwardRefused(
                to=message.from_,
                from_=self.id,
                sequence=message.sequence,
                overloaded=self.raft.is_leader,
                reason=str(dropped),
            )
            self.mesh.send(message.from_, [refusal])

    def _forward_refused(self, message: ForwardRefused) -> None:
        """Nothing was done there.  Without a leader the batch waits for the next one."""
        if message.overloaded:
            self.proposals.refuse(message.sequence, Overloaded(message.reason))

    def _admin_request(self, message: AdminRequest) -> None:
        self.administration.requested(message)

    def _admin_reply(self, message: AdminReply) -> None:
        self.administration.replied(message)

    def _announced(self, message: Announce) -> None:
        self.administration.announced(message)

    def _reported(self, message: Report) -> None:
        self.reports.received(message)

    def _snapshot_chunk(self, message: SnapshotChunk) -> None:
        self.transfers.chunk(message)

    def _snapshot_ack(self, message: SnapshotAck) -> None:
        self.transfers.acknowledged(message)

    def _space_report(self, message: SpaceReport) -> None:
        self.space.heard(message.from_, message.is_low)

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], None]]] = {
        Forward: _forwarded,
        ForwardRefused: _forward_refused,
        AdminRequest: _admin_request,
        AdminReply: _admin_reply,
        Announce: _announced,
        Report: _reported,
        SnapshotChunk: _snapshot_chunk,
        SnapshotAck: _snapshot_ack,
        SpaceReport: _space_report,
    }
    _NEWS = frozenset((_reported, _space_report))
    """What members tell everybody whom they are connected with, also those whom nobody added."""

    def peer_up(self, peer: int) -> None:
        """A connection to ``peer`` can be written to: what it may have missed is sent again."""
        if self.space.own:
            self._report_space([peer])
        if peer == self.raft.leader_id:
            self._send_unresolved()
            self.reads.ask_again()
            self.wake()

    def peer_down(self, peer: int) -> None:
        """The connection to ``peer`` is gone, and what was on its way may be."""
        if self._running:
            self.raft.report_unreachable(peer)
            self.transfers.peer_down(peer)
            self.space.heard(peer, False)
            self.wake()

    def peer_refused(self, peer: int) -> None:
        """Nobody listens at ``peer``'s address.  If it led, its successor need not wait long.

        The others see the same within some milliseconds, so a short random delay keeps most of them
        from campaigning at once.  Where only this node is wrong, the others, who hear the leader,
        refuse the pre-vote, and nothing changes (thesis 9.6).  Reported again at every attempt to
        connect, so what fails is tried again.
        """
        if not self._running or not self.settings.lost_leader:
            return
        if peer == self.raft.leader_id:
            self.log.info("the process of leader {leader} has ended", leader=peer)
            self._lost_leader = peer
            self.raft.forget_leader()
            self.wake()
        if peer == self._lost_leader and self._campaign_call is None:
            delay = self.settings.lost_leader * (0.25 + self.chance())
            self._campaign_call = self.clock.callLater(delay, self._guarded, self._succeed_leader)

    def _succeed_leader(self) -> None:
        self._campaign_call = None
        if not self.raft.leader_id and self._lost_leader and "disk" not in self._faults:
            self.raft.campaign()
            self.wake()

    # -- time ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        # A list or a backup that a client asks for writes what gathered; what fails there is told
        # to that client alone.
        self.directory.log.health.check()
        settings, now = self.settings, self.clock.seconds()
        gap, self._last_tick = now - self._last_tick, now
        delay = max(0.0, gap - settings.tick)
        self.measures.reactor_delay.observe(delay)
        self.measures.longest_delay.observe(delay, now)
        if gap > settings.election / 2:
            self.log.warn("the process stood still for {gap:.2f} s", gap=gap)
        self._tick_call = self.clock.callLater(settings.tick, self._guarded, self._tick)
        if not self._disk_stalled(now):
            self.raft.tick()
        self.proposals.sweep()
        self.reads.sweep(now)
        self.administration.drive()
        self.transfers.sweep(now)
        self.space.check(now)
        self.hub.sweep()
        self.lessor.tick(self.raft.is_leader and not self.installing, gap)
        self.reports.sweep(now)
        backup.sweep(self, now)
        if not self.raft.is_leader:
            self._send_unresolved(older_than=settings.election)
        elif self._postponed and not self.raft.status().lead_transferee:
            self._postponed = False
            self._send_unresolved()
        self.wake()

    def _disk_stalled(self, now: float) -> bool:
        """While a write hangs, a leader cannot keep its word and a follower cannot give one.

        So a leader steps down after an election time-out, and a follower does not campaign.
        """
        since = self.disk.busy_since()
        stalled: bool = since is not None and now - since > self.settings.election
        if not stalled:
            if self._faults.pop("disk", None):
                self.log.warn("the disk answers again")
            return False
        if "disk" not in self._faults:
            self._faults["disk"] = (
                "a write to the disk has not finished within an election time-out"
            )
            self.log.error("disk stalled: {reason}", reason=self._faults["disk"])
        if self.raft.is_leader:
            self.raft.step_down()
            self.log.error("leadership given up: the disk does not answer")
        return True

    def _measure(self, free: Callable[[], int], done: Callable[[Any], None]) -> None:
        self.background.submit(free, lambda found: self._guarded(lambda: done(found)))

    def _space_changed(self, is_low: bool) -> None:
        if is_low:
            self._faults["space"] = "the disk has less than its reserve left: no new data is taken"
        else:
            self._faults.pop("space", None)
        self._report_space(self.mesh.connected())

    def _report_space(self, peers: Iterable[int]) -> None:
        for peer in peers:
            self.mesh.send(peer, [SpaceReport(to=peer, from_=self.id, is_low=self.space.own)])

    # -- the turn --------------------------------------------------------------------------------

    def _turn(self) -> None:
        if not self._running:
            return
        call, self._turn_call = self._turn_call, None
        if call is not None and call.active():
            call.cancel()
        more, began = True, self.clock.seconds()
        while more and self._running:
            # What comes while a leader's disk is writing makes one entry afterwards: entries that
            # wait for that disk one by one cost a message to each follower and an answer each.
            if not (self._writing and self.raft.is_leader):
                self._propose_gathered()
            self._ask_read_index()
            self._take_ready()
            # Others wait for what is written here, and the disk works while this thread applies.
            more = self._write()
            more = self.applying.drive() or more
            if more and self.clock.seconds() - began > TURN_SECONDS:
                self.wake()  # what is left, a log to apply after a restart, waits for the next turn
                break
        if not self.installing:
            for read in self.reads.ready(self.directory.state.applied_index):
                self.answers.give(read.queries, read.done)

    def _take_ready(self) -> None:
        while self.raft.has_ready():
            ready = self.raft.ready()
            if ready.soft_state is not None:
                self._leadership_changed()
            self._send(ready.messages)
            for state in ready.read_states:
                self.reads.confirm(state.context, state.index)
            if ready.append is not None:
                self._appends.append(ready.append)
            if ready.apply is not None:
                self.applying.add(ready.apply)

    def _propose_gathered(self) -> None:
        while (taken := self.proposals.take()) is not None:
            self._propose(*taken)

    def _propose(self, sequence: int, batch: bytes) -> None:
        leader = self.raft.leader_id
        if self.raft.is_leader:
            try:
                self.raft.propose(batch)
            except ProposalDropped as dropped:
                if self.raft.status().lead_transferee:
                    self._postponed = True  # for the next leader, or for this one if it stays
                else:
                    self.proposals.refuse(sequence, Overloaded(str(dropped)))
        elif leader:
            forward = Forward(to=leader, from_=self.id, sequence=sequence, batch=batch)
            self.mesh.send(leader, [forward])
        # Without a leader the batch stays unresolved, and goes to the next one.

    def _send_unresolved(self, older_than: float = 0.0) -> None:
        """Propose again, under the same sequence, what has no answer: it applies only once."""
        if self._running and self.raft.leader_id:
            for sequence, batch in self.proposals.unresolved(older_than):
                self._propose(sequence, batch)

    def _ask_read_index(self) -> None:
        if self.raft.leader_id:
            context = self.reads.next_context(self.clock.seconds())
            if context is not None:
                self.raft.read_index(context)

    def _send(self, messages: Iterable[Message]) -> None:
        if not messages:
            return
        plain: list[Message] = []
        for message in messages:
            if type(message) is InstallSnapshot:
                self.transfers.send(message)
            else:
                plain.append(message)
        for to, batch in self.notices.outgoing(plain).items():
            self._send_to(to, batch)

    def _send_to(self, to: int, batch: list[Message]) -> None:
        if not self.mesh.send(to, batch):
            self.raft.report_unreachable(to)

    def _deliver(self, responses: Iterable[Any]) -> None:
        """Send what had to wait for the disk; what the core told itself is stepped back."""
        outgoing: list[Message] = []
        for message in responses:
            if message.to == self.id:
                self.raft.step(message)
            else:
                outgoing.append(message)
        self._send(outgoing)

    # -- the disk --------------------------------------------------------------------------------

    def _write(self) -> bool:
        """Write everything that gathered as one synced batch, one at a time; True if that is done.

        The disk thread does it, unless the reactor has hardly anything else to do.
        """
        if self._writing or not (self._appends or not self._is_only_commit(self._late_state)):
            return False
        if self._appends and self._appends[0].snapshot is not None:
            self.applying.drive()  # to the state that goes; it may be asked until then
            if not self.applying.is_busy:
                self._install(self._appends.pop(0))
            return False
        hard_state, self._late_state = self._late_state, None
        entries: list[Entry] = []
        responses: list[Any] = []
        while self._appends and self._appends[0].snapshot is None:
            append = self._appends.pop(0)
            hard_state = append.hard_state or hard_state
            responses.extend(append.responses)
            if append.entries:
                _overwrite(entries, append.entries)
        if not entries and self._is_only_commit(hard_state):
            self._late_state = hard_state
            self._deliver(responses)
            return bool(responses)
        batch = self.directory.log.prepare(hard_state, entries)

        def written() -> None:
            self.measures.log_write.observe(self.disk.last_duration)
            self.measures.log_write_mean.observe(self.disk.last_duration, self.clock.seconds())
            self.measures.batch_entries.observe(len(entries))
            batch.done()
            self._deliver(responses)

        if self._is_alone(entries) and self.disk.is_quick:
            if self.survived(self.disk.run_now(batch.write), LOG_FAILED):
                written()
            return True
        self._writing = True

        def done() -> None:
            self._writing = False
            written()
            self._turn()

        self.in_thread(self.disk, batch, LOG_FAILED, done)
        return False

    def _is_alone(self, entries: Sequence[Entry]) -> bool:
        """Tell whether a write is so small that hardly anybody else can be waiting."""
        return sum([len(entry.data) for entry in entries]) <= ALONE_BYTES

    def _is_only_commit(self, hard_state: HardState | None) -> bool:
        """Tell whether all that is new is the commit index, which can wait for the next write.

        It is a hint: after a restart the leader tells it again, or this node finds out once it
        leads; until then its state may be older than it was.  But that a member was removed must
        be known for certain before its disk is wiped, or a restart would wait for its vote for
        ever.
        """
        saved = self.directory.log.hard_state
        if hard_state is None:
            return True
        if (hard_state.term, hard_state.vote) != (saved.term, saved.vote):
            return False
        return not saved.commit < self.applying.conf_index <= hard_state.commit

    @property
    def membership_is_durable(self) -> bool:
        """True if this node would know the present members after a restart, without asking."""
        return bool(self.directory.log.hard_state.commit >= self.applying.conf_index)

    def survived(self, result: object, what: str) -> bool:
        """Return False, and stop for good, when the disk failed: it is never tried again."""
        if not isinstance(result, Failure):
            return self._running
        self.log.failure(what, failure=result)
        self._running = False
        self.fail_stop(f"{what}: {result.getErrorMessage()}")
        return False

    def _install(self, append: StorageAppend) -> None:
        """Replace the state by the snapshot that has arrived, then begin the log after it.

        A crash in between is repaired when the directory is opened again.
        """
        assert append.snapshot is not None
        meta = append.snapshot.meta
        job = self.transfers.install(meta)
        self._late_state = None  # of the log that goes
        self._writing = self.installing = True

        def state_replaced() -> None:
            job.done()
            self.hub.replaced(self.machines.revision(self.directory.state))
            self.access.replace(tokens.every(self.directory.state))
            batch = self.directory.log.prepare(append.hard_state, append.entries, meta)

            def log_begun() -> None:
                batch.done()
                self._writing = self.installing = False
                self.transfers.installed()
                self.administration.reload()
                self.upgrades.reload()
                self.mesh.set_members(self.addresses())
                self.log.info("snapshot installed up to index {index}", index=meta.index)
                self._deliver(append.responses)
                self.wake()

            self.in_thread(self.disk, batch, LOG_FAILED, log_begun)

        self.in_thread(self.disk, job, "a snapshot could not be installed", state_replaced)

    def in_thread(self, thread: Any, job: Any, what: str, then: Callable[[], None]) -> None:
        """Run ``job.write`` in ``thread``, then ``then`` here; what fails ends the node."""

        def finished(result: object) -> None:
            if self.survived(result, what):
                then()

        thread.submit(job.write, lambda result: self._guarded(lambda: finished(result)))

    # -- leadership ------------------------------------------------------------------------------

    def _leadership_changed(self) -> None:
        role, leader = self.role(), self.raft.leader_id
        if role != self._role:
            self.log.info(
                "{before} -> {after} in term {term}",
                before=self._role,
                after=role,
                term=self.raft.term,
            )
            self.hub.publish_local(
                {"StateChange": {"node": self.id, "prev_state": self._role, "next_state": role}}
            )
            self._role = role
            self.timeline.role(self.clock.seconds(), self.id, role, self.raft.term)
        if leader != self._leader:
            self._leader = leader
            self.measures.leader_changes += 1
            self._lost_leader = 0 if leader else self._lost_leader
            self.timeline.leader(self.clock.seconds(), leader, self.raft.term)
            self.log.info("the leader is {leader}", leader=leader or "unknown")
            if leader:
                self.reads.ask_again()
                self.administration.leader_changed()
                self._send_unresolved()

    # -- what can be seen ------------------------------------------------------------------------

    def role(self) -> str:
        """Return the role as /status names it; a learner is no plain follower."""
        role = self.raft.role
        if role is Role.FOLLOWER and self.id in self.raft.conf_state.learners:
            return "Learner"
        return role.value

    def members_known(self) -> dict[int, Member]:
        """Return every member of the applied configuration, with address and instance."""
        return self.administration.known

    def addresses(self) -> dict[int, str]:
        """Return id -> "host:port" of every member."""
        return {node_id: member.address for node_id, member in self.members_known().items()}

    def members(self) -> dict[int, str]:
        """See Gateway."""
        return self.addresses()

    def status(self) -> dict[str, Any]:
        """See Gateway."""
        return status.shown(self)

    def faults(self) -> list[str]:
        """Return what is wrong with this node, in words."""
        return sorted(self._faults.values())

    def fault_codes(self) -> list[str]:
        """Return what is wrong with this node, for programs: "disk" hangs, "space" is short."""
        return sorted(self._faults)

    def gauges(self) -> dict[str, float]:
        """See Gateway."""
        return status.gauges(self)

    def probe_disk(self) -> Deferred[dict[str, Any]]:
        """See Gateway."""
        if self.probe is None or not self._running:
            return fail(Unavailable("the disk cannot be measured: the node is stopping"))
        return self.probe.ask()

    def begin_backup(self) -> backup.Backup:
        """See Gateway."""
        if self.installing or not self._running:
            raise Unavailable("a snapshot is being installed, or the node is stopping; try again")
        return backup.begin(self)

    def cluster(self) -> list[dict[str, Any]]:
        """See Gateway."""
        return self.reports.cluster()

    def history(self) -> dict[str, Any]:
        """See Gateway."""
        return self.timeline.shown(self.clock.seconds())

    def add_member(self, node_id: int, address: str | None) -> Deferred[None]:
        """See Gateway."""
        return self.administration.add(node_id, address)

    def remove_member(self, node_id: int, force: bool = False) -> Deferred[None]:
        """See Gateway."""
        return self.administration.remove(node_id, force)

    def transfer_leadership(self, node_id: int) -> Deferred[None]:
        """See Gateway."""
        return self.administration.transfer(node_id)

    def watch(self, watch: Watch, sink: Sink) -> Subscription:
        """See Gateway."""
        if not self._running:
            raise Unavailable("the node is stopping")
        return self.hub.subscribe(watch, sink)


def _overwrite(entries: list[Entry], newer: Sequence[Entry]) -> None:
    """Append ``newer``; where it begins earlier, what it contradicts goes."""
    if entries and newer[0].index <= entries[-1].index:
        keep = newer[0].index - entries[0].index
        del entries[max(0, keep) :]
    entries.extend(newer)
