"""One run: a cluster, its clients, rounds of faults, and at the end everything is checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from tests.faults import disk_faults, network_faults, process_faults  # noqa: F401  they enter KINDS
from tests.faults.checks import by_key, check_key
from tests.faults.clients import HistoryClient, RestDoor
from tests.faults.disks import Folder
from tests.faults.history import Call, History, now
from tests.faults.injector import KINDS, PROCESSES, SURROUNDINGS, Injector, Kind
from tests.faults.network import Network
from tests.faults.nodes import Cluster, Slot, Stuck
from tests.faults.watching import Watcher, check_watches
from uring.client import Client
from uring.errors import UringError

CLIENTS = 12
PAUSE = 0.012
"""Mean seconds that a client waits before it goes on."""
RING = 32
WATCHERS = 2


@define
class Plan:
    """What a run is told, and what the seed made of it."""

    seed: int
    seconds: float
    kinds: list[Kind]
    nodes: int
    options: tuple[str, ...]
    secret: bool
    """Whether peers prove by a secret who they are."""


def plan(seed: int, seconds: float, only: Iterable[str], nodes: int, able: set[str]) -> Plan:
    """Return the plan of a seed; kinds that need what is not possible here are left out."""
    random = Random(f"plan {seed}")
    every, keep = random.choice(((100_000, 10_000), (2000, 200), (400, 40), (400, 0)))
    timeout = random.choice((5000, 2500, 1500))
    chosen = nodes or random.choice((3, 3, 5))
    names = set(only) or KINDS.keys()
    kinds = [kind for name, kind in KINDS.items() if name in names and kind.needs in able]
    options = (
        "--no-json",
        "--insecure",  # the addresses are no loopback's, but nobody else can reach them
        f"--snapshot-entries={every}",
        f"--trailing-entries={keep}",
        f"--request-timeout-ms={timeout}",
    )
    return Plan(seed, seconds, kinds, chosen, options, random.random() < 0.5)


@define(eq=False)
class Campaign:
    """Runs a plan."""

    plan: Plan
    reactor: Any
    directory: Path
    network: Network
    disk: type[Folder]
    preload: str = ""
    """A library that all nodes load, for example one that makes their syncs do nothing."""
    history: History = field(init=False)
    cluster: Cluster = field(init=False)
    clients: list[HistoryClient] = field(factory=list, init=False)
    watchers: list[Watcher] = field(factory=list, init=False)
    stuck: bool = field(default=False, init=False)
    finals: int = field(default=0, init=False)
    """Reads at the end that were compared."""

    def __attrs_post_init__(self) -> None:
        self.history = History(self._random("keys"))
        options = self.plan.options
        if self.plan.secret:
            secret = self.directory / "secret"
            secret.write_text(f"{self._random('secret').getrandbits(256):064x}\n")
            secret.chmod(0o600)
            options += (f"--peer-secret-file={secret}",)
        self.cluster = Cluster(
            self.reactor, self.directory, self.network, self.disk, options, self.history
        )
        self.cluster.preload = self.preload

    def _random(self, what: str) -> Random:
        return Random(f"{what} {self.plan.seed}")

    async def run(self) -> None:
        """Do it all; what went wrong is in the history's violations."""
        watching: Deferred[None] | None = None
        try:
            for _ in range(self.plan.nodes + 1):
                self.cluster.add_slot()
            watching = Deferred.fromCoroutine(self.cluster.watch())
            await self.cluster.form(self.plan.nodes)
            self.history.note(f"a cluster of {self.plan.nodes}: {' '.join(self.cluster.options)}")
            self.history.began = now()
            self._start_watching()
            await self._work()
            await self._compare()
            await self._catch_up()
        except Stuck as problem:
            self.stuck = True
            self.history.violated(str(problem))
        finally:
            self.history.close()
            for watcher in self.watchers:
                why = await watcher.stop()
                if why:
                    self.history.violated(why)
            await self._keep()
            await self.cluster.end()
            if watching is not None:
                await watching
        self._check()

    # -- watches ---------------------------------------------------------------------------------

    def _start_watching(self) -> None:
        addresses = [slot.address for slot in self.cluster.slots.values()]
        for turn in range(WATCHERS):
            endpoints = addresses[turn:] + addresses[:turn]
            self.watchers.append(Watcher(Client(*endpoints, reactor=self.reactor, timeout=4.0)))
        for watcher in self.watchers:
            watcher.start()

    async def _catch_up(self) -> None:
        """Wait until the watches have been told everything."""
        if self.stuck:
            return
        slot = self.cluster.inhabited()[0]
        revision = (await slot.admin.status())["revision"]

        async def told() -> bool:
            return all(watcher.next > revision for watcher in self.watchers)

        await self.cluster.until(f"that the watches are told of revision {revision}", told)

    # -- clients and faults ----------------------------------------------------------------------

    async def _work(self) -> None:
        addresses = self.cluster.addresses
        self.clients = [
            HistoryClient(
                id_, self.history, addresses, self._random(f"client {id_}"), self.reactor, PAUSE
            )
            for id_ in range(1, CLIENTS + 1)
        ]
        running = [Deferred.fromCoroutine(client.run()) for client in self.clients]
        running.append(Deferred.fromCoroutine(self._turn_the_ring()))
        try:
            await self._rounds()
        finally:
            for client in self.clients:
                client.stopping = True
            await gatherResults(running, consumeErrors=True)

    async def _rounds(self) -> None:
        random = self._random("rounds")
        injectors = {
            lane: Injector(self.cluster, self.history, self._random(f"lane {lane}"), lane)
            for lane in (PROCESSES, SURROUNDINGS)
        }
        await self.cluster.sleep(1.0)
        end = now() + int(self.plan.seconds * 1e9)
        while now() < end:
            until = min(end, now() + int(random.uniform(12.0, 25.0) * 1e9))
            lanes = [
                Deferred.fromCoroutine(self._lane(injector, until))
                for injector in injectors.values()
            ]
            # A lane that is stuck must not leave the other one at work.
            for lane in lanes:
                lane.addErrback(self._note_stuck)
            await gatherResults(lanes)
            if self.stuck:
                return
            await self.cluster.settle()
            self.history.note("all is well")

    def _note_stuck(self, failure: Any) -> None:
        self.stuck = True
        self.history.violated(failure.getErrorMessage() if failure.check(Stuck) else str(failure))

    async def _lane(self, injector: Injector, until: int) -> None:
        kinds = [kind for kind in self.plan.kinds if kind.lane == injector.lane]
        weights = [kind.weight for kind in kinds]
        while kinds and now() < until and not self.stuck:
            (kind,) = injector.random.choices(kinds, weights)
            await kind.inject(injector)
            await injector.pause(0.3, 2.5)

    async def _turn_the_ring(self) -> None:
        """Add nodes to the ring and remove them, whatever comes of it."""
        random, number = self._random("ring"), 0
        while not self.clients[0].stopping:
            slot = random.choice(self.cluster.inhabited())
            number += 1
            try:
                await slot.admin.set_ring_size(RING)
                await slot.admin.add_ring_node(f"ring-{number % 7}")
                await slot.admin.remove_ring_node(f"ring-{(number + 3) % 7}")
            except UringError:
                pass
            await self.cluster.sleep(random.uniform(0.1, 1.0))

    # -- the end ---------------------------------------------------------------------------------

    async def _compare(self) -> None:
        """Read every key on every node, both ways, and compare all that the nodes hold."""
        if self.stuck:
            return
        await self.cluster.settle()
        reader = HistoryClient(
            0, self.history, self.cluster.addresses, self._random("reader"), self.reactor, PAUSE
        )
        keys = sorted({call.key for call in self.history.calls})
        few = DeferredSemaphore(8)
        slots = self.cluster.inhabited()

        def read(key: str, slot: Slot) -> Deferred[None]:
            return Deferred.fromCoroutine(self._final(reader, key, slot))

        work = [few.run(read, key, slot) for key in keys for slot in slots]
        await gatherResults(work, consumeErrors=True)
        await self.cluster.until("that all nodes have applied the same", self._level)
        await self._compare_stale(keys)
        rings = {str(await slot.admin.ring_nodes()) for slot in slots}
        if len(rings) != 1:
            self.history.violated(f"the nodes have different rings: {rings}")

    async def _final(self, reader: HistoryClient, key: str, slot: Slot) -> None:
        door = RestDoor(slot.admin)

        async def read() -> bool:
            return await reader.ask(Call(0, key, "get", 0, node=slot.number, door="rest"), door)

        await self.cluster.until(f"a last read of {key} through node {slot.node_id}", read)
        self.finals += 1

    async def _level(self) -> bool:
        found = [await slot.admin.status() for slot in self.cluster.inhabited()]
        return len({status["applied_index"] for status in found}) == 1

    async def _compare_stale(self, keys: list[str]) -> None:
        slots = self.cluster.inhabited()
        for key in keys:
            values = {slot.node_id: await slot.admin.get(key, stale=True) for slot in slots}
            self.finals += len(values)
            if len(set(values.values())) != 1:
                self.history.violated(f"the nodes hold different values of {key}: {values}")

    def _check(self) -> None:
        for wrong in check_watches(self.watchers, self.history.checked()):
            self.history.violated(wrong)
        for key, operations in by_key(self.history.checked()).items():
            for wrong in check_key(operations):
                self.history.violated(f"{key}: {wrong}")

    async def _keep(self) -> None:
        """After a violation keep what the nodes have on their disks."""
        if not self.history.violations:
            return
        for slot in self.cluster.slots.values():
            if slot.server is not None:
                slot.excused = True
                await self.cluster.kill(slot)
            if slot.node_id and slot.data.exists():
                kept = self.directory / "data" / f"slot-{slot.number}-{slot.data.name}"
                try:
                    shutil.copytree(slot.data, kept)
                except OSError as problem:
                    self.history.note(f"the data of slot {slot.number} cannot be copied: {problem}")
