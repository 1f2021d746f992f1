"""The scheduler: every node, message, write and client of one run, in one order, from one seed."""

from __future__ import annotations

import gc
import heapq
import traceback
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Any

from attrs import define, field, frozen
from twisted.logger import Logger, formatEvent

from tests.sim.clients import Client
from tests.sim.clock import SimClock
from tests.sim.disk import SimDisk
from tests.sim.faults import Faults
from tests.sim.leases import Holder
from tests.sim.linearizable import Operation, offending_keys
from tests.sim.locks import Contender
from tests.sim.network import Network, SimMesh
from tests.sim.properties import Properties, Violation, WatchedApplying, WatchedMachines
from tests.sim.ring import Balancer
from tests.sim.scripts import Stage
from tests.sim.stores import Crashed, Files, open_files, simulated_files
from tests.sim.tokens import Registrar
from tests.sim.versions import Upgrade
from tests.sim.watchers import Watcher
from uring.machines.levels import FIRST, LEVEL
from uring.machines.table import LARGE_RING
from uring.members import Member, encode_member
from uring.node import Node
from uring.nodesettings import NodeSettings
from uring.raft.core import RawNode
from uring.raft.membership import encode_conf_change
from uring.raft.settings import Settings
from uring.raft.types import ConfChange, ConfChangeKind, ConfChangeSingle, EntryKind, HardState
from uring.store.failures import DirectoryError, StoreFailed
from uring.store.pending import PENDING_BYTES
from uring.upgrades import ProgramTooOld
from uring.wire.codec import seal

TICK = 0.05
ELECTION_TICKS = 10
CALM_SECONDS = 40.0
"""After the last fault, everything must be well within so long: 80 election time-outs."""
SPARES = 2
Event = tuple[float, int, "Life | None", str, Callable[[], None]]


@frozen(kw_only=True)
class Options:
    """What a run is made of, beside its seed."""

    nodes: int = 0
    """Voters at the start; 0 lets the seed choose 3 or 5."""
    seconds: float = 12.0
    """Simulated time with faults."""
    without: frozenset[str] = frozenset()
    """Kinds of faults that are switched off."""
    amount: float = 1.0
    """Multiplies how often faults come."""
    trace: bool = False


@frozen(kw_only=True)
class Outcome:
    """How one run ended; ``problem`` is empty if nothing was wrong."""

    seed: int
    nodes: int
    problem: str
    steps: int
    seconds: float
    """Simulated."""
    faults: Counter[str]
    operations: Counter[str]
    watches: Counter[str]
    trace: list[str]


@define(eq=False)
class Host:
    """One machine: its disk outlives its processes."""

    id: int
    files: Files
    instance: bytes = b""
    lives: int = 0
    life: Life | None = None
    level: int = LEVEL
    """The feature level of its program."""
    went_back: bool = False
    """An operator has put an older program in the place of a newer one."""
    is_member: bool = True
    """False for a spare that was never added: it is no voter anywhere."""


@define(eq=False)
class Life:
    """One process of one host."""

    world: World
    host: Host
    number: int
    rate: float
    alive: bool = True
    paused_until: float = 0.0
    stopped: str = ""
    """Why it wants to end."""
    disk_faulty: bool = False
    clock: SimClock = field(init=False)
    node: Any = field(default=None, init=False)
    directory: Any = field(default=None, init=False)
    mesh: SimMesh = field(init=False)
    failure: str = field(default="", init=False)
    """The exception logged last."""

    @property
    def id(self) -> int:
        return self.host.id

    def later(self, seconds: float, what: str, work: Callable[[], None]) -> None:
        """Do something in this process, unless it has ended by then."""
        self.world.schedule(seconds, what, work, self)

    def fail_stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason

    def logged(self, event: Any) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self.failure = failure.getTraceback()
        if self.world.options.trace:
            self.world.note(self, formatEvent(event))


