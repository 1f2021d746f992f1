"""What a run amounts to in figures: operations, faults, times without a leader that serves.

Somebody leads when writes are answered.  A time without a leader is the time between two answers
to writes, of whichever clients; with a dozen of them that is a few milliseconds otherwise.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from statistics import median

from attrs import define

from tests.faults.history import Fault, History

AFTER = 3_000_000_000
"""Nanoseconds after a fault in which a time without a leader is put down to it."""
NOTABLE = 0.25
"""Seconds without an answer to a write that count as being without a leader."""


@define
class Gap:
    """A time without an answer to any write."""

    began: int
    ended: int

    @property
    def seconds(self) -> float:
        return (self.ended - self.began) / 1e9


@define
class OfKind:
    """All faults of one kind."""

    kind: str
    count: int
    """Faults,"""
    leader: int
    """those that were done to the leader,"""
    gaps: list[float]
    """and the longest time without a leader around each."""


def acknowledged(history: History) -> list[int]:
    """Return when writes were answered, in order."""
    return sorted(call.returned for call in history.calls if call.known and call.kind != "get")


def without_majority(faults: Iterable[Fault]) -> list[Gap]:
    """Return when a majority was missing, by one fault or by two together; in order, apart."""
    faults = list(faults)
    times = []
    for one, other in itertools.product(faults, faults):
        began, ended = max(one.began, other.began), min(one.ended, other.ended)
        down = one.down + (other.down if other is not one else 0)
        if began < ended and 2 * down >= one.members:
            times.append(Gap(began, ended))
    joined: list[Gap] = []
    for gap in sorted(times, key=lambda each: each.began):
        if joined and gap.began <= joined[-1].ended:
            joined[-1].ended = max(joined[-1].ended, gap.ended)
        else:
            joined.append(gap)
    return joined


def gaps(times: list[int], excused: Iterable[Gap] = ()) -> list[Gap]:
    """Return the notable times without an answer, less those in which there could be none."""
    excused = list(excused)
    found = []
    for began, ended in itertools.pairwise(times):
        if ended - began < NOTABLE * 1e9:
            continue
        for gap in excused:
            if gap.began < ended and began < gap.ended:
                found.append(Gap(began, gap.began))
                began = gap.ended
        found.append(Gap(began, ended))
    return [gap for gap in found if gap.seconds >= NOTABLE]


def around(fault: Fault, notable: Iterable[Gap]) -> float:
    """Return the longest notable time without a leader that began with a fault or soon after."""
    until = fault.ended + AFTER
    near = [
        gap.ended - max(gap.began, fault.began)
        for gap in notable
        if fault.began < gap.ended and gap.began < until
    ]
    return max(near, default=0) / 1e9


def of_kinds(history: History) -> list[OfKind]:
    """Return the figures of each kind of fault."""
    notable = gaps(acknowledged(history), without_majority(history.faults))
    found: dict[str, OfKind] = {}
    for fault in history.faults:
        entry = found.setdefault(fault.kind, OfKind(fault.kind, 0, 0, []))
        entry.count += 1
        entry.leader += fault.leader
        entry.gaps.append(around(fault, notable))
    return [found[kind] for kind in sorted(found)]


def shown(seconds: Iterable[float]) -> str:
    """Return median and worst of some times."""
    seconds = list(seconds)
    if not seconds:
        return "none"
    return f"median {median(seconds):.2f} s, worst {max(seconds):.2f} s"


def lines(history: History) -> list[str]:
    """Return the summary of a run, for people."""
    known = Counter(call.kind for call in history.calls if call.known)
    unknown = sum(not call.known and not call.refused for call in history.calls)
    refused = sum(call.refused for call in history.calls)
    last = max((call.called for call in history.calls), default=history.began)
    seconds = max(1e-9, (last - history.began) / 1e9)
    total = sum(known.values())
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(known.items()))
    possible = gaps(acknowledged(history), without_majority(history.faults))
    found = [
        f"operations: {total} answered ({kinds}), {refused} refused, {unknown} of unknown outcome,"
        f" {total / seconds:.0f} a second, on {len(history.keys)} keys",
        "answers: " + ", ".join(f"{name} {count}" for name, count in sorted(history.codes.items())),
        f"without a leader for {NOTABLE:g} s or more while a majority was there: "
        f"{len(possible)} times, {shown(gap.seconds for gap in possible)}",
        "faults (how often, at the leader; longest time without a leader around each):",
    ]
    for each in of_kinds(history):
        found.append(f"  {each.kind:10} {each.count:4} {each.leader:4}   {shown(each.gaps)}")
    return found
