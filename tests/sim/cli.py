"""The command line: many seeds, one seed with its trace, a failing seed made smaller, the bugs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any

from attrs import Factory, define

from tests.sim import lock_bugs, token_bugs, watch_bugs  # noqa: F401
from tests.sim.bugs import BUGS, find
from tests.sim.faults import RATES
from tests.sim.scripts import SCRIPTS
from tests.sim.world import Options, Outcome, simulate

KINDS = (*SCRIPTS, *RATES)
"""What can be switched off."""


def parser() -> argparse.ArgumentParser:
    """Return what understands the arguments."""
    found = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    found.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    found.add_argument("--start", type=int, default=0, help="the first of them")
    cores = os.cpu_count() or 1
    found.add_argument("--jobs", type=int, default=cores, help="processes; default: one a core")
    found.add_argument("--nodes", type=int, default=0, choices=(0, 3, 5), help="0: by the seed")
    found.add_argument("--seed", type=int, help="run this one only")
    found.add_argument("--trace", action="store_true", help="with --seed: print what happens")
    found.add_argument("--without", default="", help="kinds of faults to leave out, with commas")
    found.add_argument("--amount", type=float, default=1.0, help="how often faults come")
    found.add_argument("--no-shrink", action="store_true", help="leave failing seeds as they are")
    found.add_argument("--bugs", action="store_true", help="find every planted bug")
    found.add_argument("--bug", help="find this one")
    return found


def main(arguments: list[str]) -> int:
    """Return 0 if nothing was wrong (or every bug was found), else 1."""
    asked = parser().parse_args(arguments)
    unknown = set(filter(None, asked.without.split(","))) - {*KINDS}
    if unknown or (asked.bug and asked.bug not in BUGS):
        print(f"no such thing: {', '.join(sorted(unknown)) or asked.bug}", file=sys.stderr)
        print(f"faults: {', '.join(KINDS)}\nbugs: {', '.join(BUGS)}", file=sys.stderr)
        return 2
    options = Options(
        nodes=asked.nodes,
        without=frozenset(filter(None, asked.without.split(","))),
        amount=asked.amount,
        trace=asked.trace and asked.seed is not None,
    )
    if asked.bugs or asked.bug:
        names = [asked.bug] if asked.bug else list(BUGS)
        return find_bugs(names, options, range(asked.start, asked.start + asked.seeds), asked.jobs)
    if asked.seed is not None:
        return replay(asked.seed, options)
    seeds = range(asked.start, asked.start + asked.seeds)
    return many(seeds, options, not asked.no_shrink, asked.jobs)


def command(seed: int, options: Options) -> str:
    """Return the command that replays ``seed`` as it was run."""
    words = [f"python -m tests.sim --seed {seed} --trace"]
    if options.nodes:
        words.append(f"--nodes {options.nodes}")
    if options.without:
        words.append(f"--without '{','.join(sorted(options.without))}'")
    if options.amount != 1.0:
        words.append(f"--amount {options.amount:g}")
    return " ".join(words)


def replay(seed: int, options: Options) -> int:
    """Run one seed and show it."""
    outcome = simulate(seed, options)
    for line in outcome.trace if options.trace else ():
        print(line)
    total = Totals()
    total.add(outcome)
    total.show(0.0)
    print(f"seed {seed}: {outcome.problem or 'nothing is wrong'}")
    return 1 if outcome.problem else 0


def in_processes(work: Any, todo: Sequence[Any], jobs: int) -> Iterator[Any]:
    """Yield what ``work`` returns for each item, in order, worked out by so many processes."""
    if min(jobs, len(todo)) <= 1:
        yield from map(work, todo)
        return
    # Spawned, so that no process begins with what another has imported, cached or patched.
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(work, todo)


def many(seeds: Iterable[int], options: Options, shrinks: bool, jobs: int = 1) -> int:
    """Run seeds; show how far they are, and which fail."""
    began, failed, total = time.monotonic(), [], Totals()
    seeds = list(seeds)
    outcomes = in_processes(partial(simulate, options=options), seeds, jobs)
    for position, outcome in enumerate(outcomes, 1):
        total.add(outcome)
        if outcome.problem:
            seed = outcome.seed
            failed.append(seed)
            print(f"\nseed {seed} FAILS: {outcome.problem}\n  {command(seed, options)}", flush=True)
        if position % 20 == 0 or position == len(seeds):
            _show_progress(position, len(seeds), time.monotonic() - began, len(failed))
    print(file=sys.stderr)
    total.show(time.monotonic() - began)
    for seed in failed[:3] if shrinks else ():
        smaller = shrink(seed, options)
        print(f"seed {seed} fails with less, too: {command(seed, smaller)}")
    print(f"failing seeds: {', '.join(map(str, failed)) or 'none'}")
    return 1 if failed else 0


def _show_progress(done: int, total: int, seconds: float, failed: int) -> None:
    bar = "#" * (40 * done // total)
    rate = done / seconds if seconds else 0.0
    print(
        f"\r[{bar:40}] {done}/{total}  {rate:.1f} seeds/s  {failed} failed",
        end="" if sys.stderr.isatty() else "\n",
        file=sys.stderr,
        flush=True,
    )


@define
class Totals:
    """What was done in many runs, and what went wrong on purpose."""

    seeds: int = 0
    steps: int = 0
    simulated: float = 0.0
    sizes: Counter[int] = Factory(Counter)
    faults: Counter[str] = Factory(Counter)
    operations: Counter[str] = Factory(Counter)
    watches: Counter[str] = Factory(Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one run."""
        self.seeds += 1
        self.steps += outcome.steps
        self.simulated += outcome.seconds
        self.sizes[outcome.nodes] += 1
        self.faults += outcome.faults
        self.operations += outcome.operations
        self.watches += outcome.watches

    def show(self, seconds: float) -> None:
        """Print it."""
        of_sizes = ", ".join(
            f"{number} of {size} nodes" for size, number in sorted(self.sizes.items())
        )
        simulated = f"{self.simulated:.0f} simulated seconds"
        print(f"{self.seeds} seeds ({of_sizes}), {self.steps} steps, {simulated}")
        if seconds:
            print(f"{seconds:.0f} s, {self.seeds / seconds:.1f} seeds/s")
        print("faults: " + ", ".join(f"{kind} {n}" for kind, n in sorted(self.faults.items())))
        print("clients: " + ", ".join(f"{what} {n}" for what, n in sorted(self.operations.items())))
        print("watches: " + ", ".join(f"{what} {n}" for what, n in sorted(self.watches.items())))


