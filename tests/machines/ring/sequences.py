"""Random histories of rings, and what must hold after every change of one.

    python -m tests.machines.ring.sequences --count 10000 --prove

With ``--prove`` (needs ortools) a solver that knows nothing of how we place is asked about every
change after which something clashes: could as few moves have led to a ring without clashes?
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from attrs import define, frozen

from uring.machines.ring.minimal import rearrange
from uring.machines.ring.seats import NOBODY, Owners, Seat, bounds, fewest_moves, unowned
from uring.machines.ring.spacing import chromatic, windows_spoiled

SIZE_MAX, NODES_MAX = 4096, 64
ZONES = ("", "", "", "a", "b", "c", "d")


@frozen
class Step:
    """One change, and the ring before and after it."""

    before: Owners
    loads: Mapping[int, int]
    after: Owners
    moved: Mapping[int, int]
    seats: Sequence[Seat]
    replicas: int
    plain: bool
    """Whether neither weights nor zones were ever used."""
    added: bool
    """Whether the step has added a node."""


@define
class History:
    """A ring that changes at random, all of it from one seed."""

    seed: int
    size_max: int = SIZE_MAX
    weighted: bool = False

    def steps(self) -> Iterator[Step]:
        """Yield every change."""
        chance = Random(self.seed)
        size = min(self.size_max, int(2 ** chance.uniform(0, 12.01)))
        replicas = min(size, chance.choice((1, 1, 2, 3, 3, 4, 5)))
        most = int(2 ** chance.uniform(0, 6.01))
        owners, seats = unowned(size), list[Seat]()
        for _ in range(chance.randint(2, 25)):
            count = len(seats)
            self._change(chance, seats, most)
            added = len(seats) > count
            before = owners[:]
            loads = {slot: load for slot, load in Counter(before).items() if slot != NOBODY}
            moved = rearrange(owners, loads, seats, replicas)
            yield Step(
                before, loads, owners[:], moved, list(seats), replicas, not self.weighted, added
            )

    def _change(self, chance: Random, seats: list[Seat], most: int) -> None:
        if len(seats) >= most or (len(seats) > 1 and chance.random() < 0.35):
            seats.pop(chance.randrange(len(seats)))
            if seats:
                return
        slot = min(set(range(NODES_MAX + 1)) - {seat.slot for seat in seats})
        weight = chance.choice((1, 1, 2, 3, 7)) if self.weighted else 1
        seats.append(Seat(slot, weight, chance.choice(ZONES) if self.weighted else ""))


def problem(step: Step) -> str:
    """Return what is wrong with a step; nothing if all is as it should be."""
    size = len(step.before)
    moved = {
        vnode: new
        for vnode, (old, new) in enumerate(zip(step.before, step.after, strict=True))
        if old not in (new, NOBODY)
    }
    if moved != step.moved:
        return "what is said to move is not what has moved"
    fewest = naive_fewest(size, step.seats, step.loads)
    if len(moved) != fewest or fewest != fewest_moves(size, step.seats, step.loads):
        return f"{len(moved)} vnodes move, {fewest} are enough"
    loads = Counter(step.after)
    for seat, (low, high) in zip(step.seats, bounds(size, step.seats), strict=True):
        if not low <= loads[seat.slot] <= high:
            return f"{seat} owns {loads[seat.slot]} of {size}"
    if sum(loads[seat.slot] for seat in step.seats) != size:
        return "somebody who has no seat owns something"
    if clashes(step) and not step.moved and not any(step.loads.values()) and fits(step):
        return "a new ring clashes, though it need not"
    if clashes(step) and step.plain and step.added and fits(step) and not before(step):
        return f"{clashes(step)} vnodes have a node twice among their replicas"
    return ""


def naive_fewest(size: int, seats: Sequence[Seat], loads: Mapping[int, int]) -> int:
    """Return the fewest moves, by adding the cheapest vnode to each node until all are given."""
    if not any(loads.values()):
        return 0
    limits = bounds(size, seats)
    given = [low for low, _ in limits]
    left = size - sum(given)
    kept = [min(loads.get(seat.slot, 0), low) for seat, low in zip(seats, given, strict=True)]
    gains = sorted(
        (
            loads.get(seat.slot, 0) > low
            for seat, (low, high) in zip(seats, limits, strict=True)
            if high > low
        ),
        reverse=True,
    )
    return sum(loads.values()) - sum(kept) - sum(gains[:left])


def clashes(step: Step) -> int:
    """Return how many vnodes have a node twice among their replicas."""
    return windows_spoiled(step.after, step.replicas)


def before(step: Step) -> int:
    """Return the same of the ring before the step."""
    return windows_spoiled(step.before, step.replicas)


def fits(step: Step) -> bool:
    """Tell whether some ring with these loads is without clashes, wherever it came from."""
    size = len(step.after)
    most = max(high for _, high in bounds(size, step.seats))
    return most <= size // step.replicas and len(step.seats) >= chromatic(size, step.replicas)


def check(seed: int, prove: bool, weighted: bool) -> tuple[int, int, int, list[str]]:
    """Return changes, changes that left clashes, how many of these need not, and what is wrong."""
    changes = left = avoidable = 0
    wrong = []
    for step in History(seed, weighted=weighted).steps():
        changes += 1
        why = problem(step)
        if why:
            wrong.append(f"seed {seed}, change {changes}: {why}")
        if step.replicas > 1 and clashes(step) and fits(step):
            left += 1
            if prove and _avoidable(step) is not False:
                avoidable += 1
                wrong.append(
                    f"seed {seed}, change {changes}: clashes could be avoided, or not told"
                )
    return changes, left, avoidable, wrong


def _avoidable(step: Step) -> bool | None:
    """Ask a solver whether a ring without clashes is in reach; None if it cannot tell."""
    from ortools.sat.python import cp_model  # type: ignore[import-not-found]

    size, slots = len(step.before), [seat.slot for seat in step.seats]
    model = cp_model.CpModel()
    owns = {(v, slot): model.new_bool_var("") for v in range(size) for slot in slots}
    for vnode in range(size):
        model.add_exactly_one(owns[vnode, slot] for slot in slots)
        for slot in slots:
            near = {(vnode + step_) % size for step_ in range(step.replicas)}
            model.add_at_most_one(owns[each, slot] for each in sorted(near))
    kept = [owns[v, slot] for v, slot in enumerate(step.before) if slot in slots]
    if any(step.loads.values()):
        model.add(sum(kept) == size - fewest_moves(size, step.seats, step.loads))
    for slot, (low, high) in zip(slots, bounds(size, step.seats), strict=True):
        model.add_linear_constraint(sum(owns[v, slot] for v in range(size)), low, high)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = 60
    solver.parameters.num_workers = 1
    answer = solver.solve(model)
    if answer in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return True
    return False if answer == cp_model.INFEASIBLE else None


def _check(about: tuple[int, bool, bool]) -> tuple[int, int, int, list[str]]:
    return check(*about)


def main(arguments: Sequence[str], write: Callable[[str], None] = print) -> int:
    """Run histories and say what was found; the exit status is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--prove", action="store_true", help="ask a solver about every clash")
    parser.add_argument("--weighted", action="store_true", help="weights and zones, too")
    options = parser.parse_args(arguments)
    seeds = range(options.start, options.start + options.count)
    totals, wrong = [0, 0, 0], 0
    with multiprocessing.Pool(options.jobs) as pool:
        about = ((seed, options.prove, options.weighted) for seed in seeds)
        for *numbers, problems in pool.imap_unordered(_check, about, 8):
            totals = [total + number for total, number in zip(totals, numbers, strict=True)]
            wrong += len(problems)
            for each in problems:
                write(each)
    write(
        f"{options.count} histories, {totals[0]} changes: moves are the fewest and loads within 1"
        f" in all but {wrong}; {totals[1]} left clashes though the loads would allow none"
        + (f", {totals[2]} of which could be avoided" if options.prove else "")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
