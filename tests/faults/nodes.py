"""The cluster under test: slots with a network and a disk, and the nodes that live in them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from contrib import UringServer
from contrib.servers import SOURCE
from tests.faults.clocks import WallClock
from tests.faults.disks import Folder
from tests.faults.history import History, now
from tests.faults.network import Network
from uring.client import Client
from uring.errors import UringError

POLL = 0.1
"""Seconds between two looks at every node's /status."""
PATIENCE = 60.0
"""Seconds within which a cluster without faults must do whatever it is asked."""


class Stuck(Exception):
    """Something that must happen did not happen in time; the text says what."""


class Server(UringServer):
    """A node whose command is started with further words (a namespace, an environment)."""

    prefix: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Return the words that start the node."""
        return [*self.prefix, *super().command()]


@define(eq=False)
class Slot:
    """A place for a node."""

    number: int
    host: str
    port: int
    disk: Folder
    clock: WallClock
    prefix: list[str]
    admin: Client
    eye: Client
    """Asks for the status only, and gives up soon."""
    server: Server | None = None
    node_id: int = 0
    """Of the node that lives here; 0 when nobody does."""
    wanted: bool = False
    """Whether its node shall run, once there are no faults."""
    frozen: bool = False
    excused: bool = False
    """Whether its process may end by itself: its disk is full, or gone."""
    status: dict[str, Any] = field(factory=dict)
    """What it last said of itself; empty if it did not answer."""
    asking: bool = False

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def data(self) -> Path:
        """The data directory of its node."""
        return self.disk.path / f"raft-leveldb-{self.node_id}"

    @property
    def up(self) -> bool:
        """Whether its process is there, and not frozen."""
        return self.server is not None and self.server.running and not self.frozen


@define(eq=False)
class Cluster:
    """All slots, and which nodes should be members."""

    reactor: Any
    directory: Path
    network: Network
    disk: type[Folder]
    options: tuple[str, ...]
    history: History
    slots: dict[int, Slot] = field(factory=dict)
    preload: str = ""
    members: set[int] = field(factory=set)
    """Ids of those that are members, or are being made so."""
    _last_id: int = field(default=0, init=False)
    _polling: bool = field(default=True, init=False)

    def add_slot(self) -> Slot:
        """Make a place for one more node."""
        number = len(self.slots) + 1
        host, port, prefix = self.network.add(number)
        slot = self.slots[number] = Slot(
            number,
            host,
            port,
            self.disk(self.directory / "disks" / f"disk-{number}"),
            WallClock(self.directory / "clocks" / f"clock-{number}"),
            prefix,
            Client(f"{host}:{port}", reactor=self.reactor, timeout=8.0),
            Client(f"{host}:{port}", reactor=self.reactor, timeout=1.0),
        )
        return slot

    def new_id(self) -> int:
        """Return an id that no node ever had."""
        self._last_id += 1
        return self._last_id

    # -- who is there ----------------------------------------------------------------------------

    def inhabited(self) -> list[Slot]:
        """Return the slots of members, in order."""
        return [slot for slot in self.slots.values() if slot.node_id in self.members]

    def addresses(self) -> dict[int, str]:
        """Return whom clients may ask."""
        return {slot.number: slot.address for slot in self.inhabited()}

    def leader(self) -> Slot | None:
        """Return the slot of the leader of the highest term that anybody showed."""
        found = [slot for slot in self.inhabited() if slot.status.get("role") == "Leader"]
        return max(found, key=lambda slot: slot.status["term"], default=None)

    # -- processes -------------------------------------------------------------------------------

    def start(self, slot: Slot, bootstrap: bool = False) -> None:
        """Start the node of ``slot``."""
        log = self.directory / "logs" / f"node-{slot.number}.log"
        log.parent.mkdir(exist_ok=True)
        server = slot.server = Server(
            slot.node_id,
            slot.port,
            peers=[other.address for other in self.slots.values() if other is not slot],
            bootstrap=bootstrap,
            host=slot.host,
            data_dir=slot.data,
            options=self.options,
            log_file=log,
            reactor=self.reactor,
        )
        more = [f"LD_PRELOAD={self.preload}"] if self.preload else []
        server.prefix = (*slot.prefix, "env", *slot.clock.environment(str(SOURCE)), *more)
        server.unasked = lambda server, code: self._ended(slot, code)
        server.start()
        slot.wanted, slot.frozen = True, False
        self.history.span(slot.number, "life", "up", f"node {slot.node_id}")

    def _ended(self, slot: Slot, code: int | None) -> None:
        how = "by a signal" if code is None else f"with exit code {code}"
        text = f"the process of node {slot.node_id} (slot {slot.number}) ended by itself, {how}"
        self.history.span(slot.number, "life", "down")
        if slot.excused:
            self.history.note(f"{text}, as it should")
        else:
            last = slot.server.output().splitlines()[-3:] if slot.server else []
            self.history.violated(f"{text}: {' | '.join(last)}")

    async def kill(self, slot: Slot) -> None:
        """Kill -9, and wait until it is gone."""
        if slot.server is not None:
            await slot.server.die()
        slot.frozen = False
        self.history.span(slot.number, "life", "down")

    async def stop(self, slot: Slot) -> None:
        """SIGTERM; a node that does not end within five seconds, or not with 0, is at fault."""
        if slot.server is None or not slot.server.running:
            return
        code = await slot.server.stop(8.0)
        self.history.span(slot.number, "life", "down")
        if code != 0 and not slot.excused:
            self.history.violated(f"node {slot.node_id} was asked to stop and ended with {code}")

    def freeze(self, slot: Slot) -> None:
        """SIGSTOP."""
        if slot.up and slot.server is not None:
            slot.server.signal("STOP")
            slot.frozen = True
            self.history.span(slot.number, "life", "frozen")

    def thaw(self, slot: Slot) -> None:
        """SIGCONT."""
        if slot.frozen and slot.server is not None:
            slot.server.signal("CONT")
            slot.frozen = False
            running = slot.server.running
            label = f"node {slot.node_id}" if running else ""
            self.history.span(slot.number, "life", "up" if running else "down", label)

    def wipe(self, slot: Slot) -> None:
        """Delete the data of a node that does not run."""
        if slot.data.exists():
            shutil.rmtree(slot.data)

    # -- status ----------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look at every node again and again; write down who leads when."""
        while self._polling:
            for slot in self.slots.values():
                if slot.up and slot.node_id and not slot.asking:
                    Deferred.fromCoroutine(self._look(slot))
                elif not slot.up:
                    self._show(slot, {})
            await deferLater(self.reactor, POLL)

    async def _look(self, slot: Slot) -> None:
        slot.asking = True
        try:
            self._show(slot, await slot.eye.status())
        except UringError:
            self._show(slot, {})
        finally:
            slot.asking = False

    def _show(self, slot: Slot, status: dict[str, Any]) -> None:
        slot.status = status
        term = f"term {status['term']}" if status.get("role") == "Leader" else ""
        self.history.span(slot.number, "role", "leader" if term else "", term)

    def finish(self) -> None:
        """Look no more."""
        self._polling = False

    # -- waiting ---------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await deferLater(self.reactor, seconds)

    async def until(
        self, what: str, condition: Callable[[], Awaitable[Any]], seconds: float = PATIENCE
    ) -> Any:
        """Await ``condition()`` until it is true; what it raises counts as not yet.

        Raises Stuck, with what it was last, after ``seconds``.
        """
        end, last = now() + int(seconds * 1e9), None
        while now() < end:
            try:
                last = await condition()
                if last:
                    return last
            except UringError as problem:
                last = problem
            await self.sleep(0.05)
        raise Stuck(f"{what} did not happen within {seconds:g} s; last: {last!r}")

    # -- members ---------------------------------------------------------------------------------

    def _somebody(self) -> Slot | None:
        """Return a member that answers, the leader if possible."""
        up = [slot for slot in self.inhabited() if slot.up and slot.status]
        leader = self.leader()
        return leader if leader in up else (up[0] if up else None)

    async def _changed(self, node_id: int, there: bool, address: str | None) -> bool:
        slot = self._somebody()
        if slot is None:
            return False
        if (node_id in await slot.admin.members()) == there:
            # What one node knows may be old: ask one that has to know.
            return await slot.admin.is_member(node_id) == there
        if there:
            await slot.admin.add_member(node_id, address)
        else:
            await slot.admin.remove_member(node_id)
        return True

    async def add(self, slot: Slot) -> None:
        """Make the node of ``slot`` a member."""
        await self.until(
            f"adding node {slot.node_id}", lambda: self._changed(slot.node_id, True, slot.address)
        )
        self.members.add(slot.node_id)

    async def remove(self, node_id: int) -> None:
        """Remove a node from the members."""
        self.members.discard(node_id)
        await self.until(f"removing node {node_id}", lambda: self._changed(node_id, False, None))

    async def form(self, count: int) -> None:
        """Start ``count`` nodes, and make them one cluster."""
        for slot in list(self.slots.values())[:count]:
            slot.node_id = self.new_id()
            self.start(slot, bootstrap=slot.number == 1)
        first = self.slots[1]
        self.members.add(first.node_id)
        for slot in list(self.slots.values())[1:count]:
            await self.add(slot)
        await self.settle()

    # -- after the faults ------------------------------------------------------------------------

    async def settle(self) -> None:
        """Start and wake whoever should be there; wait until every member serves every request.

        Raises Stuck if that takes longer than it may.
        """
        self.network.heal()
        for slot in self.inhabited():
            slot.disk.empty()
            self.thaw(slot)
            if slot.wanted and not (slot.server and slot.server.running):
                self.start(slot)
            slot.excused = False
        await self.until("agreement on one leader and the members", self._agreed)

    async def _agreed(self) -> bool:
        slots = self.inhabited()
        found = await gatherResults([Deferred.fromCoroutine(self._probe(slot)) for slot in slots])
        return len({str(each) for each in found}) == 1 and None not in found

    async def _probe(self, slot: Slot) -> tuple[int, list[int]] | None:
        """Return whom a node follows and who it thinks are members, once a read succeeded."""
        try:
            await slot.admin.get("probe")
            status = await slot.admin.status()
        except UringError:
            return None
        ids = sorted(member["id"] for member in status["members"])
        return (status["leader"], ids) if status["leader"] and set(ids) == self.members else None

    async def end(self) -> None:
        """Kill every node."""
        self.finish()
        for slot in self.slots.values():
            slot.excused = True
            self.thaw(slot)
            if slot.server is not None:
                await slot.server.die()
            await slot.admin.close()
            await slot.eye.close()

    def abandon(self) -> None:
        """Kill what still runs, when nobody can wait for it any more."""
        for slot in self.slots.values():
            pid = slot.server.pid() if slot.server is not None else None
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
