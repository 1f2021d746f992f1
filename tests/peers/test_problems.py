"""What a node can show of the connections that do not come about."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from uring.peers.problems import PROBLEMS_MAX, RECENT_SECONDS, Problems


class ProblemTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.problems = Problems(self.clock)

    def test_shown(self) -> None:
        """The latest of each kind is shown with its age, until it has not been met for a while."""
        self.problems.note("a:1", "instance", "wiped", node=3)
        self.problems.note("a:1", "unreachable", "refused")
        self.clock.advance(1)
        self.problems.note("a:1", "instance", "wiped again", "there", 3)
        found = {each["code"]: each for each in self.problems.shown()}
        self.assertEqual(
            found["instance"],
            {
                "address": "a:1",
                "node": 3,
                "code": "instance",
                "by": "there",
                "reason": "wiped again",
                "age": 0.0,
            },
        )
        self.assertEqual((found["unreachable"]["age"], found["unreachable"]["node"]), (1.0, None))
        self.clock.advance(RECENT_SECONDS)
        self.assertEqual([each["code"] for each in self.problems.shown()], ["instance"])

    def test_over(self) -> None:
        """Who is connected has no problem any more."""
        self.problems.note("a:1", "cluster", "another one")
        self.problems.note("b:1", "cluster", "another one")
        self.problems.over("a:1", "nobody")
        self.assertEqual([each["address"] for each in self.problems.shown()], ["b:1"])

    def test_strangers(self) -> None:
        """However many strangers come, a bounded number is kept: the newest."""
        for number in range(2 * PROBLEMS_MAX):
            self.problems.note(f"a:{number}", "closed", "nonsense")
        shown = self.problems.shown()
        self.assertEqual(len(shown), PROBLEMS_MAX)
        self.assertEqual(shown[-1]["address"], f"a:{2 * PROBLEMS_MAX - 1}")
