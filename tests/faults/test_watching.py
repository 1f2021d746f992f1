"""What watches were told is compared with what clients were answered."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.watching import Event, check_events
from tests.sim.linearizable import FOREVER, UNTOLD, Operation


def put(value: str, called: int, returned: int = FOREVER) -> Operation:
    known = returned != FOREVER
    return Operation(1, "key-0", "put", called, value, None, returned, UNTOLD, known)


OPERATIONS = [put("a", 0, 1), put("b", 2, 3), put("c", 4)]
EVENTS = [
    Event(1, "key-0", "a", None, 1),
    Event(3, "key-0", "b", "a", 3),
    Event(4, "key-0", "c", "b", 9),
    Event(7, "key-0", None, "c", 9),
]


class WatchTests(SynchronousTestCase):
    def found(self, word: str, events: list[Event], begun_anew: list[int] | None = None) -> None:
        said = check_events(events, begun_anew or [], OPERATIONS)
        self.assertTrue(any(word in each for each in said), said)

    def test_all_is_well(self) -> None:
        """What was told as it was written is fine, also where a snapshot took the place of some."""
        self.assertEqual(check_events(EVENTS, [], OPERATIONS), [])
        self.assertEqual(check_events(EVENTS[:2], [], OPERATIONS), [])
        self.assertEqual(check_events(EVENTS[1:], [0], OPERATIONS), [])

    def test_missed(self) -> None:
        """An acknowledged write that was not told, and a change that follows upon nothing."""
        self.found("no watch was told", EVENTS[:1])
        self.found("follows upon", [EVENTS[0], EVENTS[2]])

    def test_told_twice(self) -> None:
        """The same change again, under its own revision or another."""
        self.found("was told after", [*EVENTS, EVENTS[3]])
        self.found("twice", [*EVENTS[:2], evolve(EVENTS[1], revision=9, old="b")])

    def test_invented(self) -> None:
        """A value that nobody wrote, or not yet."""
        self.found("nobody wrote", [evolve(EVENTS[0], new="x")])
        self.found("before it was written", [EVENTS[0], evolve(EVENTS[1], told=1)])

    def test_order_of_revisions(self) -> None:
        """Who began after another was answered comes later."""
        swapped = [evolve(EVENTS[1], revision=1, old=None), evolve(EVENTS[0], revision=3, old="b")]
        self.found("was answered before", swapped)
