"""A real node with a clock, disks and a mesh that do only what they are told."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock

from tests.support.disk import ManualDisk
from uring.machines.levels import LEVEL
from uring.machines.table import Machines
from uring.members import found_cluster
from uring.node import Node
from uring.nodesettings import NodeSettings
from uring.raft.core import RawNode
from uring.raft.settings import Settings
from uring.store.directory import DataDirectory, open_directory
from uring.wire.codec import PeerMessage, seal

TICK = 0.05
ELECTION = 1.0


@define
class RecordingMesh:
    """Keeps what is sent; everybody is connected, but who is ``away``."""

    away: set[int] = field(factory=set)
    renewed: list[int] = field(factory=list)
    sent: list[tuple[int, PeerMessage]] = field(factory=list)
    members: dict[int, str] = field(factory=dict)

    def send(self, to: int, messages: Sequence[PeerMessage]) -> bool:
        self.sent.extend((to, message) for message in messages)
        return True

    def set_members(self, members: Mapping[int, str]) -> None:
        self.members = dict(members)

    def renew(self, peer: int) -> None:
        self.renewed.append(peer)

    def connected(self) -> set[int]:
        return set(range(1, 10)) - self.away

    def problems(self) -> list[dict[str, Any]]:
        return []


@define
class StallableDisk(ManualDisk):
    """A disk whose job under way can be said to have begun at some time."""

    since: float | None = None

    def busy_since(self) -> float | None:
        return self.since


@define
class Bench:
    """A node on the bench, and everything it was handed."""

    node: Node
    clock: Clock
    disk: StallableDisk
    background: StallableDisk
    reader: StallableDisk
    mesh: RecordingMesh
    directory: DataDirectory
    stopped: list[str]

    def settle(self) -> None:
        """Let turns pass and disks work until neither has anything left to do."""
        disks = (self.disk, self.background, self.reader)
        for _ in range(100):
            self.clock.advance(0)
            if not any(disk.pending for disk in disks):
                self.clock.advance(0)
                if not any(disk.pending for disk in disks):
                    return
            for disk in disks:
                disk.run_all()
        raise AssertionError("the node does not come to rest")

    def pass_time(self, seconds: float) -> None:
        """Let ``seconds`` pass, tick by tick, without the disks working."""
        for _ in range(round(seconds / TICK)):
            self.clock.advance(TICK)

    def submit(self, command: Any) -> list[Any]:
        """Submit ``command``; the list gets its answer."""
        answers: list[Any] = []
        self.node.submit(command, answers.append)
        return answers

    def query(self, query: Any, stale: bool = False) -> list[Any]:
        """Ask ``query``; the list gets its answer."""
        answers: list[Any] = []
        self.node.query(query, answers.append, stale)
        return answers

    def close(self) -> None:
        self.node.stop()
        self.directory.close()


def make_bench(
    path: str,
    bootstrap: bool = True,
    node_id: int = 1,
    free_bytes: Callable[[], int] | None = None,
    founded_at: int = LEVEL,
    **settings: Any,
) -> Bench:
    """Return a node that has started in ``path``, the founder of a cluster or a stranger."""
    directory = open_directory(path, node_id)
    if bootstrap and not directory.identity.cluster_id:
        found_cluster(directory, f"127.0.0.1:808{node_id}", b"c" * 16, founded_at)
    clock, mesh = Clock(), RecordingMesh()
    stopped: list[str] = []
    disk, background, reader = StallableDisk(), StallableDisk(), StallableDisk()
    raft = RawNode(
        Settings(
            node_id=node_id,
            election_ticks=20,
            heartbeat_ticks=2,
            async_storage_writes=True,
            disable_proposal_forwarding=True,
            step_down_on_removal=True,
            applied=directory.state.applied_index,
        ),
        directory.log,
        random.Random(1),
        seal=seal,
    )
    node = Node(
        settings=NodeSettings(
            node_id=node_id,
            address=f"127.0.0.1:808{node_id}",
            version="0",
            tick=TICK,
            election=ELECTION,
            **settings,
        ),
        clock=clock,
        raft=raft,
        directory=directory,
        disk=disk,
        background=background,
        reader=reader,
        mesh=mesh,
        machines=Machines(),
        fail_stop=stopped.append,
        free_bytes=free_bytes,
    )
    node.start()
    return Bench(node, clock, disk, background, reader, mesh, directory, stopped)
