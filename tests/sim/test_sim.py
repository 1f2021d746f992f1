"""Seeds that must pass, bugs that must be found, and runs that must not differ."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import uring
from tests.sim.bugs import BUGS, find, planted
from tests.sim.cli import command, main, shrink
from tests.sim.scripts import SCRIPTS
from tests.sim.world import Options, World, simulate
from uring.node import Node

SEEDS = range(200)
QUICK_BUGS = (
    "acknowledged before the sync",
    "two votes in a term",
    "applied twice",
    "commit by counting an old term",
    "tail not truncated on disk",
)
ROOT = Path(uring.__file__).parent.parent.parent


class SeedTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        """Nothing that must hold is broken by any of these seeds, and every one settles."""
        for seed in SEEDS:
            outcome = simulate(seed)
            self.assertEqual(outcome.problem, "", command(seed, Options()))

    def test_faults_and_answers(self) -> None:
        """The seeds inject faults, and clients are answered all the same."""
        outcomes = [simulate(seed) for seed in range(15)]
        for kind in ("partition", "crash at", "remove"):
            self.assertGreater(sum(each.faults[kind] for each in outcomes), 0, kind)
        for outcome in outcomes:
            self.assertGreater(outcome.operations["get answered"], 10)
            self.assertGreater(outcome.operations["put answered"], 10)

    def test_scripts(self) -> None:
        """Every scenario is played in some seed: one that never begins tests nothing."""
        counts: Counter[str] = Counter()
        seeds = iter(range(10_000))
        while (missing := SCRIPTS.keys() - counts.keys()) and (seed := next(seeds)) < 400:
            world = World(seed, Options(nodes=5 if seed % 2 else 3))
            if world.stage.is_open:
                counts += world.run().faults
        self.assertEqual(missing, set())

    def test_exception_names_no_seed(self) -> None:
        """An exception out of a node's door fails its seed, and not the whole run of seeds."""

        def fail(*arguments: object) -> None:
            raise KeyError("lost")

        self.patch(Node, "query", fail)
        self.assertIn("KeyError: 'lost'", simulate(1).problem)

    def test_same_in_another_process(self) -> None:
        """A seed does the same, step by step, whatever hashes strings have in a process."""
        program = (
            "import hashlib; from tests.sim.world import Options, simulate; "
            "o = simulate(3, Options(trace=True)); "
            "print(o.steps, hashlib.sha256('\\n'.join(o.trace).encode()).hexdigest())"
        )
        said = set()
        for hash_seed in ("1", "2"):
            environment = {
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            }
            run = subprocess.run(
                [sys.executable, "-c", program],
                env=environment,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            said.add(run.stdout)
        self.assertEqual(len(said), 1, said)


class BugTests(SynchronousTestCase):
    def test_enough_bugs(self) -> None:
        """There are at least 24 bugs to plant."""
        self.assertGreaterEqual(len(BUGS), 24)

    def test_bugs_fit(self) -> None:
        """Every bug still has its place in the code: each can be planted, and goes away again."""
        for name in BUGS:
            with planted(name):
                pass
        self.assertEqual(simulate(1).problem, "")

    def test_quick_bugs(self) -> None:
        """Some planted bugs are found within a few seeds."""
        for name in QUICK_BUGS:
            self.assertIsNotNone(find(name, Options(), range(60)), name)

    def test_bugs_go_away(self) -> None:
        """A seed that fails with a planted bug passes without it."""
        found = find("two votes in a term", Options(), range(60))
        assert found is not None
        self.assertEqual(simulate(found[1].seed).problem, "")


class CommandTests(SynchronousTestCase):
    def test_unknown_fault(self) -> None:
        """A kind of fault that does not exist is refused, not ignored."""
        self.patch(sys, "stderr", open(os.devnull, "w"))  # noqa: SIM115
        self.addCleanup(sys.stderr.close)
        self.assertEqual(main(["--seed", "1", "--without", "locusts"]), 2)

    def test_command(self) -> None:
        """The command printed for a failing seed says all that it was run with."""
        options = Options(nodes=3, without=frozenset({"kill"}), amount=0.5)
        self.assertEqual(
            command(7, options),
            "python -m tests.sim --seed 7 --trace --nodes 3 --without 'kill' --amount 0.5",
        )

    def test_shrink(self) -> None:
        """What is left of a failing seed still fails, with fewer kinds of faults."""
        found = find("two votes in a term", Options(), range(60))
        assert found is not None
        with planted("two votes in a term"):
            smaller = shrink(found[1].seed, Options())
            self.assertNotEqual(simulate(found[1].seed, smaller).problem, "")
        self.assertGreater(len(smaller.without), 5)
