"""The command line: many seeds, one seed with its trace, a failing seed made smaller, the bugs."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.sim.bugs import BUGS, find
from tests.sim.faults import RATES
from tests.sim.world import Options, Outcome, simulate


def parser() -> argparse.ArgumentParser:
    """Return what understands the arguments."""
    found = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    found.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    found.add_argument("--start", type=int, default=0, help="the first of them")
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
    unknown = set(filter(None, asked.without.split(","))) - RATES.keys()
    if unknown or (asked.bug and asked.bug not in BUGS):
        print(f"no such thing: {', '.join(sorted(unknown)) or asked.bug}", file=sys.stderr)
        print(f"faults: {', '.join(RATES)}\nbugs: {', '.join(BUGS)}", file=sys.stderr)
        return 2
    options = Options(
        nodes=asked.nodes,
        without=frozenset(filter(None, asked.without.split(","))),
        amount=asked.amount,
        trace=asked.trace and asked.seed is not None,
    )
    if asked.bugs or asked.bug:
        names = [asked.bug] if asked.bug else list(BUGS)
        return find_bugs(names, options, range(asked.start, asked.start + asked.seeds))
    if asked.seed is not None:
        return replay(asked.seed, options)
    return many(range(asked.start, asked.start + asked.seeds), options, not asked.no_shrink)


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
    summarize([outcome], 0.0)
    print(f"seed {seed}: {outcome.problem or 'nothing is wrong'}")
    return 1 if outcome.problem else 0


def many(seeds: Iterable[int], options: Options, shrinks: bool) -> int:
    """Run seeds one after the other; show how far they are, and which fail."""
    began, outcomes, failed = time.monotonic(), [], []
    seeds = list(seeds)
    for position, seed in enumerate(seeds, 1):
        outcome = simulate(seed, options)
        outcomes.append(outcome)
        if outcome.problem:
            failed.append(seed)
            print(f"\nseed {seed} FAILS: {outcome.problem}\n  {command(seed, options)}", flush=True)
        if position % 20 == 0 or position == len(seeds):
            _show_progress(position, len(seeds), time.monotonic() - began, len(failed))
    print(file=sys.stderr)
    summarize(outcomes, time.monotonic() - began)
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


def summarize(outcomes: Iterable[Outcome], seconds: float) -> None:
    """Print what was done and what went wrong on purpose."""
    faults: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    steps = simulated = count = 0
    sizes: Counter[int] = Counter()
    for outcome in outcomes:
        faults += outcome.faults
        operations += outcome.operations
        steps += outcome.steps
        simulated += round(outcome.seconds)
        sizes[outcome.nodes] += 1
        count += 1
    of_sizes = ", ".join(f"{number} of {size} nodes" for size, number in sorted(sizes.items()))
    print(f"{count} seeds ({of_sizes}), {steps} steps, {simulated} simulated seconds")
    if seconds:
        print(f"{seconds:.0f} s, {count / seconds:.1f} seeds/s")
    print("faults: " + ", ".join(f"{kind} {number}" for kind, number in sorted(faults.items())))
    print("clients: " + ", ".join(f"{what} {n}" for what, n in sorted(operations.items())))


def shrink(seed: int, options: Options) -> Options:
    """Switch kinds of faults off one by one, then let the rest come less often."""
    without, amount = options.without, options.amount
    for kind in RATES:
        smaller = Options(nodes=options.nodes, without=without | {kind}, amount=amount)
        if kind not in without and simulate(seed, smaller).problem:
            without = smaller.without
    for share in (0.1, 0.25, 0.5, 0.75):
        smaller = Options(nodes=options.nodes, without=without, amount=amount * share)
        if simulate(seed, smaller).problem:
            return smaller
    return Options(nodes=options.nodes, without=without, amount=amount)


def find_bugs(names: list[str], options: Options, seeds: range) -> int:
    """Plant each bug and count the seeds until it is found."""
    missed = []
    for name in names:
        found = find(name, options, seeds)
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
