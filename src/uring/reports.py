"""How the other nodes are, as they tell once a second: any node can show the whole cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from attrs import define, field, frozen
from msgspec import Struct

from uring.timeline import Seen
from uring.wire.envelopes import Report

if TYPE_CHECKING:
    from uring.node import Node

EVERY_SECONDS = 1.0
BODY_BYTES_MAX = 4096
_MICROSECONDS = 1_000_000


class Health(Struct, frozen=True):
    """One node, as it saw itself.  New fields get defaults: an older node does not send them."""

    role: str
    term: int
    leader: int
    last_index: int
    commit_index: int
    applied_index: int
    version: str = ""
    log_write_ms: float = 0.0
    """What the last synced write of the log took."""
    reactor_delay_ms: float = 0.0
    """The longest of the last minute."""
    waiting: int = 0
    """Commands of its clients that have no answer yet."""
    faults: tuple[str, ...] = ()
    uptime: float = 0.0
    """Seconds."""
    fault_codes: tuple[str, ...] = ()
    log_writes: int = 0
    """Synced writes of the log within the last minute or two,"""
    log_write_mean_ms: float = 0.0
    """and what one took in the mean."""
    disk_total: int = -1
    """Bytes that the disk has in all; -1 if it does not know."""
    disk_reserve: int = 0
    """Bytes that must be free for new data to be taken."""
    disk_free: int = -1
    """Bytes left where its data is; -1 if it does not know."""
    feature_level_supported: int = 1
    """What its program supports; the cluster's feature level is the lowest of all."""
    wall_time: float = 0.0
    """Its wall clock, in seconds since 1970; nothing depends on it, but people's logs do."""
    commands: int = 0
    """Commands that it has applied since it started, whoever sent them."""
    commits: int = 0
    """Batches of its clients' commands that were committed since it started,"""
    commit_seconds: float = 0.0
    """and how long they took, all together."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Health)


@frozen
class _Received:
    health: Health
    stamp: int
    at: float
    round_trip: float | None


@define
class Reports:
    """Tells the peers how this node is, and remembers what they told."""

    node: Node
    facts: Callable[[], dict[str, float]]
    """What only the surroundings know: ``uptime``, ``disk_free``, ``disk_total``, ``wall_time``."""
    _received: dict[int, _Received] = field(factory=dict, init=False)
    _sent: float = field(default=float("-inf"), init=False)

    def sweep(self, now: float) -> None:
        """Send reports when it is time."""
        if now - self._sent < EVERY_SECONDS:
            return
        self._sent = now
        own = self.own()
        body = _ENCODER.encode(own)
        members = self.node.members_known()
        for peer in list(self._received):
            if peer not in members:
                del self._received[peer]
        self.node.timeline.sweep(now, self._seen(own, members, now))
        for peer in self.node.mesh.connected():
            self.node.mesh.send(peer, [self._report(peer, now, body)])

    def _seen(self, own: Health, members: Iterable[int], now: float) -> dict[int, Seen]:
        """Return what is known of each member, of this node at first hand."""
        found = {}
        for node_id in members:
            last = self._received.get(node_id)
            if node_id == self.node.id:
                found[node_id] = _seen(own, now)
            elif last is not None:
                found[node_id] = _seen(last.health, last.at)
            else:
                found[node_id] = Seen(None)
        return found

    def _report(self, peer: int, now: float, body: bytes) -> Report:
        last = self._received.get(peer)
        return Report(
            to=peer,
            from_=self.node.id,
            stamp=_micro(now),
            echo=0 if last is None else last.stamp,
            held=0 if last is None else _micro(now - last.at),
            body=body,
        )

    def received(self, report: Report) -> None:
        """Take a peer's word of itself; what cannot be read is passed over."""
        now = self.node.clock.seconds()
        if len(report.body) > BODY_BYTES_MAX:
            return
        try:
            health = _DECODER.decode(report.body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return
        round_trip = None
        if report.echo:
            round_trip = max(0.0, now - (report.echo + report.held) / _MICROSECONDS)
        self._received[report.from_] = _Received(health, report.stamp, now, round_trip)

    def own(self) -> Health:
        """Return how this node is."""
        node = self.node
        log_writes, log_write_mean = node.measures.log_write_mean.recent(node.clock.seconds())
        return Health(
            role=node.role(),
            term=node.raft.term,
            leader=node.raft.leader_id,
            last_index=node.directory.log.last_index(),
            commit_index=node.raft.commit,
            applied_index=node.directory.state.applied_index,
            version=node.settings.version,
            log_write_ms=round(node.disk.last_duration * 1000, 3),
            reactor_delay_ms=round(node.measures.longest_delay.recent * 1000, 1),
            waiting=node.proposals.waiting,
            faults=tuple(node.faults()),
            commands=node.measures.commands,
            commits=sum(node.measures.commit.counts),
            commit_seconds=round(node.measures.commit.total, 6),
            feature_level_supported=node.settings.level,
            fault_codes=tuple(node.fault_codes()),
            log_writes=log_writes,
            log_write_mean_ms=round(log_write_mean * 1000, 3),
            disk_reserve=node.settings.disk_reserve,
            **self.facts(),  # type: ignore[arg-type]
        )

    def round_trips(self) -> dict[int, float]:
        """Return the last round trip to each peer, in seconds."""
        return {
            peer: last.round_trip
            for peer, last in self._received.items()
            if last.round_trip is not None
        }

    def cluster(self) -> list[dict[str, Any]]:
        """Return every member with what is known of it, JSON-ready; ``age`` in seconds."""
        now = self.node.clock.seconds()
        conf = self.node.raft.conf_state
        members = self.node.members_known()
        connected = set(self.node.mesh.connected())
        progress = self.node.raft.status().progress if self.node.raft.is_leader else {}
        shown = []
        for node_id in sorted({*members, self.node.id}):
            member = members.get(node_id)
            line: dict[str, Any] = {
                "id": node_id,
                "address": member.address if member else self.node.settings.address,
                "member": member is not None,
                "voter": node_id in conf.voters,
                "instance": member.instance.hex() if member else "",
            }
            if node_id in progress and progress[node_id].match:
                line["match_index"] = progress[node_id].match
            if node_id == self.node.id:
                line.update(msgspec.to_builtins(self.own()), connected=True, age=0.0)
            else:
                line["connected"] = node_id in connected
                last = self._received.get(node_id)
                if last is not None:
                    line.update(msgspec.to_builtins(last.health), age=round(now - last.at, 3))
                    if last.round_trip is not None:
                        line["round_trip_ms"] = round(last.round_trip * 1000, 3)
            shown.append(line)
        return shown


def _seen(health: Health, at: float) -> Seen:
    return Seen(at, health.role, health.term, health.uptime, health.faults)


def _micro(seconds: float) -> int:
    return max(0, int(seconds * _MICROSECONDS))