def shrink(seed: int, options: Options) -> Options:
    """Switch kinds of faults off one by one, then let the rest come less often."""
    without, amount = options.without, options.amount
    for kind in KINDS:
        smaller = Options(nodes=options.nodes, without=without | {kind}, amount=amount)
        if kind not in without and simulate(seed, smaller).problem:
            without = smaller.without
    for share in (0.1, 0.25, 0.5, 0.75):
        smaller = Options(nodes=options.nodes, without=without, amount=amount * share)
        if simulate(seed, smaller).problem:
            return smaller
    return Options(nodes=options.nodes, without=without, amount=amount)


def find_bugs(names: list[str], options: Options, seeds: range, jobs: int = 1) -> int:
    """Plant each bug and count the seeds until it is found."""
    missed = []
    found_all = in_processes(partial(find, options=options, seeds=seeds), names, jobs)
    for name, found in zip(names, found_all, strict=True):
        if found is None:
            missed.append(name)
            print(f"{name}: NOT FOUND in {len(seeds)} seeds", flush=True)
        else:
            count, outcome = found
            problem = outcome.problem.strip().splitlines()
            said = problem[-1] if len(problem) > 1 else problem[0]
            print(f"{name}: {count} seeds: {said[:110]}", flush=True)
    print(f"{len(names) - len(missed)} of {len(names)} planted bugs found")
    return 1 if missed else 0
