"""A gateway without a node behind it: the real machines in memory, answers when told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.support.segments import memory_history
from uring.access import Access
from uring.api.gateway import Done
from uring.errors import Conflict, NotFound, Unavailable, UringError
from uring.machines import tokens
from uring.machines.base import MemoryState
from uring.machines.commands import Command, Query
from uring.machines.proposal import Proposal, encode
from uring.machines.table import Machines
from uring.measures import Measures
from uring.together import DoneAll, one_by_one
from uring.watch import Hub, Sink, Subscription, Watch
from uring.watch.history import History


def at_once(job: Callable[[], Any], done: Callable[[Any], None]) -> None:
    """Do what a thread would do."""
    try:
        result = job()
    except Exception:
        result = Failure()
    done(result)


class View(MemoryState):
    """What a state was when it was copied."""

    def close(self) -> None:
        """Nothing to let go of."""


def copy_of(state: MemoryState) -> View:
    """Return the state as it is now."""
    return View(dict(state._values), list(state._keys))


@define(eq=False)
class FakeBackup:
    """Hands out ``pieces``; a piece may be an error, None is one that does not come."""

    pieces: list[Any] = field(factory=lambda: [b"head", b"x" * 100_000, b"end"])
    asked: int = 0
    closed: int = 0
    on_abort: Callable[[], None] = lambda: None

    def next(self, done: Callable[[Any], None]) -> None:
        """Hand out the next piece."""
        self.asked += 1
        piece = self.pieces.pop(0) if self.pieces else b""
        if piece is not None:
            done(piece)

    def close(self) -> None:
        """Count."""
        self.closed += 1


@define
class FakeGateway:
    """Fulfils Gateway.  ``error`` is what every request gets; ``held`` keeps answers back."""

    state: MemoryState = field(factory=MemoryState)
    machines: Machines = field(factory=Machines)
    clock: Any = field(factory=Clock)
    access: Access = field(factory=Access)
    hub: Hub = field(init=False)
    error: UringError | None = None
    stopping: bool = False
    holding: bool = False
    held: list[Callable[[], None]] = field(factory=list)
    known: dict[int, str] = field(factory=lambda: {1: "127.0.0.1:8081"})
    leader: int = 1
    applied: int = 0
    faults: list[str] = field(factory=list)
    disk_free: float = 1 << 40
    measures: Measures = field(factory=Measures)
    backup: FakeBackup = field(factory=FakeBackup)

    def __attrs_post_init__(self) -> None:
        self.hub = Hub(
            clock=self.clock,
            history=History(memory_history()),
            submit=at_once,
            open_view=lambda: copy_of(self.state),
        )

    def submit(self, command: Command, done: Done) -> None:
        """Apply at once, or when released."""
        if self.error is not None:
            done(self.error)
            return
        self._when_released(lambda: self._apply(command, done))

    def _apply(self, command: Command, done: Done) -> None:
        self.applied += 1
        data = encode(Proposal(1, 1, self.applied, self.applied, [command]))
        applied = self.machines.apply(self.state, self.applied, data)
        assert applied.results is not None
        if applied.tokens:
            self.access.replace(tokens.every(self.state))
        done(applied.results[0])
        self.hub.keep(self.applied, applied.events)
        self.hub.publish(applied.before, applied.events)

    def submit_all(self, commands: Sequence[Command], done: DoneAll) -> None:
        """See Gateway."""
        one_by_one(self.submit, commands, done)

    def query_all(self, queries: Sequence[Query], done: DoneAll) -> None:
        """See Gateway."""
        one_by_one(self.query, queries, done)

    def query(self, query: Query, done: Callable[[Any], None], stale: bool = False) -> None:
        """Answer at once, or when released; a stale read even without a leader."""
        if self.error is not None and not stale:
            done(self.error)
        else:
            self._when_released(lambda: done(self.machines.query(self.state, query)))

    def _when_released(self, act: Callable[[], None]) -> None:
        if self.holding:
            self.held.append(act)
        else:
            act()

    def release(self) -> None:
        """Give the answers that were kept back."""
        held, self.held = self.held, []
        for act in held:
            act()

    def status(self) -> dict[str, Any]:
        """See Gateway."""
        members = [
            {"id": node_id, "address": address, "voter": True}
            for node_id, address in sorted(self.known.items())
        ]
        return {
            "id": 1,
            "role": "Leader",
            "term": 1,
            "leader": self.leader or None,
            "leader_address": self.known.get(self.leader),
            "first_index": 1,
            "last_index": self.applied,
            "commit_index": self.applied,
            "applied_index": self.applied,
            "revision": self.hub.history.next - 1,
            "oldest_revision": self.hub.history.oldest,
            "members": members,
            "cluster": "c" * 32,
            "connected": [],
            "connected_clusters": [],
            "feature_level": 1,
            "feature_level_supported": 1,
            "feature_level_waits_for": [],
            "protocol_versions": [1, 1],
            "instance": "",
            "peer_problems": [],
            "fault_codes": [],
            "backup": None,
            "faults": self.faults,
            "reactor_delay_max_ms": 0.0,
            "version": "0",
        }

    def gauges(self) -> dict[str, float]:
        """See Gateway."""
        return {"disk_free_bytes": self.disk_free, "waiting_commands": len(self.held)}

    def cluster(self) -> list[dict[str, Any]]:
        """See Gateway."""
        about = {"member": True, "voter": True, "connected": True, "instance": ""}
        return [{"id": 1, "address": "127.0.0.1:8081", "role": "Leader", **about}]

    def history(self) -> dict[str, Any]:
        """See Gateway."""
        event = {"ago": 5.0, "kind": "leader", "leader": 1, "was": None, "term": 1}
        about = {"leader": 1, "members": [{"id": 1, "silent": False, "faults": []}]}
        return {"node": 1, "since": 9.0, "silent_after": 3.0, **about, "events": [event]}

    def members(self) -> dict[int, str]:
        """See Gateway."""
        return self.known

    def probe_disk(self) -> Deferred[dict[str, Any]]:
        """See Gateway."""
        if self.error is not None:
            return fail(self.error)
        return succeed({"writes_ms": [0.5]})

    def begin_backup(self) -> FakeBackup:
        """See Gateway."""
        if self.error is not None:
            raise self.error
        return self.backup

    def add_member(self, node_id: int, address: str | None) -> Deferred[None]:
        """See Gateway."""
        if self.error is not None:
            return fail(self.error)
        if node_id not in self.known:
            if address is None:
                return fail(Conflict("the address is not known"))
            self.known[node_id] = address
        return succeed(None)

    def remove_member(self, node_id: int, force: bool = False) -> Deferred[None]:
        """See Gateway."""
        if self.error is not None:
            return fail(self.error)
        if node_id not in self.known:
            return fail(NotFound(f"node {node_id} is no member of this cluster"))
        if len(self.known) == 1 and not force:
            return fail(Conflict("the only voter of a cluster cannot be removed"))
        del self.known[node_id]
        return succeed(None)

    def transfer_leadership(self, node_id: int) -> Deferred[None]:
        """See Gateway."""
        if self.error is not None:
            return fail(self.error)
        if node_id not in self.known:
            return fail(NotFound(f"node {node_id} is no voter of this cluster"))
        self.leader = node_id
        return succeed(None)

    def watch(self, watch: Watch, sink: Sink) -> Subscription:
        """See Gateway."""
        if self.stopping:
            raise Unavailable("the node is stopping")
        return self.hub.subscribe(watch, sink)
