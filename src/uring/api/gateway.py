"""The small interface that the doors need of the node; the node fulfils it, a fake can too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from uring.access import Access
from uring.errors import UringError
from uring.machines.commands import Command, Query, Result
from uring.measures import Measures
from uring.together import DoneAll
from uring.watch import Sink, Subscription, Watch

Done = Callable[[Result | UringError], None]
"""Called exactly once with a command's result or with why there is none.  Must not raise."""


class BackupSource(Protocol):
    """A backup that is being read."""

    on_abort: Callable[[], None]
    """Called when the node gives up on a receiver that takes nothing."""

    def next(self, done: Callable[[bytes | UringError], None]) -> None:
        """Hand the next piece to ``done``, an empty one after the last."""

    def close(self) -> None:
        """End it, whether it was read to its end or not."""


class Gateway(Protocol):
    """What a door may ask of its node.  All calls are made in the reactor thread."""

    access: Access
    """The tokens that there are."""

    measures: Measures
    """What the node counted; the doors count their own part in it."""

    def submit(self, command: Command, done: Done) -> None:
        """Propose ``command``; ``done`` gets its result, or Unavailable, Overloaded,
        DiskFull, OutcomeUnknown.  Never tied to the client's connection: it cannot be cancelled.
        """

    def query(self, query: Query, done: Callable[[Any], None], stale: bool = False) -> None:
        """Read; linearizable unless ``stale``.  ``done`` gets the answer or a UringError."""

    def submit_all(self, commands: Sequence[Command], done: DoneAll) -> None:
        """Submit ``commands`` in this order, at the cost of little more than one."""

    def query_all(self, queries: Sequence[Query], done: DoneAll) -> None:
        """Read all of ``queries``, linearizable, at the cost of little more than one."""

    def status(self) -> dict[str, Any]:
        """Return what GET /status shows, JSON-ready."""

    def gauges(self) -> dict[str, float]:
        """Return figures of this moment that /status does not show, by the names of /metrics."""

    def cluster(self) -> list[dict[str, Any]]:
        """Return every member with what it told of itself lately, JSON-ready."""

    def history(self) -> dict[str, Any]:
        """Return what happened to the cluster lately, as this node saw it, JSON-ready."""

    def probe_disk(self) -> Deferred[dict[str, Any]]:
        """Measure some synced writes to this node's disk: ``{"writes_ms": [...]}``, or Unavailable.

        One measurement at a time, for all who ask meanwhile.
        """

    def members(self) -> dict[int, str]:
        """Return id -> advertised address ("host:port") of every member, learners included."""

    def begin_backup(self) -> BackupSource:
        """Begin to read the whole state as it is now.  Raises Unavailable."""

    def add_member(self, node_id: int, address: str | None) -> Deferred[None]:
        """Add a member (as a learner, promoted when caught up); fires once that is committed,
        at once if it is one already.  Errbacks with a UringError (Conflict: address unknown).
        """

    def remove_member(self, node_id: int, force: bool = False) -> Deferred[None]:
        """Remove a member; NotFound if it is none, Conflict if too few live voters were left
        (``force`` does it even so)."""

    def transfer_leadership(self, node_id: int) -> Deferred[None]:
        """Make ``node_id`` the leader; fires once it is."""

    def watch(self, watch: Watch, sink: Sink) -> Subscription:
        """Tell ``sink`` of changes until either side ends it.

        Raises BadRequest for what cannot be watched, Unavailable.
        """
