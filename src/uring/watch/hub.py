"""Tells every subscription each change once, in order: now, or from the history."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure

from uring.errors import BadRequest, Overloaded, Unavailable, UringError
from uring.machines.events import Event, SwapRefused, decode, numbered
from uring.machines.limits import KEY_BYTES_MAX
from uring.store.history import Position, Record
from uring.watch.audience import Audience
from uring.watch.history import PIECE_BYTES, History
from uring.watch.pieces import Pieces
from uring.watch.subscription import (
    CHANNELS,
    LocalEvent,
    Mode,
    Sink,
    Subscription,
    Told,
    Watch,
    check_channel,
)

Submit: TypeAlias = Callable[[Callable[[], Any], Callable[[Any], None]], None]

SWEEP_SECONDS = 0.5
WAIT_SECONDS = 10.0
"""How long somebody may wait for a revision that has not been reached here."""
STALL_SECONDS = 60.0
"""How long somebody who is behind may read nothing at all."""
SNAPSHOT_SECONDS = 600.0
"""How long a snapshot may take: the database keeps old values meanwhile."""
SNAPSHOTS_MAX = 4
"""Snapshots that are read at a time; others wait."""


@define(eq=False)
class Hub:
    """All subscriptions of a node.  For the reactor thread."""

    clock: Any
    history: History
    submit: Submit
    """Runs a job in a thread that reads and removes files, in order."""
    open_view: Callable[[], Any | None]
    """Returns the state as it is now, for as long as it is not closed; None if it is in motion."""
    has_leader: Callable[[], bool] = lambda: True
    """Without one this node may be the last to hear of anything: no progress is claimed."""
    guarded: Callable[[Callable[[], None]], None] = lambda work: work()
    """Runs what the reactor or a thread calls; a failure there is the node's."""
    log: Logger = field(factory=lambda: Logger(namespace="uring.watch"))
    _audiences: dict[str, Audience] = field(
        factory=lambda: {channel: Audience() for channel in CHANNELS}, init=False
    )
    _all: dict[Subscription, None] = field(factory=dict, init=False)
    _waiting: dict[Subscription, None] = field(factory=dict, init=False)
    """Those who asked for a revision that has not been reached."""
    _queue: deque[Subscription] = field(factory=deque, init=False)
    """Those who are behind and read, one piece each, in turn."""
    _working: Any = field(default=None, init=False)
    _snapshots: int = field(default=0, init=False)
    _swept: float = field(default=0.0, init=False)

    # -- for the doors ---------------------------------------------------------------------------

    def subscribe(self, watch: Watch, sink: Sink) -> Subscription:
        """Begin; ``sink.subscribed`` is called at once, everything else later.

        Raises BadRequest for what can never be told.
        """
        _check(watch)
        subscription = Subscription(
            watch,
            sink,
            next=self.history.next if watch.start is None else max(1, watch.start),
            heard=self.clock.seconds(),
            on_resume=self._resumed,
            on_close=self._drop,
        )
        self._all[subscription] = None
        sink.subscribed(self.history.next - 1)
        if watch.start is None and not watch.snapshot:
            self._go_live(subscription)
        else:
            self._enqueue(subscription)
        return subscription

    def count(self, channel: str) -> int:
        """Return how many subscriptions ``channel`` has."""
        return sum(each.watch.channel == channel for each in self._all)

    # -- for the node ----------------------------------------------------------------------------

    def keep(self, index: int, events: Sequence[Event]) -> None:
        """Append to the history what is about to be committed.  Raises StoreFailed."""
        self._remove(self.history.append(index, events))

    def publish(self, before: int, events: Sequence[Event]) -> None:
        """Tell what was committed, to those who are up to date."""
        if not self._all:
            return
        now = self.clock.seconds()
        for channel in ("kv", "mring"):
            audience = self._audiences[channel]
            if audience.groups:
                told = (
                    Told(revision, channel, event, type(event) is not SwapRefused)
                    for revision, event in numbered(before, events)
                    if event.channel == channel
                )
                for subscription, batch in audience.chosen(told):
                    self._tell_live(subscription, batch, before, now)
        for subscription in list(self._waiting):
            if subscription.next <= self.history.next:
                del self._waiting[subscription]
                self._enqueue(subscription)

    def publish_local(self, event: dict[str, object]) -> None:
        """Tell the channel uring of something that happened to this node alone."""
        told = Told(self.history.next - 1, "uring", LocalEvent(event), False)
        for subscription, batch in self._audiences["uring"].chosen([told]):
            if subscription.sink.full:
                self._end(subscription, Overloaded("events were not read fast enough"), None)
            else:
                self._tell(subscription, batch, self.clock.seconds())

    def sweep(self) -> None:
        """Say how far things are; end what waits for too long.  To be called at every tick."""
        now = self.clock.seconds()
        if now - self._swept < SWEEP_SECONDS:
            return
        self._swept = now
        marks = self.has_leader()
        for subscription in list(self._all):
            idle = now - subscription.heard
            if subscription.mode is Mode.LIVE:
                every = subscription.watch.progress
                if marks and every and idle >= every and not subscription.sink.full:
                    subscription.heard = now
                    self._safely(subscription, "progress", self.history.next - 1)
            else:
                self._end_if_late(subscription, now, idle)

    def replaced(self, revision: int) -> None:
        """The state was replaced by one at ``revision``: what is between was not told here."""
        before = self.history.next
        self.history.reset(revision)
        for subscription in list(self._all):
            following = before if subscription.mode is Mode.LIVE else subscription.next
            if subscription.watch.channel != "uring" and (
                following <= revision or subscription.pieces is not None
            ):
                reason = "this node has skipped changes by a snapshot; resume at another one"
                self._end(
                    subscription, Unavailable(reason), self._resume_point(subscription, before)
                )
            elif subscription.mode is not Mode.LIVE:
                self._enqueue(subscription)

    def stop(self) -> None:
        """End every subscription."""
        for subscription in list(self._all):
            resume = self._resume_point(subscription, self.history.next)
            self._end(subscription, Unavailable("the node is stopping"), resume)
        if self._working is not None and self._working.active():
            self._working.cancel()

    # -- live ------------------------------------------------------------------------------------

    def _go_live(self, subscription: Subscription) -> None:
        subscription.mode = Mode.LIVE
        subscription.position = None
        self._audiences[subscription.watch.channel].add(subscription)

    def _tell_live(
        self, subscription: Subscription, batch: list[Told], before: int, now: float
    ) -> None:
        if subscription.mode is not Mode.LIVE:
            return  # another one ended it meanwhile
        if subscription.sink.full:
            subscription.next = before + 1
            subscription.mode = Mode.BEHIND
            self._audiences[subscription.watch.channel].remove(subscription)
        else:
            self._tell(subscription, batch, now)

    def _tell(self, subscription: Subscription, batch: Sequence[Told], now: float) -> None:
        subscription.heard = now
        subscription.is_fresh = False
        self._safely(subscription, "told", batch)

    def _safely(self, subscription: Subscription, what: str, *about: Any) -> None:
        """Tell the sink; one that fails is dropped, and the others go on."""
        try:
            getattr(subscription.sink, what)(*about)
        except Exception:
            self.log.failure("a subscriber failed and was dropped")
            self._drop(subscription)

    # -- behind ----------------------------------------------------------------------------------

    def _resumed(self, subscription: Subscription) -> None:
        if subscription.mode in (Mode.BEHIND, Mode.SNAPSHOT):
            self._enqueue(subscription)

    def _enqueue(self, subscription: Subscription) -> None:
        if subscription.queued or subscription.mode is Mode.ENDED:
            return
        subscription.queued = True
        self._queue.append(subscription)
        self._work_later()

    def _work_later(self) -> None:
        if self._working is None and self._queue:
            self._working = self.clock.callLater(0, self.guarded, self._work)

    def _work(self) -> None:
        """Tell one piece to one of those who are behind, so that a turn stays short."""
        self._working = None
        if self._queue:
            subscription = self._queue.popleft()
            subscription.queued = False
            self._go_on(subscription)
        self._work_later()

    def _go_on(self, subscription: Subscription) -> None:
        if subscription.mode in (Mode.ENDED, Mode.LIVE) or subscription.reading:
            return
        if subscription.mode is Mode.SNAPSHOT:
            if not subscription.sink.full:
                self._read_snapshot(subscription)
            return
        wanted, following = subscription.next, self.history.next
        if subscription.is_fresh and subscription.watch.snapshot:
            self._begin_snapshot(subscription)
        elif wanted > following:
            subscription.mode = Mode.WAITING
            self._waiting[subscription] = None
        elif wanted < self.history.oldest:
            self._too_old(subscription)
        elif wanted == following:
            self._go_live(subscription)
        elif subscription.sink.full:
            subscription.mode = Mode.BEHIND
        else:
            subscription.mode = Mode.BEHIND
            self._catch_up(subscription)

    def _catch_up(self, subscription: Subscription) -> None:
        records = self.history.recent(subscription.next)
        if records:
            subscription.position = None
            self._tell_records(subscription, records)
            self._enqueue(subscription)
            return
        store, position = self.history.store, subscription.position
        if position is None or not store.seal(position):
            position = subscription.position = store.position(subscription.next)
            store.seal(position)
        subscription.reading = True
        self.submit(
            lambda: position.read(PIECE_BYTES),
            lambda result: self.guarded(lambda: self._was_read(subscription, position, result)),
        )

    def _was_read(self, subscription: Subscription, position: Position, result: Any) -> None:
        subscription.reading = False
        if subscription.mode is Mode.ENDED:
            return
        if isinstance(result, Failure):
            subscription.position = None
            if self.history.store.seal(position):
                self.log.failure("kept changes cannot be read and are dropped", failure=result)
                self._remove(self.history.store.drop_through(subscription.next))
        elif result:
            self._tell_records(subscription, result)
        self._enqueue(subscription)

    def _tell_records(self, subscription: Subscription, records: Sequence[Record]) -> None:
        channel, prefix = subscription.watch.channel, subscription.watch.prefix
        batch = []
        for record in records:
            for revision, event in numbered(record.first - 1, decode(record.payload)):
                if revision < subscription.next or event.channel != channel:
                    continue
                if not prefix or event.key.startswith(prefix):  # type: ignore[union-attr]
                    batch.append(Told(revision, channel, event, True))
        subscription.next = records[-1].end
        if batch:
            self._tell(subscription, batch, self.clock.seconds())

    def _too_old(self, subscription: Subscription) -> None:
        if subscription.is_fresh and subscription.watch.start is not None:
            self._begin_snapshot(subscription)
            return
        reason = "the next changes are not kept any more: too slow"
        self._end(subscription, Overloaded(reason), subscription.next)

    # -- snapshots -------------------------------------------------------------------------------

    def _begin_snapshot(self, subscription: Subscription) -> None:
        view = self.open_view() if self._snapshots < SNAPSHOTS_MAX else None
        if view is None:
            return  # the next sweep tries again
        self._snapshots += 1
        revision, now = self.history.next - 1, self.clock.seconds()
        subscription.mode = Mode.SNAPSHOT
        subscription.pieces = Pieces(subscription.watch, revision, view, now)
        if not subscription.watch.snapshot:
            self._safely(subscription, "compacted", revision, self.history.oldest)
        self._enqueue(subscription)

    def _read_snapshot(self, subscription: Subscription) -> None:
        pieces = subscription.pieces
        subscription.reading = True
        self.submit(
            pieces.read,
            lambda result: self.guarded(lambda: self._piece_read(subscription, pieces, result)),
        )

    def _piece_read(self, subscription: Subscription, pieces: Pieces, result: Any) -> None:
        subscription.reading = False
        if subscription.mode is Mode.ENDED:
            self._close_pieces(pieces)
            return
        if isinstance(result, Failure):
            self.log.failure("a snapshot for a subscriber cannot be read", failure=result)
            self._end(subscription, Unavailable("the snapshot failed; try again"), None)
            return
        items, last = result
        subscription.heard = self.clock.seconds()
        self._safely(subscription, "snapshot", pieces.revision, items, last)
        if last and subscription.mode is Mode.SNAPSHOT:
            subscription.pieces = None
            self._close_pieces(pieces)
            subscription.next = pieces.revision + 1
            subscription.is_fresh = False
            subscription.mode = Mode.BEHIND
        self._enqueue(subscription)

    def _close_pieces(self, pieces: Pieces) -> None:
        self._snapshots -= 1
        pieces.close()

    # -- the end ---------------------------------------------------------------------------------

    def _end_if_late(self, subscription: Subscription, now: float, idle: float) -> None:
        if subscription.mode is Mode.WAITING and idle > WAIT_SECONDS:
            reason = (
                f"revision {subscription.next} has not been reached: this node is at "
                f"{self.history.next - 1}"
            )
            self._end(subscription, Unavailable(reason), subscription.next)
        elif subscription.sink.full and idle > STALL_SECONDS:
            resume = self._resume_point(subscription, self.history.next)
            self._end(subscription, Overloaded("too slow: nothing was read"), resume)
        elif subscription.pieces and now - subscription.pieces.began > SNAPSHOT_SECONDS:
            reason = "too slow: the snapshot took too long"
            self._end(subscription, Overloaded(reason), subscription.watch.start)
        elif subscription.mode is Mode.BEHIND and subscription.is_fresh and idle > STALL_SECONDS:
            reason = "too many snapshots are being read here; try again, or at another node"
            self._end(subscription, Overloaded(reason), subscription.watch.start)
        elif subscription.mode is Mode.BEHIND:
            self._enqueue(subscription)

    def _resume_point(self, subscription: Subscription, following: int) -> int | None:
        """Return the first revision that was not told."""
        if subscription.watch.channel == "uring":
            return None
        if subscription.mode is Mode.LIVE:
            return following
        if subscription.is_fresh and subscription.watch.snapshot:
            return None  # its snapshot was not complete
        return subscription.next

    def _end(self, subscription: Subscription, error: UringError, resume: int | None) -> None:
        self._drop(subscription)
        self._safely(subscription, "ended", error, resume)

    def _drop(self, subscription: Subscription) -> None:
        if subscription.mode is Mode.LIVE:
            self._audiences[subscription.watch.channel].remove(subscription)
        subscription.mode = Mode.ENDED
        self._all.pop(subscription, None)
        self._waiting.pop(subscription, None)
        pieces, subscription.pieces = subscription.pieces, None
        if pieces is not None and not subscription.reading:
            self._close_pieces(pieces)

    def _remove(self, numbers: Sequence[int]) -> None:
        """Remove segments, behind those who may be reading them."""
        for number in numbers:
            self.submit(lambda number=number: self.history.store.files.remove(number), _ignore)  # type: ignore[misc]


def _ignore(result: Any) -> None:
    """What cannot be removed is found and removed at the next opening or reset."""


def _check(watch: Watch) -> None:
    check_channel(watch.channel)
    if len(watch.prefix.encode()) > KEY_BYTES_MAX:
        raise BadRequest(f"a prefix must have at most {KEY_BYTES_MAX} bytes")
    if watch.prefix and watch.channel != "kv":
        raise BadRequest("only keys have prefixes: subscribe to kv, or leave the prefix out")
    if watch.channel == "uring" and (watch.start is not None or watch.snapshot):
        raise BadRequest(
            "events of uring happen to one node and are not kept: subscribe without from and "
            "snapshot, and read GET /status for how things are"
        )
    if watch.snapshot and watch.start is not None:
        raise BadRequest("ask for a snapshot or from a revision, not both")
