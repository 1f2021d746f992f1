"""Commit indexes that can wait for the next Append."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from uring.notices import HOLD_SECONDS, CommitNotices
from uring.raft.messages import Append, Heartbeat, Message
from uring.raft.types import Entry


def append(commit: int, *entries: Entry, to: int = 2) -> Append:
    """Return a leader's Append with the commit index ``commit``."""
    return Append(to=to, from_=1, term=1, prev_index=9, prev_term=1, entries=entries, commit=commit)


class CommitNoticesTests(SynchronousTestCase):
    """What leaves, and when."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.late: list[tuple[int, list[Message]]] = []

        def guarded(work: Callable[[], None]) -> None:
            work()

        def send(to: int, batch: list[Message]) -> None:
            self.late.append((to, batch))

        self.notices = CommitNotices(self.clock, send, guarded)
        self.addCleanup(self.notices.stop)

    def test_alone_it_waits_and_then_goes(self) -> None:
        """A notice leaves after two milliseconds when nothing else has to be said, once."""
        self.assertEqual(self.notices.outgoing([append(5), append(5, to=3)]), {})
        self.clock.advance(HOLD_SECONDS * 0.9)
        self.assertEqual(self.late, [])
        self.clock.advance(HOLD_SECONDS)
        self.assertEqual(self.late, [(2, [append(5)]), (3, [append(5, to=3)])])
        self.clock.advance(10)
        self.assertEqual(len(self.late), 2)

    def test_newest_counts(self) -> None:
        """Of several notices only the last one is sent."""
        self.notices.outgoing([append(5)])
        self.notices.outgoing([append(6)])
        self.clock.advance(HOLD_SECONDS)
        self.assertEqual(self.late, [(2, [append(6)])])

    def test_next_append_says_it(self) -> None:
        """An Append with entries makes the notice needless, for its receiver alone."""
        entries = append(6, Entry(term=1, index=10))
        self.notices.outgoing([append(5), append(5, to=3)])
        self.assertEqual(self.notices.outgoing([entries]), {2: [entries]})
        self.clock.advance(HOLD_SECONDS)
        self.assertEqual(self.late, [(3, [append(5, to=3)])])

    def test_other_messages_take_it_along(self) -> None:
        """A notice goes before anything else that is sent the same way."""
        beat = Heartbeat(to=2, from_=1, term=1)
        self.notices.outgoing([append(5)])
        self.assertEqual(self.notices.outgoing([beat]), {2: [append(5), beat]})
        self.clock.advance(HOLD_SECONDS)
        self.assertEqual(self.late, [])

    def test_older_append_does_not_replace_it(self) -> None:
        """An Append that was made with an earlier commit index leaves the notice needed."""
        entries = append(4, Entry(term=1, index=10))
        self.notices.outgoing([append(5)])
        self.assertEqual(self.notices.outgoing([entries]), {2: [append(5), entries]})

    def test_proposer_does_not_wait(self) -> None:
        """Who has forwarded what is now committed is told at once; and later waits again."""
        self.notices.awaited(2, 7)
        self.assertEqual(self.notices.outgoing([append(6)]), {2: [append(6)]})
        self.assertEqual(self.notices.outgoing([append(7)]), {2: [append(7)]})
        self.assertEqual(self.notices.outgoing([append(8)]), {})

    def test_stopped(self) -> None:
        """Nothing leaves any more once it is stopped."""
        self.notices.outgoing([append(5)])
        self.notices.stop()
        self.clock.advance(1)
        self.assertEqual(self.late, [])
