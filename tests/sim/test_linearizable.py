"""The checker of histories: it can say yes, and above all it can say no."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sim.linearizable import (
    FOREVER,
    UNTOLD,
    Kind,
    Operation,
    is_linearizable,
    offending_keys,
    relevant,
    step,
)


def operation(
    kind: Kind,
    called: int,
    returned: int = FOREVER,
    answer: Any = None,
    argument: str | None = None,
    check: str | None = None,
    key: str = "k",
) -> Operation:
    """Return a call; without a time of return its outcome is unknown."""
    known = returned != FOREVER
    return Operation(1, key, kind, called, argument, check, returned, answer, known)


def put(value: str, called: int, returned: int = FOREVER, old: str | None = None) -> Operation:
    return operation("put", called, returned, old, value)


def get(value: str | None, called: int, returned: int) -> Operation:
    return operation("get", called, returned, value)


def cas(
    check: str | None, value: str, called: int, returned: int = FOREVER, answer: Any = None
) -> Operation:
    return operation("cas", called, returned, answer, value, check)


def by_brute_force(history: list[Operation]) -> bool:
    """Try every order of every choice of the unknown ones."""
    known = [each for each in history if each.known]
    unknown = [each for each in history if not each.known]
    for count in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, count):
            for order in itertools.permutations([*known, *some]):
                if _explains(order):
                    return True
    return False


def _explains(order: tuple[Operation, ...]) -> bool:
    value: str | None = None
    for position, each in enumerate(order):
        if any(later.returned < each.called for later in order[position + 1 :]):
            return False
        fits, value = step(each, value)
        if not fits:
            return False
    return True


class LinearizableTests(SynchronousTestCase):
    def test_one_after_the_other(self) -> None:
        """A client alone sees what it wrote."""
        history = [
            put("1", 1, 2),
            get("1", 3, 4),
            cas("1", "2", 5, 6, (True, None)),
            get("2", 7, 8),
        ]
        self.assertTrue(is_linearizable(history))

    def test_stale_read(self) -> None:
        """A read that misses a write that had returned is refused."""
        self.assertFalse(is_linearizable([put("1", 1, 2), get(None, 3, 4)]))

    def test_lost_write(self) -> None:
        """A write that was seen once and is gone later is refused."""
        self.assertFalse(is_linearizable([put("1", 1, 9), get("1", 2, 3), get(None, 4, 5)]))

    def test_concurrent(self) -> None:
        """A read during a write may see it or not, but not first yes and then no."""
        self.assertTrue(is_linearizable([put("1", 1, 9), get(None, 2, 3), get("1", 4, 5)]))
        self.assertTrue(is_linearizable([put("1", 1, 9), get(None, 2, 3), get(None, 4, 5)]))

    def test_value_never_written(self) -> None:
        """A value out of nowhere is refused: its write was said to have failed for certain."""
        self.assertFalse(is_linearizable([get("1", 1, 2)]))

    def test_applied_twice(self) -> None:
        """A put whose own value is the old value was applied twice."""
        self.assertFalse(is_linearizable([put("1", 1, 2, "1")]))

    def test_put_that_is_not_told_the_old_value(self) -> None:
        """Such an answer fits whatever was there; the put itself still happened."""
        untold = operation("put", 2, 3, UNTOLD, "b")
        self.assertTrue(is_linearizable([put("a", 0, 1), untold, get("b", 4, 5)]))
        self.assertFalse(is_linearizable([put("a", 0, 1), untold, get("a", 4, 5)]))

    def test_wrong_old_value(self) -> None:
        """A put that answers another old value than the key had is refused."""
        self.assertFalse(is_linearizable([put("1", 1, 2), put("2", 3, 4, None)]))

    def test_two_swaps(self) -> None:
        """Two swaps from the same value cannot both have stored."""
        stored = (True, None)
        self.assertFalse(
            is_linearizable([cas(None, "1", 1, 4, stored), cas(None, "2", 2, 5, stored)])
        )

    def test_failed_swap(self) -> None:
        """A swap that failed must have found another value than it expected."""
        self.assertTrue(is_linearizable([put("1", 1, 2), cas("0", "2", 3, 4, (False, "1"))]))
        self.assertFalse(is_linearizable([put("1", 1, 2), cas("1", "2", 3, 4, (False, "1"))]))

    def test_deleted(self) -> None:
        """After a delete the key holds nothing until the next write."""
        gone = operation("delete", 3, 4, "1")
        self.assertTrue(is_linearizable([put("1", 1, 2), gone, get(None, 5, 6)]))
        self.assertFalse(is_linearizable([put("1", 1, 2), gone, get("1", 5, 6)]))

    def test_unknown_write_late(self) -> None:
        """A write with an unknown outcome may take effect long after it was called."""
        history = [put("1", 1), get(None, 2, 3), get("1", 8, 9)]
        self.assertTrue(is_linearizable(history))

    def test_unknown_write_never(self) -> None:
        """A write with an unknown outcome may never take effect."""
        self.assertTrue(is_linearizable([put("1", 1), get(None, 8, 9)]))

    def test_unknown_write_once(self) -> None:
        """A write with an unknown outcome takes effect once at most."""
        history = [put("1", 1), get("1", 2, 3), put("2", 4, 5, "1"), get("1", 6, 7)]
        self.assertFalse(is_linearizable(history))

    def test_unknown_write_not_before_its_call(self) -> None:
        """A write does not take effect before it was called."""
        self.assertFalse(is_linearizable([get("1", 1, 2), put("1", 3)]))

    def test_unseen_writes_do_not_matter(self) -> None:
        """However many unknown writes nobody saw, the search is short."""
        history = [put(str(i), i) for i in range(200)] + [get(None, 300, 301)]
        self.assertEqual(len(relevant(history)), 1)
        self.assertTrue(is_linearizable(history))

    def test_keys_apart(self) -> None:
        """The key with the impossible history is named, and no other."""
        good = operation("put", 1, 2, None, "1", key="good")
        bad = operation("get", 1, 2, "1", key="bad")
        self.assertEqual(offending_keys([good, bad]), ["bad"])

    def test_agrees_with_brute_force(self) -> None:
        """On small random histories it says what trying every order says; both answers occur."""
        random = Random(1)
        verdicts = set()
        for _ in range(600):
            history = [
                _random_operation(random, number) for number in range(random.randrange(2, 6))
            ]
            verdict = is_linearizable(history)
            self.assertEqual(verdict, by_brute_force(history), "\n".join(map(str, history)))
            verdicts.add(verdict)
        self.assertEqual(verdicts, {True, False})


def _random_operation(random: Random, number: int) -> Operation:
    values: list[str | None] = [None, "0", "1", "2"]
    called = random.randrange(10)
    returned = FOREVER if random.random() < 0.3 else called + 1 + random.randrange(6)
    kind: Kind = random.choice(("get", "put", "delete", "cas"))
    answer: Any = random.choice(values)
    if kind == "cas":
        answer = random.choice(((True, None), (False, answer)))
    argument = str(number) if kind in ("put", "cas") else None
    return operation(kind, called, returned, answer, argument, random.choice(values))
