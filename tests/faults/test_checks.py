"""The second checker: it finds what cannot be, and accuses nobody of what can."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.checks import check_key, contradictions
from tests.sim.linearizable import FOREVER, UNTOLD, Kind, Operation, is_linearizable


def operation(
    kind: Kind,
    called: int,
    returned: int = FOREVER,
    answer: Any = None,
    argument: str | None = None,
    check: str | None = None,
) -> Operation:
    known = returned != FOREVER
    return Operation(1, "k", kind, called, argument, check, returned, answer, known)


def put(value: str, called: int, returned: int = FOREVER) -> Operation:
    return operation("put", called, returned, UNTOLD, value)


def get(value: str | None, called: int, returned: int) -> Operation:
    return operation("get", called, returned, value)


def delete(called: int, returned: int = FOREVER, old: str | None = None) -> Operation:
    return operation("delete", called, returned, old)


class ContradictionTests(SynchronousTestCase):
    """One sentence for each way to be wrong."""

    def found(self, word: str, *operations: Operation) -> None:
        said = contradictions(operations)
        self.assertTrue(said and word in said[0], said)
        self.assertFalse(is_linearizable(operations))

    def fine(self, *operations: Operation) -> None:
        self.assertEqual(check_key(list(operations)), [])

    def test_lost_write(self) -> None:
        """An acknowledged write that is gone is found, unless somebody may have deleted it."""
        self.found("lost", put("a", 0, 1), get(None, 2, 3))
        self.fine(put("a", 0, 1), delete(0), get(None, 2, 3))
        self.fine(put("a", 0, 1), delete(2, 4, "a"), get(None, 3, 5))
        self.found("lost", delete(0, 1), put("a", 2, 3), get(None, 4, 5))

    def test_lost_write_that_was_seen(self) -> None:
        """A write of unknown outcome that was seen once is as good as acknowledged."""
        self.fine(put("a", 0), get(None, 2, 3))
        self.found("lost", put("a", 0), get("a", 2, 3), get(None, 4, 5))

    def test_stale_read(self) -> None:
        """A value that was overwritten for certain is not seen again."""
        self.found("overwritten", put("a", 0, 1), put("b", 2, 3), get("a", 4, 5))
        self.fine(put("a", 0, 3), put("b", 2, 4), get("a", 5, 6))
        self.fine(put("a", 0, 1), put("b", 2, 4), get("a", 3, 5))

    def test_deleted_value(self) -> None:
        """A value that was deleted for certain is not seen again."""
        self.found("overwritten", put("a", 0, 1), delete(2, 3, "a"), get("a", 4, 5))

    def test_value_from_nowhere(self) -> None:
        """A value that nobody wrote, or not yet."""
        self.found("nobody wrote", get("a", 0, 1))
        self.found("before it was written", get("a", 0, 1), put("a", 2, 3))

    def test_compare_and_swap(self) -> None:
        """Success saw what it expected, failure what it was shown; a failure writes nothing."""
        swap = operation("cas", 2, 3, (True, None), "b", "a")
        refusal = operation("cas", 4, 5, (False, "b"), "c", "a")
        self.fine(put("a", 0, 1), swap, refusal, get("b", 6, 7))
        late = operation("cas", 4, 5, (True, None), "b", "a")
        self.found("overwritten", put("a", 0, 1), put("x", 2, 3), late)
        self.found("nobody wrote", put("a", 0, 1), swap, refusal, get("c", 6, 7))

    def test_both_checkers_agree(self) -> None:
        """Histories of a true register are never accused; what is accused the search rejects."""
        accused = 0
        for seed in range(300):
            operations = random_history(Random(seed), lies=seed % 3 == 0)
            if contradictions(operations):
                accused += 1
                self.assertFalse(is_linearizable(operations), f"seed {seed}")
            elif seed % 3:
                self.assertTrue(is_linearizable(operations), f"seed {seed}")
        self.assertGreater(accused, 50)


def random_history(random: Random, lies: bool) -> list[Operation]:
    """Return calls on one register, in turn, that overlap; with ``lies`` some answers are old."""
    value: str | None = None
    values: list[str | None] = [None]
    operations = []
    for number in range(30):
        at = number * 10
        called, returned = at - random.randint(0, 25), at + random.randint(1, 25)
        kind = random.choice(("get", "get", "put", "delete", "cas"))
        old, argument = value, f"v{number}"
        if kind == "get":
            answer: Any = random.choice(values) if lies and random.random() < 0.3 else value
            operations.append(operation("get", called, returned, answer))
        elif kind == "put":
            value = argument
            operations.append(operation("put", called, returned, old, argument))
        elif kind == "delete":
            value = None
            operations.append(operation("delete", called, returned, old))
        else:
            check = random.choice(values)
            stored = check == value
            value = argument if stored else value
            operations.append(operation("cas", called, returned, (stored, old), argument, check))
        if random.random() < 0.1:
            operations[-1].known, operations[-1].returned = False, FOREVER
        values.append(value)
    return operations
