"""Is there one order of the operations on a key that explains everything clients were told?

The search of Wing and Gong with Lowe's memory of states already tried.  An operation whose outcome
is unknown may take effect at any time after it was called, or never.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from attrs import define

FOREVER = 1 << 62
"""When an operation returned that never did."""

UNTOLD = object()
"""What a put answers whose door does not tell the old value."""

Kind = Literal["get", "put", "delete", "cas"]


@define
class Operation:
    """One call of a client on one key.

    ``argument`` is what put and cas would store, ``check`` what cas expects.  ``answer`` is what
    was told: the value for get, the old value (or :data:`UNTOLD`) for put, the old value for
    delete, (stored, current) for cas.
    """

    client: int
    key: str
    kind: Kind
    called: int
    argument: str | None = None
    check: str | None = None
    returned: int = FOREVER
    answer: Any = None
    known: bool = False
    """Whether it was answered; an unknown one may have happened or not, even later."""

    def __str__(self) -> str:
        what = {
            "get": "get",
            "put": f"put {self.argument}",
            "delete": "delete",
            "cas": f"cas {self.check} -> {self.argument}",
        }[self.kind]
        end = f"{self.returned}: {self.answer}" if self.known else "unknown"
        return f"client {self.client} {what} [{self.called}, {end}]"


def step(operation: Operation, value: str | None) -> tuple[bool, str | None]:
    """Return whether the answer fits a key that holds ``value``, and what it holds then."""
    known, answer = operation.known, operation.answer
    if operation.kind == "get":
        return not known or answer == value, value
    if operation.kind == "put":
        return not known or answer is UNTOLD or answer == value, operation.argument
    if operation.kind == "delete":
        return not known or answer == value, None
    if value == operation.check:
        return not known or bool(answer[0]), operation.argument
    return not known or (not answer[0] and answer[1] == value), value


def relevant(operations: Iterable[Operation]) -> list[Operation]:
    """Leave out what cannot matter: unknown reads, unknown writes that nobody ever saw.

    A value that nobody saw was overwritten unseen, by another write that nobody knows of, or
    stands at the end: in each case the rest is explained without it as well.
    """
    operations = list(operations)
    seen: set[str | None] = set()
    for each in operations:
        seen.add(each.check)
        if each.known:
            seen.update(each.answer if each.kind == "cas" else (each.answer,))
    return [
        each
        for each in operations
        if each.known or each.kind == "delete" or (each.kind != "get" and each.argument in seen)
    ]


def is_linearizable(operations: Iterable[Operation], initial: str | None = None) -> bool:
    """Tell whether the operations, all on one key, can have happened one after the other."""
    todo = sorted(relevant(operations), key=lambda each: each.called)
    must = sum(1 << i for i, each in enumerate(todo) if each.known)
    seen: set[tuple[int, str | None]] = set()
    stack: list[tuple[int, str | None]] = [(0, initial)]
    while stack:
        done, value = stack.pop()
        if done & must == must:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        stack.extend(_next(todo, done, value))
    return False


def _next(todo: list[Operation], done: int, value: str | None) -> list[tuple[int, str | None]]:
    """Return what may come next: nothing that was called after another had returned."""
    bound = FOREVER
    found: list[tuple[int, str | None]] = []
    for position, each in enumerate(todo):
        if done >> position & 1:
            continue
        if each.called > bound:
            break
        bound = min(bound, each.returned)
        fits, after = step(each, value)
        if fits:
            found.append((done | 1 << position, after))
    found.reverse()  # the first called is tried first
    return found


def offending_keys(history: Iterable[Operation]) -> list[str]:
    """Return the keys whose history no order explains."""
    by_key: dict[str, list[Operation]] = {}
    for each in history:
        by_key.setdefault(each.key, []).append(each)
    return [key for key in sorted(by_key) if not is_linearizable(by_key[key])]
