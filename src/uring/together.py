"""Many requests with one answer: how they go where each has to be looked at by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

DoneAll: TypeAlias = Callable[[Sequence[Any]], None]
"""Called exactly once with the answers to all, in the order of what was asked; each may be an
error.  Must not raise."""


def one_by_one(
    ask: Callable[[T, Callable[[Any], None]], None], wanted: Sequence[T], done: DoneAll
) -> None:
    """Ask each of ``wanted`` by itself; ``done`` gets the answers when the last one is there."""
    answers: list[Any] = [None] * len(wanted)
    left = len(wanted)

    def slot(place: int) -> Callable[[Any], None]:
        def put(answer: Any) -> None:
            nonlocal left
            answers[place] = answer
            left -= 1
            if not left:
                done(answers)

        return put

    for place, each in enumerate(wanted):
        ask(each, slot(place))
