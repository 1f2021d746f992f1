"""What clients did and were told, and everything else that happened, by one clock."""

from __future__ import annotations

import time
from collections import Counter
from random import Random
from typing import Any

from attrs import define, field

from tests.sim.linearizable import Operation

HOT_KEYS = 5
OPERATIONS_A_KEY = 220
"""After so many calls a key is left alone, so that a checker's work for it stays small,"""
UNKNOWN_A_KEY = 10
"""or after so many whose outcome is unknown: each of them doubles what must be considered."""


def now() -> int:
    """Return nanoseconds of a clock that nothing sets."""
    return time.monotonic_ns()


@define(eq=False)
class Call(Operation):
    """One operation, and by which door it went in."""

    node: int = 0
    door: str = ""
    refused: bool = False
    """Whether the client was told for certain that nothing happened."""
    problem: str = ""


@define(eq=False)
class Fault:
    """Something that was done to the cluster."""

    kind: str
    detail: str
    began: int
    lane: int
    ended: int = 0
    """When it was undone."""
    leader: bool = False
    """Whether the leader was among those it was done to."""
    down: int = 0
    """How many members cannot work with the others at the same time because of it,"""
    members: int = 1
    """and how many there were."""

    @property
    def majority(self) -> bool:
        """Whether, as far as this fault goes, a majority could still work together."""
        return 2 * self.down < self.members


@define(eq=False)
class Span:
    """A stretch of one node's life, for the timeline."""

    slot: int
    state: str
    began: int
    ended: int = 0
    label: str = ""


@define(eq=False)
class History:
    """Calls, faults and the lives of nodes."""

    random: Random
    began: int = field(factory=now)
    calls: list[Call] = field(factory=list)
    faults: list[Fault] = field(factory=list)
    spans: list[Span] = field(factory=list)
    notes: list[tuple[int, str]] = field(factory=list)
    violations: list[str] = field(factory=list)
    codes: Counter[str] = field(factory=Counter)
    keys: list[str] = field(factory=list)
    """Every key ever used; the last few are the hot ones."""
    _hot: list[str] = field(factory=list, init=False)
    _used: Counter[str] = field(factory=Counter, init=False)
    _unknown: Counter[str] = field(factory=Counter, init=False)
    _open: dict[tuple[int, str], Span] = field(factory=dict, init=False)

    def key(self) -> str:
        """Return a hot key; new ones take the place of those that were used enough."""
        self._hot = [
            key
            for key in self._hot
            if self._used[key] < OPERATIONS_A_KEY and self._unknown[key] < UNKNOWN_A_KEY
        ]
        while len(self._hot) < HOT_KEYS:
            self.keys.append(f"key-{len(self.keys)}")
            self._hot.append(self.keys[-1])
        return self.random.choice(self._hot)

    def old_key(self) -> str:
        """Return any key that was ever used."""
        return self.random.choice(self.keys) if self.keys else self.key()

    def call(self, call: Call) -> Call:
        """Note that a client is about to ask."""
        self._used[call.key] += 1
        self.calls.append(call)
        return call

    def unanswered(self, call: Call, problem: str) -> None:
        """Note that a client was refused, or not told what became of its call."""
        call.problem = problem
        if call.kind != "get" and not call.refused:
            self._unknown[call.key] += 1

    def violated(self, text: str) -> None:
        """Note what must never happen."""
        self.violations.append(text)
        self.note(f"VIOLATION: {text}")

    def note(self, text: str) -> None:
        """Note anything worth reading in the timeline; print it as well."""
        at = now()
        self.notes.append((at, text))
        print(f"{(at - self.began) / 1e9:8.2f}  {text}", flush=True)

    def span(self, slot: int, row: str, state: str, label: str = "") -> None:
        """End the last stretch of a node in ``row`` and begin another, unless it is the same."""
        at, last = now(), self._open.get((slot, row))
        if last is not None:
            if (last.state, last.label) == (state, label):
                return
            last.ended = at
        if state:
            self._open[slot, row] = Span(slot, state, at, label=label)
            self.spans.append(self._open[slot, row])
        else:
            self._open.pop((slot, row), None)

    def close(self) -> None:
        """End every stretch that has not ended."""
        for span in self._open.values():
            span.ended = now()
        for fault in self.faults:
            fault.ended = fault.ended or now()

    def checked(self) -> list[Operation]:
        """Return what an order must explain: everything that was not refused for certain."""
        return [call for call in self.calls if not call.refused]


def answered(call: Call, answer: Any) -> None:
    """Note what a client was told."""
    call.answer, call.known, call.returned = answer, True, now()
