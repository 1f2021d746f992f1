"""The composition root: the only place that builds the objects and names the reactor."""

from __future__ import annotations

import gc
import math
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

import uring
from uring import logs, rescue
from uring.api.site import make_site
from uring.archive import Archive
from uring.descriptors import left_for_clients, raise_limit
from uring.diskprobe import DiskProbe
from uring.errors import UringError
from uring.faults import UnhandledErrors
from uring.machines.commands import RecoverToken, SetSize
from uring.machines.levels import LEVEL
from uring.machines.table import Machines
from uring.members import found_cluster
from uring.node import Node
from uring.nodesettings import NodeSettings
from uring.options import Options, Settings
from uring.peers.address import advertised, client_endpoint, listener
from uring.peers.door import PeerOrHttpFactory
from uring.peers.mesh import LinkFactory, Mesh
from uring.periodic import PeriodicBackups
from uring.raft.core import RawNode
from uring.raft.settings import Settings as RaftSettings
from uring.rescue import Rescue
from uring.scavenger import Scavenger, prepare, release, settle
from uring.security import Security, secure
from uring.space import free_bytes
from uring.store.directory import DataDirectory, open_directory
from uring.store.disk import DiskThread
from uring.store.failures import DirectoryError, StoreFailed
from uring.supervision import Supervisor
from uring.timers import use_monotonic_time
from uring.turns import Turns
from uring.upgrades import require_level
from uring.watchdog import Watchdog
from uring.wire.codec import seal
from uring.wire.hello import NEWEST, OLDEST, Hello

__all__ = ["Options", "makeService"]

STOP_SECONDS = 3.0
"""SIGTERM to exit, at the most; what hangs then is left to the next start's recovery."""
HAND_OVER_SECONDS = 1.0
GC_THRESHOLDS = (20_000, 50, 100)
"""What is made for a command lives until it is answered: with Python's own 700 the collector looks
at thousands of them in every turn, and finds nothing."""
APPLY_BYTES = 256 * 1024
"""Entries that are applied in one go, some 10 ms of work: with more a restart would stand still."""
APPEND_BYTES = 512 * 1024
INFLIGHT_BYTES = 2 << 20
"""What a follower that is behind is sent before it has answered, and how much of it at a time.  The
reactors of both are busy with it: 16 MB took a leader 130 ms, and the follower 450."""
TICK_SECONDS_MAX = 0.05
"""A finer tick than the heartbeat spreads the candidates' time-outs: fewer split votes."""


def makeService(options: Options) -> IService:
    """Return the node as a Twisted service.  Called by ``twist`` and ``twistd``."""
    from twisted.internet import reactor

    prepare()
    logs.install(json=options.settings.json_logs)
    use_monotonic_time(reactor)
    gc.set_threshold(*GC_THRESHOLDS)
    return NodeService(settings=options.settings, reactor=reactor)


def raft_settings(settings: Settings, applied: int) -> RaftSettings:
    """Translate milliseconds into the core's ticks."""
    tick = tick_seconds(settings)
    return RaftSettings(
        node_id=settings.node_id,
        election_ticks=max(3, round(settings.election_ms / 1000 / tick)),
        heartbeat_ticks=max(1, round(settings.heartbeat_ms / 1000 / tick)),
        async_storage_writes=True,
        disable_proposal_forwarding=True,
        step_down_on_removal=True,
        max_append_bytes=APPEND_BYTES,
        max_inflight_bytes=INFLIGHT_BYTES,
        max_committed_bytes_per_ready=APPLY_BYTES,
        applied=applied,
    )


def tick_seconds(settings: Settings) -> float:
    """Return the length of one tick: a whole part of the heartbeat interval, in seconds."""
    heartbeat = settings.heartbeat_ms / 1000
    return heartbeat / max(1, round(heartbeat / TICK_SECONDS_MAX))


