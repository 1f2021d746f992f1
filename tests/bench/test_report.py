"""Results on disk, targets, tables, and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.__main__ import arguments, plan_of, systems_of
from bench.plots import curve
from bench.report import failover_table, gap_seconds, page, rates_table, show, table, targets_table
from bench.results import Round, StageResult, path_of, read, read_all, save
from bench.stages import STAGES
from bench.targets import TARGETS, spread_of


def result(stage: str, rounds: list[Round], **changes: Any) -> StageResult:
    return StageResult(
        stage, "2026-01-01", {"processors": 2}, {"seconds": 1.0}, {"uring": "1"}, rounds, **changes
    )


def rate(value: float, **more: Any) -> dict[str, Any]:
    waits = {"p50_ms": 1.0, "p99_ms": 2.0, "p99_9_ms": 3.0}
    return {"rate": value, **waits, "cpu": 0.5, "generator_cpu": 0.25, "shape": "64 x 16", **more}


CASE = "puts, 64 x 16"
RATES = result(
    "rates",
    [
        {"uring": {CASE: rate(300)}, "etcd": {CASE: rate(100)}},
        {"uring": {CASE: rate(200)}, "etcd": {CASE: rate(100)}},
        {"uring": {CASE: rate(900)}},  # a round that was cut short
    ],
)


def reached(stage: StageResult, what: str) -> tuple[float, bool] | None:
    """Return the median and whether the target was reached."""
    (target,) = (each for each in TARGETS if each.what == what)
    found = spread_of(target, stage)
    return None if found is None else (found.middle, target.reached(found))


class ResultTests(SynchronousTestCase):
    """One file a stage."""

    def test_kept(self) -> None:
        """What was stored is read again; stages that were not measured are absent."""
        place = Path(self.mktemp())
        save(place, RATES)
        self.assertEqual(read_all(place, STAGES), {"rates": RATES})
        self.assertEqual([path.name for path in place.iterdir()], ["rates.json"])

    def test_foreign(self) -> None:
        """A file that holds something else is refused by name."""
        place = Path(self.mktemp())
        place.mkdir()
        for content in ('{"stage": "rates"}', "[", '{"more": 1}'):
            path_of(place, "rates").write_text(content)
            problem = self.assertRaises(ValueError, read, place, "rates")
            self.assertIn("rates.json", str(problem))

    def test_pairs(self) -> None:
        """Only rounds in which both systems were measured are compared."""
        self.assertEqual(RATES.pairs(CASE, "rate", "uring", "etcd"), [(300, 100), (200, 100)])
        self.assertEqual(RATES.figures("uring", CASE, "rate"), [300, 200, 900])


class TargetTests(SynchronousTestCase):
    """What was aimed at."""

    def test_rate(self) -> None:
        """A ratio of rates has to be as high as the target at the least."""
        self.assertEqual(reached(RATES, CASE), (2.5, True))

    def test_failover(self) -> None:
        """Medians of the kills of each round are compared; half of etcd's is reached."""
        waits = {"uring": [100, 900, 110], "etcd": [220, 100, 9000]}
        kills: Round = {name: {"leader killed": {"waits_ms": each}} for name, each in waits.items()}
        found = reached(result("failover", [kills]), "leader killed to the next write, medians")
        self.assertEqual(found, (0.5, True))

    def test_elections(self) -> None:
        """One election without a fault is too many."""
        quiet: Round = {"uring": {"loaded": {"elections": 0}}}
        noisy: Round = {"uring": {"loaded": {"elections": 1}}}
        what = "elections without a fault"
        self.assertEqual(reached(result("elections", [quiet]), what), (0, True))
        self.assertEqual(reached(result("elections", [noisy]), what), (1, False))

    def test_keys(self) -> None:
        """The most keys are compared with the fewest, by number and not by name."""
        cost: Round = {"uring": {"1000": {"cpu": 1.0}, "200": {"cpu": 0.5}, "30": {"cpu": 0.4}}}
        found = reached(result("keys", [cost]), "processor time of a put, most keys against fewest")
        self.assertEqual(found, (2.5, False))

    def test_syncs(self) -> None:
        """Fewer than two synced writes for a put mean that a majority did not have it."""
        cases: Round = {"uring": {"one client": {"syncs_per_put": 1.9}}}
        found = reached(result("syncs", [cases]), "synced writes for each acknowledged put")
        self.assertEqual(found, (1.9, False))

    def test_not_measured(self) -> None:
        """A target whose system was not measured is not called reached."""
        alone = result("rates", [{"uring": {CASE: rate(300)}}])
        self.assertIsNone(reached(alone, CASE))
        self.assertIn("not measured", targets_table({"rates": alone}))

    def test_stages(self) -> None:
        """Every target names a stage that there is."""
        self.assertEqual([each.stage for each in TARGETS if each.stage not in STAGES], [])