class World:
    """One run."""

    def __init__(self, seed: int, options: Options) -> None:
        self.seed, self.options = seed, options
        self.now = 0.0
        self.steps = 0
        self.trace: deque[str] = deque(maxlen=None if options.trace else 60)
        self.problem = ""
        self._events: list[Event] = []
        self._count = 0
        choices = self.random("world")
        self.size = options.nodes or choices.choice((3, 3, 5))
        self.log_entries = choices.choice((5, 20, 60, 10_000))
        self.trailing = choices.choice((0, 3, 20))
        self.raft_choices: dict[str, Any] = {
            "max_append_bytes": choices.choice((0, 200, 1 << 20)),
            "max_inflight_messages": choices.choice((1, 4, 256)),
            "max_committed_bytes_per_ready": choices.choice((1, 300, 4 << 20)),
        }
        self.cluster = choices.randbytes(16)
        self.history: list[Operation] = []
        self.wiped: set[int] = set()
        """Members that were found with another disk when the faults had ended."""
        self.stage = Stage(self)
        if self.stage.is_open:
            # One entry in a message, several messages ahead, and a log that keeps them all.
            self.raft_choices |= {"max_append_bytes": 0, "max_inflight_messages": 256}
            self.log_entries = 10_000
        self.properties = Properties(self)
        self.network = Network(self, self.random("network"))
        self.faults = Faults(self)
        self.upgrade = Upgrade(self)
        ids = range(1, self.size + SPARES + 1)
        self.hosts = {i: Host(i, Files(self.random(f"files {i}"))) for i in ids}
        holders = self.random("holders")
        self.holders = [Holder(self, i) for i in range(holders.choice((0, 0, 0, 2)))]
        contenders = self.random("contenders")
        count = contenders.choice((2, 4)) if contenders.random() < 0.2 else 0
        self.contenders = [Contender(self, i) for i in range(count)]
        self.fenced: list[tuple[int, int]] = []
        """Revisions of what was written under the lock, and by which token."""
        self.balancers = [Balancer(self)] if holders.random() < 0.25 else []
        self.registrars = [Registrar(self)] if self.random("registrars").random() < 0.5 else []
        self.clients = [Client(self, i) for i in range(choices.choice((2, 3, 5)))]
        self.history_entries = choices.choice((8, 40, 100_000))
        self.gather_bytes = self.random("gather").choice((1, 1000, 10_000, PENDING_BYTES))
        self.watchers = [Watcher(self, i) for i in range(choices.choice((1, 2, 3)))]

    def random(self, name: str) -> Random:
        """Return a source of chance of its own: what one part does changes no other's."""
        return Random(f"{self.seed}/{name}")

    def note(self, life: Life | None, text: str) -> None:
        """Put a line into the trace."""
        who = f"node {life.id}.{life.number}" if life is not None else "world"
        self.trace.append(f"{self.now:9.4f} {who:9} {text}")

    # -- time ------------------------------------------------------------------------------------

    def schedule(
        self, seconds: float, what: str, work: Callable[[], None], life: Life | None = None
    ) -> None:
        """Do ``work`` in so many seconds, in ``life`` or outside of all."""
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, life, what, work))

    def step(self) -> None:
        """Let the next thing happen and look at what it did."""
        at, count, life, what, work = heapq.heappop(self._events)
        self.now = at
        if life is None:
            self.steps += 1
            work()
            return
        if not life.alive:
            return
        if life.paused_until > at:
            heapq.heappush(self._events, (life.paused_until, count, life, what, work))
            return
        self.steps += 1
        if what and self.options.trace:
            self.note(life, what)
        self.inside(life, work)
        self.stage.look()

    def inside(self, life: Life, work: Callable[[], None]) -> None:
        """Run ``work`` as a part of ``life``, which may end there."""
        try:
            work()
        except Crashed:
            self.end(life, "in the middle of its work", power=self.faults.coin())
            return
        if life.stopped:
            self.properties.stopped(life)
            self.end(life, life.stopped, power=False)
        elif life.node is not None and not life.directory.failed:
            # A store that has failed shows nothing any more; its process ends with the report.
            self.properties.look(life)

    # -- processes -------------------------------------------------------------------------------

    def begin(self, host: Host) -> None:
        """Start a process on ``host``."""
        if host.life is not None:
            return
        host.lives += 1
        host.files.begin()
        chance = self.random(f"life {host.id}.{host.lives}")
        life = host.life = Life(self, host, host.lives, chance.uniform(0.95, 1.05))
        life.clock = SimClock(life, chance, life.rate, chance.uniform(0, 1e6))
        life.mesh = SimMesh(life)
        self.inside(life, lambda: self._start(life))

    def _start(self, life: Life) -> None:
        host = life.host
        self.note(life, "starts")
        try:
            life.directory = open_files(host.files, host.id)
            life.directory.state.gather_bytes = self.gather_bytes
            host.instance = life.directory.identity.instance_id
            self._build(life)
        except ProgramTooOld as error:
            life.fail_stop(str(error))
            return
        except (StoreFailed, DirectoryError) as error:
            if not life.disk_faulty:
                raise Violation(f"node {host.id} cannot open its directory: {error}") from error
            life.fail_stop(str(error))
            return
        self.properties.started(life)
        life.node.start()
        self.network.began(life)

    def _build(self, life: Life) -> None:
        host, directory = life.host, life.directory
        chance = self.random(f"raft {host.id}.{life.number}")
        settings = Settings(
            node_id=host.id,
            election_ticks=ELECTION_TICKS,
            heartbeat_ticks=2,
            async_storage_writes=True,
            disable_proposal_forwarding=True,
            step_down_on_removal=True,
            applied=directory.state.applied_index,
            **self.raft_choices,
        )
        name = (host.id, directory.identity.life)
        # Some processes work changes of the ring out in a thread, others at once: all the same.
        in_thread = self.random(f"lengthy {host.id}.{life.number}").random() < 0.5
        log = Logger(namespace="uring.sim", observer=life.logged)  # type: ignore[arg-type]
        life.node = Node(
            settings=NodeSettings(
                node_id=host.id,
                address=address(host.id),
                version="sim",
                level=host.level,
                tick=TICK,
                election=TICK * ELECTION_TICKS,
                request_timeout=2.0,
                log_entries_max=self.log_entries,
                trailing_entries=self.trailing,
                history_entries=self.history_entries,
            ),
            clock=life.clock,  # type: ignore[arg-type]
            raft=RawNode(settings, directory.log, chance, seal=seal),
            directory=directory,
            disk=SimDisk(life, "log", chance),
            background=SimDisk(life, "background", chance),
            reader=SimDisk(life, "reader", chance),
            mesh=life.mesh,
            machines=WatchedMachines(
                answered=lambda proposer, incarnation: (proposer, incarnation) == name,
                watch=lambda index, applied: self.properties.outcome(life, index, applied),
                level=host.level,
                large_ring=1 if in_thread else LARGE_RING,
            ),
            fail_stop=life.fail_stop,
            log=log,
        )
        life.node.applying = WatchedApplying(
            life.node, lambda entries: self.properties.applied(life, entries)
        )
        life.node.transfers.log = life.node.administration.log = log
        life.node.upgrades.log = log
        life.node.proposals.log = life.node.hub.log = log

    def end(self, life: Life, why: str, power: bool) -> None:
        """End a process; ``power`` takes what the disk was not told to sync."""
        if not life.alive:
            return
        life.alive = False
        host = life.host
        if host.life is life:
            host.life = None
        lost = host.files.lose_power() if power else 0
        self.note(life, f"ends: {why}{f'; {lost} writes are lost' if lost else ''}")
        self.network.ended(life, power)
        for client in self.clients:
            client.lost(life)
        for watcher in self.watchers:
            watcher.lost(life)
        for contender in self.contenders:
            contender.lost(life)
        self.faults.ended(host)

    # -- the run ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run to the end, or to the first problem."""
        with simulated_files(self.random("os")):
            try:
                self._form()
                self._live()
                self._calm_down()
            except Violation as violation:
                self.problem = str(violation)
                self.note(None, f"VIOLATION: {violation}")
            except Exception:
                # Whoever runs many seeds wants to know which of them did this.
                self.problem = traceback.format_exc()
        return Outcome(
            seed=self.seed,
            nodes=self.size,
            problem=self.problem,
            steps=self.steps,
            seconds=self.now,
            faults=self.faults.counts,
            operations=Counter(
                f"{each.kind} {'answered' if each.known else 'unknown'}" for each in self.history
            ),
            watches=sum((watcher.counts for watcher in self.watchers), Counter()),
            trace=list(self.trace),
        )

    def _form(self) -> None:
        """Begin with a cluster: its members are added by the first entries of every log."""
        directories = {i: open_files(host.files, i) for i, host in sorted(self.hosts.items())}
        entries = []
        level = self.upgrade.first_levels(self.hosts, self.size)
        for node in range(1, self.size + 1):
            member = Member(address(node), directories[node].identity.instance_id)
            change = ConfChange(
                changes=(ConfChangeSingle(ConfChangeKind.ADD_NODE, node),),
                context=encode_member(node, member, level if level > FIRST else 0),
            )
            entries.append(seal(1, node, EntryKind.CONF_CHANGE_V2, encode_conf_change(change)))
        for node in range(1, self.size + 1):
            batch = directories[node].log.prepare(HardState(term=1, commit=self.size), entries)
            batch.write()
            batch.done()
            directories[node].set_cluster_id(self.cluster)
        self.properties.formed(entries)
        for host in self.hosts.values():
            host.is_member = host.id <= self.size
            self.begin(host)

    def _live(self) -> None:
        self.faults.begin()
        self.stage.begin()
        self.upgrade.begin()
        self.network.begin()
        for client in self.clients:
            client.begin()
        for holder in self.holders:
            holder.begin()
        for contender in self.contenders:
            contender.begin()
        for balancer in self.balancers:
            balancer.begin()
        for registrar in self.registrars:
            registrar.begin()
        for watcher in self.watchers:
            watcher.begin()
        while self.now < self.options.seconds:
            self.step()

    def _calm_down(self) -> None:
        """Faults stop: in bounded time one leader, every client answered, all replicas equal."""
        self.stage.end("the faults end")
        self.faults.end()
        self.upgrade.end()
        deadline = self.now + CALM_SECONDS
        quiet = self.now + 5.0
        while self.now < quiet:
            self.step()
        for client in self.clients:
            client.finish()
        for holder in self.holders:
            holder.finish()
        for contender in self.contenders:
            contender.finish()
        for watcher in self.watchers:
            watcher.finish()
        looked = self.now
        while (why := self.properties.unrest()) is not None:
            if self.now > deadline:
                raise Violation(f"liveness: {CALM_SECONDS:.0f} s after the last fault {why}")
            self._mend()
            looked += 0.25
            while self.now < looked:
                self.step()
        self.properties.compare()
        keys = offending_keys(self.history)
        if keys:
            raise Violation(f"linearizability: no order explains key {', '.join(keys)}")

    def _mend(self) -> None:
        """Do what operators are told to: a member that lost its disk is removed and added again."""
        for host in self.hosts.values():
            life = host.life
            if life is not None and life.node is not None and life.node.raft.is_leader:
                self.inside(life, lambda node=life.node: self._mend_through(node))  # type: ignore[misc]

    def _mend_through(self, node: Any) -> None:
        known = node.members_known()
        for node_id, member in known.items():
            if member.instance not in (b"", self.hosts[node_id].instance):
                self.wiped.add(node_id)
                node.remove_member(node_id, True).addErrback(lambda failure: None)
        for node_id in self.wiped - known.keys():
            node.add_member(node_id, address(node_id)).addErrback(lambda failure: None)


def address(node_id: int) -> str:
    """Return where a node can be reached."""
    return f"node{node_id}:1"


def simulate(seed: int, options: Options | None = None) -> Outcome:
    """Run one seed.

    Without the garbage collector, which would look at the same living objects again and again.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return World(seed, options or Options()).run()
    finally:
        if collects:
            gc.enable()
