"""What must hold, whatever happened: every key linearizable, nothing acknowledged lost, all equal.

Two checkers look at each key.  :mod:`tests.sim.linearizable` searches for an order that explains
all answers.  :func:`contradictions` searches for nothing: it compares intervals of time, and says
in words what cannot be.  They share no code, and neither knows how the server works.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define

from tests.sim.linearizable import FOREVER, Operation, is_linearizable


@define
class Write:
    """A write that took effect, somewhere between ``earliest`` and ``latest``."""

    operation: Operation
    earliest: int
    latest: int
    """FOREVER if it may never have."""


@define
class Sight:
    """Somebody saw ``value`` at some time between ``began`` and ``ended``."""

    operation: Operation
    value: str | None
    began: int
    ended: int


def sights(operations: Iterable[Operation]) -> list[Sight]:
    """Return which values the clients were shown; deleted and absent is None."""
    found = []
    for each in operations:
        if not each.known:
            continue
        value: object = each.answer
        if each.kind == "cas":
            value = each.check if each.answer[0] else each.answer[1]
        if value is None or isinstance(value, str):
            found.append(Sight(each, value, each.called, each.returned))
    return found


def took_effect(operation: Operation) -> bool:
    """Tell whether the client was told that its write changed the key."""
    return operation.known and (operation.kind != "cas" or bool(operation.answer[0]))


def writes(operations: Iterable[Operation], seen: Iterable[Sight]) -> list[Write]:
    """Return the writes, each with when it took effect at the latest: answered, or seen."""
    first_seen: dict[str, int] = {}
    for sight in seen:
        if sight.value is not None:
            first_seen[sight.value] = min(sight.ended, first_seen.get(sight.value, FOREVER))
    found = []
    for each in operations:
        if each.kind == "get" or (each.known and not took_effect(each)):
            continue
        latest = each.returned if each.known else FOREVER
        if each.argument is not None:
            latest = min(latest, first_seen.get(each.argument, FOREVER))
        found.append(Write(each, each.called, latest))
    return found


def contradictions(operations: Iterable[Operation]) -> list[str]:
    """Return what cannot be in the history of one key, whose values are all different.

    Every sentence is a proof; that there is none does not prove that all is well.
    """
    operations = list(operations)
    seen = sights(operations)
    done = writes(operations, seen)
    by_value = {write.operation.argument: write for write in done if write.operation.argument}
    deletes = [write for write in done if write.operation.kind == "delete"]
    found = []
    for sight in seen:
        if sight.value is None:
            found += _lost(sight, done, deletes)
        elif sight.value not in by_value:
            found.append(f"nobody wrote what was seen: {sight.operation}")
        else:
            found += _overwritten(sight, by_value[sight.value], done)
    return found


def _overwritten(sight: Sight, source: Write, done: list[Write]) -> list[str]:
    """A value cannot be seen before it was written, or after something newer took effect."""
    if sight.ended < source.earliest:
        return [f"seen before it was written: {sight.operation}; written by {source.operation}"]
    for write in done:
        newer = write is not source and source.latest < write.earliest
        if newer and write.latest < sight.began and write.operation is not sight.operation:
            return [
                f"overwritten before it was seen: {sight.operation}; written by "
                f"{source.operation}, overwritten by {write.operation}"
            ]
    return []


def _lost(sight: Sight, done: list[Write], deletes: list[Write]) -> list[str]:
    """A key cannot be absent after a write, unless a delete may have come between."""
    for write in done:
        if write.operation.argument is None or write.latest >= sight.began:
            continue
        if not any(
            each.operation is not sight.operation
            and each.earliest < sight.ended
            and each.latest > write.earliest
            for each in deletes
        ):
            return [f"lost: {write.operation} was there, {sight.operation} found nothing"]
    return []


def check_key(operations: list[Operation]) -> list[str]:
    """Return what is wrong with the history of one key."""
    wrong = contradictions(operations)
    if not is_linearizable(operations):
        wrong.append("no order of the operations explains what the clients were told")
    return wrong


def by_key(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Return the operations on each key."""
    found: dict[str, list[Operation]] = {}
    for each in operations:
        found.setdefault(each.key, []).append(each)
    return found