@define
class Facts:
    """What the node cannot know by itself; looked at anew at most once a second."""

    _path: Path
    _seconds: Callable[[], float]
    _started: float = field(init=False)
    _known: dict[str, float] = field(factory=dict, init=False)
    _at: float = field(default=float("-inf"), init=False)

    def __attrs_post_init__(self) -> None:
        self._started = self._seconds()

    def __call__(self) -> dict[str, float]:
        """Return the uptime (s), the bytes of the disk, free and in all, the wall clock (s since
        1970)."""
        now = self._seconds()
        if now - self._at >= 1.0:
            self._at = now
            found = shutil.disk_usage(self._path)
            self._known = {"disk_free": found.free, "disk_total": found.total}
        return {**self._known, "uptime": now - self._started, "wall_time": time.time()}


@implementer(IService)
@define(slots=False, eq=False)
class NodeService(Service):
    """Opens the data, builds the node, listens; and takes it all down again in order."""

    settings: Settings
    reactor: Any
    node: Node | None = field(default=None, init=False)
    directory: DataDirectory | None = field(default=None, init=False)
    ports: list[IListeningPort] = field(factory=list, init=False)
    turns: Turns = field(init=False)
    log: Logger = field(factory=lambda: Logger(namespace="uring"), init=False)
    security: Security = field(init=False)
    _address: str = field(default="", init=False)
    _recovered: RecoverToken | None = field(default=None, init=False)
    _supervisor: Supervisor = field(init=False)
    _unhandled: UnhandledErrors = field(init=False)
    _scavenger: Scavenger = field(init=False)
    _watchdog: Watchdog = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.turns = Turns(self.reactor)
        self._supervisor = Supervisor(self.reactor)
        self._scavenger = Scavenger(self.reactor, self._give_back)
        self._watchdog = Watchdog(self.reactor, self._hangs)
        self._unhandled = UnhandledErrors(
            lambda reason: self.reactor.callFromThread(self.fail_stop, reason)
        )

    # -- up --------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Start, or end the process with one line that says what to do."""
        super().startService()
        globalLogPublisher.addObserver(self._unhandled)
        try:
            self.security = secure(self.settings, self.reactor)
            self._address = advertised(self.settings.advertise or self.settings.endpoint)
            self.directory = open_directory(self.settings.data_dir, self.settings.node_id)
            require_level(self.directory)
            if self.settings.bootstrap and not self.directory.identity.cluster_id:
                found_cluster(self.directory, self._address, os.urandom(16))
            self._recovered = rescue.read(self.directory.path)
        except (DirectoryError, ValueError) as problem:
            raise SystemExit(f"uring: {problem}") from None
        try:
            self._build(self.directory)
        except StoreFailed as problem:
            raise SystemExit(f"uring: {self.settings.data_dir}: {problem}") from None
        self.reactor.callWhenRunning(self._take_signals)
        self.reactor.callWhenRunning(self._look_after)

    def _build(self, directory: DataDirectory) -> None:
        settings, reactor = self.settings, self.reactor
        chance = random.Random(os.urandom(16))
        identity = directory.identity
        own_name = (identity.node_id, identity.life)
        raft = RawNode(
            raft_settings(settings, directory.state.applied_index),
            directory.log,
            chance,
            seal=seal,
        )
        mesh = Mesh(
            clock=reactor,
            me=self._hello,
            check=lambda hello: self._node.administration.check(hello),
            connect=lambda address: client_endpoint(reactor, address),
            random=chance,
            tls=self.security.peer_tls,
            secret=self.security.secret,
            limits=settings.limits.peers,
        )
        self.disk = DiskThread(reactor, "uring-log", reactor.seconds)
        self.background = DiskThread(reactor, "uring-background", reactor.seconds)
        self.reader = DiskThread(reactor, "uring-reader", reactor.seconds)
        self.prober = DiskThread(reactor, "uring-probe", reactor.seconds)
        node = self.node = Node(
            settings=NodeSettings(
                node_id=settings.node_id,
                address=self._address,
                version=uring.__version__,
                tick=tick_seconds(settings),
                election=settings.election_ms / 1000,
                request_timeout=settings.request_timeout_ms / 1000,
                log_entries_max=settings.snapshot_entries,
                log_bytes_max=settings.snapshot_bytes,
                trailing_entries=settings.trailing_entries,
                waiting_commands=settings.limits.node.waiting_commands,
                waiting_bytes=settings.limits.node.waiting_bytes,
                disk_reserve=settings.disk_reserve_mb << 20,
                history_entries=settings.history_entries,
                history_bytes=settings.history_bytes,
            ),
            clock=reactor,
            raft=raft,
            directory=directory,
            disk=self.disk,
            background=self.background,
            reader=self.reader,
            mesh=mesh,
            machines=Machines(
                answered=lambda proposer, incarnation: (proposer, incarnation) == own_name,
            ),
            fail_stop=self.fail_stop,
            facts=Facts(directory.path, reactor.seconds),
            free_bytes=partial(free_bytes, directory.path),
            probe=DiskProbe(directory.path, self.prober.submit, reactor.seconds),
        )
        self.archive = DiskThread(reactor, "uring-archive", reactor.seconds)
        if settings.backup_dir is not None:
            node.periodic = self._periodic_backups(Path(settings.backup_dir), node, chance)
        mesh.on_messages = node.receive
        mesh.on_hello = node.administration.greeted
        mesh.on_up = node.peer_up
        mesh.on_down = node.peer_down
        mesh.on_refused = node.peer_refused
        limits = settings.limits.clients
        connections = left_for_clients(raise_limit(), limits.connections)
        limits = evolve(limits, connections=connections)
        self.site = make_site(
            gateway=node,
            limits=limits,
            allowed_hosts=self._hosts(),
            reactor=reactor,
            version=uring.__version__,
            allowed_origins=frozenset(settings.allow_origins),
            bounds={**settings.limits.listed(), "connections": connections},
            turns=self.turns,
        )
        self._listen(settings.endpoint, mesh.factory)
        if settings.http is not None:
            self._listen(settings.http, None)
        self.security.warn_of_tokens(settings, node.access)
        for address in settings.peers:
            mesh.add_seed(address)
        mesh.start()
        node.start()
        if node.periodic is not None:
            node.periodic.start()
        if self._recovered is not None:
            Rescue(node.submit, reactor, directory.path / rescue.FILE, self._recovered).start()
        if settings.ring_size is not None:
            self._size_ring(settings.ring_size)
        self._supervisor.ready(f"node {settings.node_id} serves at {self._address}")
        self.log.info(
            "node {id} of cluster {cluster} serves at {address}",
            id=settings.node_id,
            cluster=identity.cluster_id.hex() or "(none yet)",
            address=self._address,
        )

    def _periodic_backups(self, path: Path, node: Node, chance: random.Random) -> PeriodicBackups:
        settings = self.settings

        def archive(cluster: str) -> Archive:
            reserve = settings.disk_reserve_mb << 20
            return Archive(path, cluster, settings.node_id, settings.backup_keep, reserve)

        return PeriodicBackups(
            node, archive, self.archive, float(settings.backup_interval_s), chance.random
        )

    @property
    def _node(self) -> Node:
        assert self.node is not None
        return self.node

    def _hello(self) -> Hello:
        assert self.directory is not None
        identity = self.directory.identity
        return Hello(
            version=OLDEST,
            newest=NEWEST,
            level=LEVEL,
            cluster_id=identity.cluster_id,
            node_id=identity.node_id,
            instance_id=identity.instance_id,
            address=self._address,
            applied=self.directory.state.applied_index,
        )

    def _hosts(self) -> frozenset[str]:
        """Return the host names under which clients may speak to this node."""
        own = self._address.rpartition(":")[0].strip("[]").lower()
        return frozenset({own, *self.settings.allow_hosts}) | self.security.names()

    def _listen(self, endpoint: str, peers: LinkFactory | None) -> None:
        """Listen, or end the process: a node that nobody can reach must not live on."""
        door = PeerOrHttpFactory(
            peers,
            self.site,
            self.reactor,
            self.security.https.get(endpoint),
            self.settings.limits.peers,
            self.turns,
        )
        listening = listener(self.reactor, endpoint).endpoint.listen(door)
        failures: list[Failure] = []
        listening.addCallbacks(self.ports.append, failures.append)
        if failures:
            raise SystemExit(
                f"uring: cannot listen on {endpoint}: {failures[0].getErrorMessage()}; "
                "choose another --endpoint or stop what uses it"
            )

    def _size_ring(self, size: int) -> None:
        """Give the ring its size once there is a leader; that it has one already is no error."""

        def done(result: object) -> None:
            if isinstance(result, UringError):
                self.reactor.callLater(0.1, self._size_ring, size)

        if self.running:
            self._node.submit(SetSize(size), done)

    # -- down ------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        """Exit with 0 on SIGTERM: the reactor's own handler would die of the signal again."""

        def stop(*args: object) -> None:
            self.reactor.callFromThread(self._stop_reactor)

        def reload(*args: object) -> None:
            self.reactor.callFromThread(self.security.reload)

        signal.signal(signal.SIGTERM, stop)
        if self.security.has_files:  # otherwise a terminal that is closed shall end the process
            signal.signal(signal.SIGHUP, reload)

    def _give_back(self) -> None:
        if self.node is not None:
            self.node.rest()
        release()

    def _look_after(self) -> None:
        settle()
        self._scavenger.start()
        self._watchdog.start()

    def _hangs(self, reason: str) -> None:
        """End the process; in the watchdog's thread, while the reactor's does nothing."""
        _exit_after(1.0, 1)  # perhaps it is the log that hangs
        self.log.critical("uring stops: {reason}", reason=reason)
        os._exit(1)

    def _stop_reactor(self) -> None:
        with suppress(ReactorNotRunning):  # a second signal, while it stops
            self.reactor.stop()

    def fail_stop(self, reason: str) -> None:
        """End the process with a non-zero code; a half-dead node is worse than none."""
        self.log.critical("uring stops: {reason}", reason=reason)
        self.reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._stop_reactor()
        _exit_after(STOP_SECONDS, 1)

    async def _take_down(self) -> None:
        node, directory = self.node, self.directory
        if node is None or directory is None:
            return
        handing_over = node.hand_over()
        handing_over.addTimeout(HAND_OVER_SECONDS, self.reactor).addErrback(lambda failure: None)
        await handing_over
        node.stop()
        if node.periodic is not None:
            node.periodic.stop()
        for port in self.ports:
            port.stopListening()
        self.site.close()
        await deferLater(self.reactor, 0.01, lambda: None)  # the last replies leave
        await DeferredList(
            [
                node.mesh.stop(),
                self.background.stop(),
                self.reader.stop(),
                self.archive.stop(),
                self.prober.stop(),
                self.disk.stop(),
            ]
        )
        if directory.log.health.failure is None:
            directory.state.sync().write()
        directory.close()

    def stopService(self) -> Deferred[None]:
        """Hand over, answer what waits, sync, close; within :data:`STOP_SECONDS` in any case."""
        super().stopService()
        self._supervisor.stopping()
        self._scavenger.stop()
        self._watchdog.stop()
        globalLogPublisher.removeObserver(self._unhandled)
        _exit_after(STOP_SECONDS, 1)
        return Deferred.fromCoroutine(self._take_down())


def _exit_after(seconds: float, code: int) -> None:
    """End the process in ``seconds`` whatever hangs: a thread that nobody waits for sees to it."""
    timer = threading.Timer(seconds, os._exit, [code])
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no memory for a thread, which may be why it has to end
        signal.alarm(math.ceil(seconds))  # a signal that ends processes
