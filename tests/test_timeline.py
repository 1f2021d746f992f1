"""What a node remembers of the last hour."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import Bench, make_bench
from uring.timeline import EVENTS_MAX, KEPT_SECONDS, SILENT_SECONDS, Seen, Timeline


class TimelineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.timeline = Timeline(1, 100.0)
        self.members = {1: Seen(100.0), 2: Seen(100.0)}
        self.now = 100.0
        self.sweep()

    def sweep(self) -> None:
        self.timeline.sweep(self.now, self.members)

    def pass_time(self, seconds: int, *hear: int) -> None:
        """Let seconds pass, while of these nodes is heard."""
        for _ in range(seconds):
            self.now += 1.0
            for node in (1, *hear):
                self.members[node] = Seen(self.now)
            self.sweep()

    def told(self) -> list[tuple[Any, ...]]:
        """Return events as (when, kind, what else there is)."""
        events = self.timeline.shown(self.now)["events"]
        return [
            (self.now - event.pop("ago"), event.pop("kind"), *event.values()) for event in events
        ]

    def test_leaders(self) -> None:
        """A change of the leader is told with the one before; a leader that stays is no news."""
        for leader in (1, 1, 0, 2):
            self.timeline.leader(self.now, leader, 3)
        self.assertEqual(
            self.told(),
            [
                (100.0, "leader", 1, None, 3),
                (100.0, "leader", None, 1, 3),
                (100.0, "leader", 2, None, 3),
            ],
        )

    def test_silence(self) -> None:
        """A member is silent since it was last heard, and heard from its next word on."""
        self.pass_time(2, 2)
        self.pass_time(5)
        self.pass_time(1, 2)
        self.assertEqual(self.told(), [(102.0, "silent", 2), (108.0, "heard", 2)])

    def test_never_heard(self) -> None:
        """A member that was never heard is silent as soon as any other would be."""
        self.members[2] = Seen(None)
        self.pass_time(int(SILENT_SECONDS))
        self.assertEqual(self.told(), [])
        self.pass_time(1)
        self.assertEqual(self.told(), [(100.0, "silent", 2)])

    def test_own_pause(self) -> None:
        """Who stood still itself says so, and calls nobody silent for it."""
        self.now += 30.0
        self.members[1] = Seen(self.now)
        self.sweep()
        self.assertEqual(self.told(), [(130.0, "stalled", 1, 30.0)])
        self.pass_time(2, 2)
        self.assertEqual(len(self.told()), 1)

    def test_own_pause_ends_no_silence(self) -> None:
        """A member that was silent before still is afterwards, until it says something."""
        self.pass_time(5)
        self.now += 30.0
        self.members[1] = Seen(self.now)
        self.sweep()
        self.pass_time(1)
        self.assertEqual([kind for _, kind, *_ in self.told()], ["silent", "stalled"])

    def test_faults(self) -> None:
        """Faults come and go, each by its own text; a silent member keeps those that it had."""
        self.members[2] = Seen(self.now, faults=("disk", "space"))
        self.sweep()
        self.members[2] = Seen(self.now, faults=("space",))
        self.sweep()
        self.assertEqual(
            [event[1:] for event in self.told()],
            [("fault", 2, "disk"), ("fault", 2, "space"), ("mended", 2, "disk")],
        )

    def test_restart(self) -> None:
        """A member whose uptime begins anew was started again."""
        for uptime in (50.0, 51.0, 0.5):
            self.members[2] = Seen(self.now, uptime=uptime)
            self.sweep()
        self.assertEqual([event[1:] for event in self.told()], [("restarted", 2)])

    def test_campaigns(self) -> None:
        """That a node campaigns is told once, until it does something else."""
        for role in ("PreCandidate", "Candidate", "Leader", "Candidate"):
            self.timeline.role(self.now, 2, role, 7)
        self.assertEqual([event[1:] for event in self.told()], [("campaign", 2, 7)] * 2)

    def test_campaign_that_is_over(self) -> None:
        """What a member told of itself before somebody led is no news afterwards."""
        self.members[2] = Seen(self.now, role="Candidate", term=2)
        self.sweep()
        self.timeline.leader(self.now, 2, 2)
        self.members[2] = Seen(self.now, role="Candidate", term=2)
        self.sweep()
        self.assertEqual([kind for _, kind, *_ in self.told()], ["campaign", "leader"])

    def test_members(self) -> None:
        """Who comes and who goes is told; who was there from the start is no news."""
        self.members[3] = Seen(self.now)
        self.sweep()
        del self.members[3]
        self.sweep()
        self.assertEqual([event[1:] for event in self.told()], [("joined", 3), ("left", 3)])

    def test_hour(self) -> None:
        """What is older than an hour is forgotten, and no more is promised."""
        self.timeline.leader(self.now, 1, 1)
        self.pass_time(int(KEPT_SECONDS) + 5, 2)
        self.assertEqual(self.told(), [])
        self.assertEqual(self.timeline.shown(self.now)["since"], KEPT_SECONDS)

    def test_many(self) -> None:
        """However much happens, so many events are kept, and it is told since when."""
        for term in range(EVENTS_MAX + 10):
            self.now += 0.5
            self.timeline.leader(self.now, term % 2, term)
        shown = self.timeline.shown(self.now)
        self.assertEqual(len(shown["events"]), EVENTS_MAX)
        self.assertGreaterEqual(shown["since"], shown["events"][0]["ago"])
        self.assertEqual(shown["events"][-1]["ago"], 0.0)


class NodeTests(SynchronousTestCase):
    """A whole node keeps it."""

    def test_kept(self) -> None:
        """The node's own rise to leadership is there; a member that never spoke is silent."""
        bench: Bench = make_bench(self.mktemp())
        self.addCleanup(bench.close)
        bench.settle()
        node = bench.node
        node.administration.known = {**node.members_known(), 2: node.members_known()[1]}
        bench.pass_time(SILENT_SECONDS + 3)
        shown = node.history()
        kinds = [(event["kind"], event.get("node")) for event in shown["events"]]
        self.assertIn(("leader", None), kinds)
        self.assertIn(("silent", 2), kinds)
        self.assertGreaterEqual(shown["since"], SILENT_SECONDS + 3)
        self.assertEqual(bench.stopped, [])
