"""What happened to the cluster lately, as this node saw it: who led, who was silent, what failed.

Kept in memory for an hour, so that a page that is opened after a failure still shows it.  Nothing
depends on it; it is for people.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field, frozen

SILENT_SECONDS = 3.0
"""A member that tells how it is once a second, and has not done so for so long, is silent."""
KEPT_SECONDS = 3600.0
EVENTS_MAX = 500
"""The oldest of more are dropped, however young: a link that flaps shall cost nothing."""
_CANDIDATES = ("PreCandidate", "Candidate")


@frozen
class Seen:
    """What is known of one member."""

    heard: float | None
    """When it last told how it is (seconds of the node's clock), None if it never has."""
    role: str = "Follower"
    term: int = 0
    uptime: float = 0.0
    faults: tuple[str, ...] = ()


@frozen
class _Event:
    at: float
    kind: str
    about: dict[str, Any]


@define
class _Member:
    """What was noted of a member last; events are told where that changes."""

    patience: float
    """Its silence counts from here on, at the earliest."""
    silent: bool = False
    uptime: float = 0.0
    faults: tuple[str, ...] = ()


@define
class Timeline:
    """Takes note of changes.  Times are seconds of one clock, which the caller reads."""

    _id: int
    """The node that keeps this."""
    _began: float
    _events: deque[_Event] = field(factory=lambda: deque(maxlen=EVENTS_MAX), init=False)
    _members: dict[int, _Member] = field(factory=dict, init=False)
    _campaigning: set[int] = field(factory=set, init=False)
    _leader: int = field(default=0, init=False)
    _swept: float | None = field(default=None, init=False)
    _dropped: float = field(default=float("-inf"), init=False)
    """Of what was before this time not everything is kept."""

    def leader(self, now: float, leader: int, term: int) -> None:
        """Take note of who leads; 0 for nobody."""
        if leader != self._leader:
            self._note(now, "leader", leader=leader or None, was=self._leader or None, term=term)
            self._leader = leader

    def role(self, now: float, node: int, role: str, term: int) -> None:
        """Take note of a node's role: only that it campaigns is news, who leads is told anyway."""
        if role not in _CANDIDATES:
            self._campaigning.discard(node)
        elif node not in self._campaigning:
            self._campaigning.add(node)
            self._note(now, "campaign", node=node, term=term)

    def sweep(self, now: float, members: Mapping[int, Seen]) -> None:
        """Compare what is known of the members with what was; called about once a second.

        When that comes late, this node stood still itself: nobody else is called silent for it.
        """
        before, self._swept = self._swept, now
        if before is not None and now - before > SILENT_SECONDS:
            self._note(now, "stalled", node=self._id, seconds=round(now - before, 1))
            for known in self._members.values():
                known.patience = now
        self._membership(now, members)
        for node, seen in sorted(members.items()):
            self._look(now, node, self._members[node], seen)
        while self._events and now - self._events[0].at > KEPT_SECONDS:
            self._dropped = self._events.popleft().at

    def _membership(self, now: float, members: Iterable[int]) -> None:
        first = not self._members
        for node in sorted(set(members) - self._members.keys()):
            self._members[node] = _Member(patience=now)
            if not first:
                self._note(now, "joined", node=node)
        for node in sorted(self._members.keys() - set(members)):
            del self._members[node]
            self._campaigning.discard(node)
            self._note(now, "left", node=node)

    def _look(self, now: float, node: int, known: _Member, seen: Seen) -> None:
        heard = known.patience if seen.heard is None else max(seen.heard, known.patience)
        silent = now - heard > SILENT_SECONDS
        if silent:
            if not known.silent:
                self._note(heard, "silent", node=node)
            known.silent = True
            return
        if known.silent:
            if seen.heard is None or seen.heard <= known.patience:
                return  # all that is new is our patience
            self._note(seen.heard, "heard", node=node)
            known.silent = False
        if seen.uptime < known.uptime:
            self._note(now, "restarted", node=node)
        known.uptime = seen.uptime
        if node != self._id:
            # Reports come once a second: where somebody leads by now, the campaign is over.
            self.role(now, node, "" if self._leader else seen.role, seen.term)
        for fault in sorted(set(seen.faults) - set(known.faults)):
            self._note(now, "fault", node=node, fault=fault)
        for fault in sorted(set(known.faults) - set(seen.faults)):
            self._note(now, "mended", node=node, fault=fault)
        known.faults = seen.faults

    def _note(self, at: float, kind: str, **about: Any) -> None:
        if len(self._events) == EVENTS_MAX:
            self._dropped = self._events[0].at
        self._events.append(_Event(at, kind, about))

    def shown(self, now: float) -> dict[str, Any]:
        """Return all that is kept, oldest first, JSON-ready; times are seconds ago.

        Nothing is missing from ``since`` on; ``leader`` and ``members`` are as they are now.
        """
        since = max(self._began, self._dropped, now - KEPT_SECONDS)
        return {
            "node": self._id,
            "since": round(now - since, 3),
            "silent_after": SILENT_SECONDS,
            "leader": self._leader or None,
            "members": [
                {"id": node, "silent": known.silent, "faults": list(known.faults)}
                for node, known in sorted(self._members.items())
            ],
            "events": [
                {"ago": round(now - event.at, 3), "kind": event.kind, **event.about}
                for event in sorted(self._events, key=lambda event: event.at)
            ],
        }
