"""/metrics: what the node counts, as Prometheus reads it.  Every series is there from the start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from attrs import define
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from uring.api.gateway import Gateway
from uring.measures import Histogram

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

ROLES = ("Leader", "Follower", "Candidate", "PreCandidate", "Learner")
CODES = (200, 201, 400, 403, 404, 409, 412, 413, 421, 500, 503, 504, 507)
"""Status codes that have a series before they were answered."""

_HISTOGRAMS = {
    "log_write": ("log_write_seconds", "Writing and syncing one batch of the log"),
    "batch_entries": ("log_batch_entries", "Entries in one synced batch of the log"),
    "commit": ("commit_seconds", "From proposing a batch of this node's clients to applying it"),
    "apply": ("apply_seconds", "Applying what was committed, in one reactor turn"),
    "reactor_delay": ("reactor_delay_seconds", "How late the reactor was with its tick"),
}
_COUNTERS = {
    "commands": ("commands_applied", "Commands applied, whoever sent them"),
    "entries": ("entries_applied", "Log entries applied"),
    "leader_changes": ("leader_changes", "Times that this node saw another leader, or none"),
    "messages": ("websocket_messages", "WebSocket messages received"),
    "backups": ("backups", "Periodic backups that are complete"),
    "backup_failures": ("backup_failures", "Periodic backups that failed"),
}
_GAUGES = {
    "term": "The node's term",
    "last_index": "The last entry of the log",
    "first_index": "The first entry that the log still has",
    "commit_index": "The last entry known to be committed",
    "applied_index": "The last entry applied",
    "log_bytes": "Bytes of the entries that the log keeps",
    "waiting_commands": "Commands without an answer yet",
    "waiting_bytes": "Bytes of the commands without an answer yet",
    "waiting_reads": "Linearizable reads without an answer yet",
    "leases": "Leases whose time this node measures, as the leader",
    "feature_level": "The feature level of the cluster, as far as this node has applied the log",
    "feature_level_supported": "The feature level that this node's program supports",
    "backup_last_timestamp_seconds": "When the newest periodic backup was taken, or 0",
    "backup_last_bytes": "Its size",
    "backup_last_duration_seconds": "How long the last one took that this process made",
    "disk_free_bytes": "Bytes left where the data is; -1 if unknown",
    "uptime_seconds": "Seconds since the node started",
    "connections": "Connections of HTTP clients",
    "websockets": "Connections of WebSocket clients",
    "reactor_delay_max_seconds": "The longest delay of the reactor since the start",
}


@define(eq=False)
class NodeCollector(Collector):
    """Reads the node when it is scraped; nothing is computed in between."""

    gateway: Gateway
    counts: Callable[[], tuple[int, int]]
    """Returns how many HTTP connections and how many WebSockets are open."""
    bounds: Mapping[str, float]
    """Every bound of the node by its name."""

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        status, gauges = self.gateway.status(), self.gateway.gauges()
        gauges["connections"], gauges["websockets"] = self.counts()
        yield InfoMetricFamily("uring", "The node", {"version": str(status["version"])})
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"uring_{name}", text, gauges.get(name, status.get(name, 0)))
        yield _labelled("role", "1 for the role that the node has", "role", ROLES, status["role"])
        has_leader = int(status["leader"] is not None)
        yield GaugeMetricFamily("uring_has_leader", "Whether the node knows a leader", has_leader)
        yield GaugeMetricFamily("uring_faults", "Faults that /status lists", len(status["faults"]))
        limits = GaugeMetricFamily("uring_limit", "Bounds, by name", labels=["name"])
        for name, bound in self.bounds.items():
            limits.add_metric([name], bound)
        yield limits
        yield from self._counted()
        yield from self._peers()

    def _counted(self) -> Iterator[Metric]:
        measures = self.gateway.measures
        for field, (name, text) in _COUNTERS.items():
            yield CounterMetricFamily(f"uring_{name}", text, getattr(measures, field))
        for field, (name, text) in _HISTOGRAMS.items():
            yield _histogram(f"uring_{name}", text, getattr(measures, field))
        answers = CounterMetricFamily("uring_http_answers", "HTTP answers", labels=["code"])
        for code in sorted({*CODES, *measures.answers}):
            answers.add_metric([str(code)], measures.answers[code])
        yield answers

    def _peers(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("uring_peer_connected", "Whether a peer is connected", labels=["id"])
        lag = GaugeMetricFamily(
            "uring_peer_applied_index", "What a peer had applied when it last told", labels=["id"]
        )
        trip = GaugeMetricFamily(
            "uring_peer_round_trip_seconds", "The last round trip to a peer", labels=["id"]
        )
        for peer in self.gateway.cluster()[: 64 + 1]:
            name = [str(peer["id"])]
            up.add_metric(name, int(peer.get("connected", False)))
            lag.add_metric(name, peer.get("applied_index", 0))
            trip.add_metric(name, peer.get("round_trip_ms", 0.0) / 1000)
        yield from (up, lag, trip)


def _labelled(
    name: str, text: str, label: str, values: Iterable[str], present: str
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"uring_{name}", text, labels=[label])
    for value in values:
        family.add_metric([value], int(value == present))
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text)
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    family.add_metric([], buckets, histogram.total)
    return family


def make_registry(
    gateway: Gateway, counts: Callable[[], tuple[int, int]], bounds: Mapping[str, float]
) -> CollectorRegistry:
    """Return what is scraped: the node, its process, its garbage collector."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(gateway, counts, bounds))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """Return the text that Prometheus reads."""
    return generate_latest(registry)
