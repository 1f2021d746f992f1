"""What a node shows of itself: /status, and the figures of the moment for /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uring.wire.hello import NEWEST, OLDEST

if TYPE_CHECKING:
    from uring.node import Node


def shown(node: Node) -> dict[str, Any]:
    """Return what GET /status shows, JSON-ready."""
    conf, log = node.raft.conf_state, node.directory.log
    addresses = node.addresses()
    leader = node.raft.leader_id
    ids = sorted({*conf.voters, *conf.learners, *conf.voters_outgoing})
    return {
        "id": node.id,
        "role": node.role(),
        "term": node.raft.term,
        "leader": leader or None,
        "leader_address": addresses.get(leader),
        "last_index": log.last_index(),
        "first_index": log.first_index(),
        "commit_index": node.raft.commit,
        "applied_index": node.directory.state.applied_index,
        "revision": node.hub.history.next - 1,
        "oldest_revision": node.hub.history.oldest,
        "members": [
            {
                "id": node_id,
                "address": addresses.get(node_id, ""),
                "voter": node_id in conf.voters,
                "feature_level": node.upgrades.of(node_id),
            }
            for node_id in ids
        ],
        "feature_level": node.upgrades.level,
        "feature_level_supported": node.upgrades.supported,
        "feature_level_waits_for": node.upgrades.waits_for(),
        "protocol_versions": [OLDEST, NEWEST],
        "cluster": node.directory.identity.cluster_id.hex() or None,
        "instance": node.directory.identity.instance_id.hex(),
        "connected": sorted(node.mesh.connected()),
        "connected_clusters": node.administration.connected_clusters(),
        "peer_problems": node.mesh.problems(),
        "faults": node.faults(),
        "fault_codes": node.fault_codes(),
        "reactor_delay_max_ms": round(node.measures.longest_delay.ever * 1000, 1),
        "version": node.settings.version,
        "backup": None if node.periodic is None else node.periodic.shown(),
    }


def gauges(node: Node) -> dict[str, float]:
    """Return figures of this moment by the names that /metrics has for them."""
    facts = node.facts()
    last = None if node.periodic is None else node.periodic.last
    return {
        "log_bytes": node.directory.log.bytes_kept,
        "waiting_commands": node.proposals.waiting,
        "waiting_bytes": node.proposals.waiting_bytes,
        "waiting_reads": node.reads.waiting,
        "leases": node.lessor.measured,
        "feature_level": node.upgrades.level,
        "feature_level_supported": node.upgrades.supported,
        "backup_last_timestamp_seconds": 0 if last is None else last.taken,
        "backup_last_bytes": 0 if last is None else last.bytes,
        "backup_last_duration_seconds": 0 if node.periodic is None else node.periodic.seconds,
        "disk_free_bytes": facts.get("disk_free", -1),
        "uptime_seconds": facts.get("uptime", 0),
        "reactor_delay_max_seconds": node.measures.longest_delay.ever,
    }