class TableTests(SynchronousTestCase):
    """Markdown."""

    def test_show(self) -> None:
        """Figures are as short as they can be read."""
        shown = [show(value) for value in (0, 7, 0.456, 12.345, 123.4, 1234567)]
        self.assertEqual(shown, ["0", "7", "0.46", "12.3", "123", "1,234,567"])

    def test_table(self) -> None:
        """Without rows there is no table."""
        self.assertEqual(table(("a", "b"), [("1", "2")]), "| a | b |\n|---|---|\n| 1 | 2 |\n")
        self.assertEqual(table(("a",), []), "")

    def test_rates(self) -> None:
        """The ratio stands in the line of the other system, with its spread."""
        lines = rates_table(RATES).splitlines()
        self.assertIn("| uring | 300 (200 to 900) |  |", lines[2])
        self.assertIn("| etcd | 100 | 2.50 (2 to 3) | 1 / 2 / 3 | 0.50 | 25% |", lines[3])

    def test_kills(self) -> None:
        """The kills of all rounds make one figure."""
        rounds: list[Round] = [
            {"uring": {"leader killed": {"waits_ms": waits}}} for waits in ([1, 2], [9])
        ]
        self.assertIn("| uring | 3 | 2 | 1 | 9 |", failover_table(result("failover", rounds)))

    def test_gap(self) -> None:
        """The gap is the longest run of empty bins after the kill."""
        figures = {"bin_seconds": 0.5, "kill_at": 1.0, "counts": [0, 0, 5, 0, 0, 0, 5, 0]}
        self.assertEqual(gap_seconds(figures), 1.5)

    def test_page(self) -> None:
        """The page has the targets, a part for each stage that was measured, and the plots."""
        text = page({"rates": RATES}, ["latency.png"])
        self.assertIn("## Targets", text)
        self.assertIn("## Rates", text)
        self.assertNotIn("## Memory", text)
        self.assertIn("(latency.png)", text)
        self.assertIn("MVCC", text)

    def test_curve(self) -> None:
        """A curve goes by number and leaves out what a system did not do."""
        rounds: list[Round] = [
            {"uring": {"1000": {"rate": 5.0}, "16": {"rate": 3.0}, "x": {"rate": 1.0}}},
            {"uring": {"1000": {"rate": 7.0}}, "etcd": {"64": {"rate": 2.0}}},
        ]
        found = curve(result("clients", rounds), "uring", "rate")
        self.assertEqual(found, ([16, 1000], [3.0, 6.0], [3.0, 5.0], [3.0, 7.0]))


class CommandLineTests(SynchronousTestCase):
    """bench/run."""

    def test_plan(self) -> None:
        """What is given replaces what --quick or the full measurement has."""
        full = plan_of(arguments().parse_args([]))
        self.assertEqual((full.kills, full.keys[-1], full.rounds), (20, 1_000_000, None))
        quick = plan_of(arguments().parse_args(["--quick", "--kills", "5", "--keys", "10", "20"]))
        self.assertEqual((quick.quick, quick.kills, quick.keys), (True, 5, (10, 20)))
        self.assertLess(quick.entries, full.entries)

    def test_rounds(self) -> None:
        """Each stage has rounds and seconds of its own, unless they are given."""
        stage = STAGES["failover"]
        self.assertEqual(stage.rounds_of(plan_of(arguments().parse_args([]))), 4)
        given = plan_of(arguments().parse_args(["--rounds", "7", "--seconds", "2"]))
        self.assertEqual((stage.rounds_of(given), stage.seconds_of(given)), (7, 2.0))

    def test_only(self) -> None:
        """--only leaves out systems; the generator's own server is none."""
        names = [kind.name for kind in systems_of(STAGES["rates"], ["uring"])]
        self.assertEqual(names, ["uring"])
        self.assertEqual(len(systems_of(STAGES["generator"], ["uring"])), 1)
