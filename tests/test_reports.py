"""Reports between nodes, and the figures that they carry."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.node import Bench, make_bench
from uring.measures import Histogram, Mean, Peak
from uring.reports import BODY_BYTES_MAX, EVERY_SECONDS
from uring.wire.envelopes import Report


class MeasureTests(SynchronousTestCase):
    def test_histogram(self) -> None:
        """A value counts in the first bucket whose bound it does not pass."""
        histogram = Histogram((1.0, 2.0))
        for value in (0.5, 1.0, 1.5, 9.0):
            histogram.observe(value)
        self.assertEqual((histogram.counts, histogram.total), ([2, 1, 1], 12.0))

    def test_peak(self) -> None:
        """The largest value is kept for ever, and for one to two minutes."""
        peak = Peak()
        peak.observe(5.0, 100.0)
        peak.observe(1.0, 165.0)
        self.assertEqual((peak.ever, peak.recent), (5.0, 5.0))
        peak.observe(2.0, 230.0)
        self.assertEqual((peak.ever, peak.recent), (5.0, 2.0))

    def test_mean(self) -> None:
        """The mean is that of the last one to two minutes; of none it is 0."""
        mean = Mean()
        self.assertEqual(mean.recent(100.0), (0, 0.0))
        mean.observe(1.0, 100.0)
        mean.observe(3.0, 101.0)
        self.assertEqual(mean.recent(102.0), (2, 2.0))
        mean.observe(8.0, 165.0)
        self.assertEqual(mean.recent(166.0), (3, 4.0))
        mean.observe(9.0, 230.0)
        self.assertEqual(mean.recent(230.0), (2, 8.5))
        self.assertEqual(mean.recent(400.0), (0, 0.0))


class ReportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench: Bench = make_bench(self.mktemp())
        self.addCleanup(self.bench.close)
        self.bench.settle()

    def reports(self) -> list[Report]:
        return [each for _, each in self.bench.mesh.sent if isinstance(each, Report)]

    def tell(self, **changed: Any) -> None:
        fields: dict[str, Any] = {
            "to": 1,
            "from_": 2,
            "stamp": 7,
            "echo": 0,
            "held": 0,
            "body": self.reports()[-1].body,
        }
        self.bench.node.receive(2, [Report(**{**fields, **changed})])

    def test_told(self) -> None:
        """Once a second each peer that is connected is told how the node is."""
        self.bench.pass_time(EVERY_SECONDS + 0.2)
        told = self.reports()
        self.assertEqual({each.to for each in told}, set(range(1, 10)))
        self.bench.mesh.sent.clear()
        self.bench.pass_time(EVERY_SECONDS / 2)
        self.assertEqual(self.reports(), [])

    def test_round_trip(self) -> None:
        """A stamp that comes back says how long it was under way, not how long it was held."""
        self.bench.pass_time(EVERY_SECONDS + 0.2)
        now = self.bench.clock.seconds()
        stamp = int((now - 0.75) * 1_000_000)
        self.tell(echo=stamp, held=500_000)
        self.assertAlmostEqual(self.bench.node.reports.round_trips()[2], 0.25, places=3)

    def test_echo(self) -> None:
        """The newest stamp of a member is echoed, with how long ago it came."""
        node = self.bench.node
        node.administration.known = {**node.members_known(), 2: node.members_known()[1]}
        self.bench.pass_time(EVERY_SECONDS + 0.2)
        self.tell(stamp=41)
        self.tell(stamp=42)
        self.bench.mesh.sent.clear()
        self.bench.pass_time(EVERY_SECONDS)
        (echo,) = (each for each in self.reports() if each.to == 2)
        self.assertEqual(echo.echo, 42)
        self.assertTrue(0 < echo.held <= 1_000_000, echo.held)
        self.assertEqual([each["role"] for each in node.cluster()], ["Leader", "Leader"])
        own = node.cluster()[0]
        self.assertEqual((own["log_writes"] > 0, own["fault_codes"]), (True, ()))
        self.assertEqual(own["instance"], node.status()["instance"])

    def test_unreadable(self) -> None:
        """What is no report, or too long for one, is passed over; the node goes on."""
        self.bench.pass_time(EVERY_SECONDS + 0.2)
        for body in (b"", b"\xc1", b"\x91" * 2000, bytes(BODY_BYTES_MAX + 1)):
            self.tell(body=body)
        self.assertEqual(self.bench.node.reports.round_trips(), {})
        self.assertEqual(self.bench.stopped, [])
        self.assertEqual([each["id"] for each in self.bench.node.cluster()], [1])

    def test_cluster(self) -> None:
        """Only members are shown, the node itself among them."""
        self.bench.pass_time(EVERY_SECONDS + 0.2)
        self.tell()
        shown = self.bench.node.cluster()
        self.assertEqual([each["id"] for each in shown], [1])
        self.assertEqual((shown[0]["role"], shown[0]["age"]), ("Leader", 0.0))
