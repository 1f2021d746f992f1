"""Watches that go on through all faults: every change once, in order, as the clients were told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from tests.faults.checks import took_effect
from tests.faults.history import now
from tests.sim.linearizable import Operation
from uring.client import Client
from uring.client.watch import Change, Snapshot
from uring.errors import UringError


@frozen
class Event:
    """A change that was told: ``new`` is None for a deletion."""

    revision: int
    key: str
    new: str | None
    old: str | None
    told: int
    """When, by the clock of the history."""


@define(eq=False)
class Watcher:
    """One watch of all keys, from the first revision, at whichever node serves it."""

    client: Client
    events: list[Event] = field(factory=list)
    begun_anew: list[int] = field(factory=list)
    """How many events had been told when a snapshot took the place of some that were not kept."""
    revision: int = 0
    _watch: Any = field(default=None, init=False)
    _running: Deferred[None] | None = field(default=None, init=False)

    def start(self) -> None:
        """Begin to watch."""
        self._watch = self.client.watch("kv", prefix="key-", start=1)
        self._running = Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        async for news in self._watch:
            if isinstance(news, Snapshot):
                if news.begins:
                    self.begun_anew.append(len(self.events))
            elif isinstance(news, Change):
                self._told(news)

    def _told(self, change: Change) -> None:
        ((name, body),) = change.event.items()
        if name != "CasConflict":
            event = Event(change.revision, body["key"], body.get("new"), body["old"], now())
            self.events.append(event)

    @property
    def next(self) -> int:
        """The first revision that it was not told of."""
        return self._watch.next or 0

    async def stop(self) -> str:
        """End the watch; return why it had ended by itself, "" if it had not."""
        await self._watch.close()
        why = ""
        if self._running is not None:
            try:
                await self._running
            except UringError as problem:
                why = f"a watch ended: {problem}"
        await self.client.close()
        return why


def check_watches(watchers: Iterable[Watcher], operations: Iterable[Operation]) -> list[str]:
    """Return what is wrong with what the watches were told, compared with the clients' history."""
    watchers, operations = list(watchers), list(operations)
    found: list[str] = []
    for watcher in watchers:
        found += check_events(watcher.events, watcher.begun_anew, operations)
    told: dict[int, tuple[str, str | None, str | None]] = {}
    for watcher in watchers:
        for event in watcher.events:
            change = (event.key, event.new, event.old)
            if told.setdefault(event.revision, change) != change:
                found.append(
                    f"{event.key}: revision {event.revision} is {told[event.revision]} to "
                    f"one watch and {change} to another"
                )
    return found


def check_events(
    events: list[Event], begun_anew: list[int], operations: list[Operation]
) -> list[str]:
    """Return what is wrong with what one watch was told."""
    found = _in_order(events, begun_anew)
    by_value = {(each.key, each.argument): each for each in operations if each.argument}
    revisions: dict[tuple[str, str], int] = {}
    for event in events:
        if event.new is None:
            continue
        call = by_value.get((event.key, event.new))
        if call is None:
            found.append(f"{event.key}: a watch was told of {event.new}, which nobody wrote")
        elif (event.key, event.new) in revisions:
            found.append(f"{event.key}: a watch was told of {event.new} twice: {event}")
        elif event.told < call.called:
            found.append(f"{event.key}: a watch was told of {event.new} before it was written")
        revisions[event.key, event.new] = event.revision
    if not begun_anew:
        found += _missed(revisions, operations)
    return found + _out_of_time(revisions, operations)


def _in_order(events: list[Event], begun_anew: list[int]) -> list[str]:
    """Revisions grow, and each change finds what the last one left."""
    found: list[str] = []
    holds: dict[str, str | None] = {}
    last = 0
    for position, event in enumerate(events):
        if event.revision <= last:
            found.append(f"{event.key}: revision {event.revision} was told after {last}")
        last = event.revision
        if position in begun_anew:
            holds.clear()
        known = event.key in holds or not begun_anew
        if known and holds.get(event.key) != event.old:
            found.append(f"{event.key}: {event} follows upon {holds.get(event.key)}")
        holds[event.key] = event.new
    return found


def _missed(revisions: dict[tuple[str, str], int], operations: list[Operation]) -> list[str]:
    """Every acknowledged write was told."""
    return [
        f"{each.key}: no watch was told of an acknowledged write: {each}"
        for each in operations
        if each.argument and took_effect(each) and (each.key, each.argument) not in revisions
    ]


def _out_of_time(revisions: dict[tuple[str, str], int], operations: list[Operation]) -> list[str]:
    """A write that began after another had been answered has the greater revision, on any key."""
    timed = [
        (each, revisions[each.key, each.argument])
        for each in operations
        if each.argument and (each.key, each.argument) in revisions
    ]
    answered = sorted((pair for pair in timed if pair[0].known), key=lambda pair: pair[0].returned)
    found: list[str] = []
    position, newest = 0, 0
    for each, revision in sorted(timed, key=lambda pair: pair[0].called):
        while position < len(answered) and answered[position][0].returned < each.called:
            newest = max(newest, answered[position][1])
            position += 1
        if revision < newest:
            found.append(
                f"{each.key}: {each} has revision {revision}; {newest} was answered before"
            )
    return found
