"""Placement by the strategy "minimal": few moves, even loads, replicas on distinct nodes."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.machines.ring.sequences import History, Step, clashes, problem
from uring.machines.ring.few import classes
from uring.machines.ring.minimal import rearrange
from uring.machines.ring.seats import NOBODY, Owners, Seat, bounds, fewest_moves, targets, unowned
from uring.machines.ring.spacing import chromatic, most_spaced, windows_spoiled


def seats(count: int) -> list[Seat]:
    return [Seat(slot) for slot in range(count)]


class Ring:
    """A ring in which nodes come and go."""

    def __init__(self, size: int, replicas: int = 1) -> None:
        self.owners: Owners = unowned(size)
        self.replicas = replicas

    def change(self, after: list[Seat]) -> int:
        """Return how many vnodes moved."""
        loads = {slot: load for slot, load in Counter(self.owners).items() if slot != NOBODY}
        moved = rearrange(self.owners, loads, after, self.replicas)
        return len(moved)

    @property
    def spoiled(self) -> int:
        return windows_spoiled(self.owners, self.replicas)


class ClassTests(SynchronousTestCase):
    """How a ring is cut into classes while there are too few nodes."""

    def test_dealt(self) -> None:
        """The first vnode of every round comes first, then the second, in classes of one size."""
        for size, replicas in product(range(1, 90), range(1, 8)):
            if replicas > size:
                continue
            cut = classes(size, replicas)
            base, longer = divmod(cut.size, cut.rounds)
            rounds, at = [], 0
            for number in range(cut.rounds):
                length = base + (number < longer)
                rounds.append(range(at, at + length))
                at += length
            order = [each[row] for row in range(base + 1) for each in rounds if row < len(each)]
            wanted = [0] * size
            for dealt, vnode in enumerate(order):
                wanted[vnode] = dealt * cut.count // size
            self.assertEqual(list(cut.of_all()), wanted, (size, replicas))


class LoadTests(SynchronousTestCase):
    def test_shares(self) -> None:
        """Shares follow the weights, rounded; who was added earlier gets more."""
        self.assertEqual(targets(8, seats(3), {}), {0: 3, 1: 3, 2: 2})
        weighted = [Seat(0, 2), Seat(1), Seat(2)]
        self.assertEqual(targets(8, weighted, {}), {0: 4, 1: 2, 2: 2})
        self.assertEqual(targets(2, seats(3), {}), {0: 1, 1: 1, 2: 0})

    def test_keeping(self) -> None:
        """Who owns one more than others keeps it, even if it was added later."""
        self.assertEqual(targets(8, seats(3), {0: 2, 1: 3, 2: 3}), {0: 2, 1: 3, 2: 3})
        self.assertEqual(fewest_moves(8, seats(3), {0: 2, 1: 3, 2: 3}), 0)

    def test_fewest_moves(self) -> None:
        """The fewest moves are those that no loads within the bounds can do without."""
        for size, before in product((5, 6, 7), product((0, 1, 2, 3, 5), repeat=3)):
            if sum(before) != size:
                continue
            loads = dict(enumerate(before))
            for after in (seats(2), seats(3), [*seats(3), Seat(3)], [Seat(0, 2), Seat(2), Seat(3)]):
                total = sum(seat.weight for seat in after)
                bounds = [
                    {size * seat.weight // total, -(-size * seat.weight // total)} for seat in after
                ]
                names = [seat.slot for seat in after]
                fair = [each for each in product(*bounds) if sum(each) == size]
                best = min(self.moves(loads, dict(zip(names, each, strict=True))) for each in fair)
                self.assertEqual(fewest_moves(size, after, loads), best, (size, before, after))

    def moves(self, loads: dict[int, int], wanted: dict[int, int]) -> int:
        return sum(max(0, load - wanted.get(slot, 0)) for slot, load in loads.items())


class GrowthTests(SynchronousTestCase):
    def test_growing_to_ten(self) -> None:
        """A ring of 64 vnodes moves 121 of them on its way from one node to ten."""
        ring = Ring(64)
        moves = [ring.change(seats(count)) for count in range(1, 11)]
        self.assertEqual(sum(moves), 121)

    def test_examples(self) -> None:
        """A node gives its last vnodes, so ranges stay long."""
        ring = Ring(8)
        ring.change(seats(1))
        ring.change(seats(2))
        self.assertEqual(ring.owners.tolist(), [0, 0, 0, 0, 1, 1, 1, 1])
        ring.change(seats(3))
        self.assertEqual(ring.owners.tolist(), [0, 0, 0, 2, 1, 1, 1, 2])

    def test_replicas_as_soon_as_there_are_nodes_enough(self) -> None:
        """A ring that grows node by node has distinct replicas once its nodes are enough."""
        for size, replicas in product((12, 60, 64, 100, 256), (2, 3, 4)):
            ring = Ring(size, replicas)
            for count in range(1, 13):
                ring.change(seats(count))
                if size % replicas == 0 and count >= replicas:
                    self.assertEqual(ring.spoiled, 0, (size, replicas, count))
                if count >= 2 * replicas:
                    self.assertEqual(ring.spoiled, 0, (size, replicas, count))

    def test_million(self) -> None:
        """A thousand nodes share a million vnodes; one more gets 999, and takes one from each."""
        for replicas in (1, 3):
            ring = Ring(1_000_000, replicas)
            ring.change(seats(1000))
            self.assertEqual(ring.spoiled, 0)
            before = ring.owners[:]
            self.assertEqual(ring.change(seats(1001)), 999)
            givers = Counter(
                old for old, new in zip(before, ring.owners, strict=True) if old != new
            )
            self.assertEqual(set(givers.values()), {1})
            self.assertEqual(ring.spoiled, 0)

    def test_empty(self) -> None:
        """Without nodes nobody owns anything, and the next one gets all."""
        ring = Ring(8, 2)
        ring.change(seats(3))
        self.assertEqual(ring.change([]), 0)
        self.assertEqual(set(ring.owners), {NOBODY})
        self.assertEqual(ring.change([Seat(7)]), 0)
        self.assertEqual(set(ring.owners), {7})


class ZoneTests(SynchronousTestCase):
    def test_replicas_in_distinct_zones(self) -> None:
        """With zones enough, the replicas of each vnode are in distinct ones."""
        nodes = [Seat(slot, zone="abc"[slot % 3]) for slot in range(9)]
        ring = Ring(90, 3)
        ring.change(nodes)
        zones = [nodes[slot].zone for slot in ring.owners]
        spoiled = [v for v in range(90) if len({zones[(v + step) % 90] for step in range(3)}) < 3]
        self.assertEqual((spoiled, ring.spoiled), ([], 0))

    def test_two_zones(self) -> None:
        """With fewer zones than replicas, neighbours are at least in different ones."""
        nodes = [Seat(slot, zone="ab"[slot % 2]) for slot in range(8)]
        ring = Ring(64, 3)
        ring.change(nodes)
        zones = [nodes[slot].zone for slot in ring.owners]
        self.assertEqual([v for v in range(64) if zones[v - 1] == zones[v]], [])
        self.assertEqual(ring.spoiled, 0)


class SpacingTests(SynchronousTestCase):
    def test_chromatic(self) -> None:
        """Nodes that are enough are as many as a search finds."""
        for size, replicas in product(range(3, 10), (2, 3)):
            enough = chromatic(size, replicas)
            self.assertTrue(self.colourable(size, replicas, enough))
            self.assertFalse(self.colourable(size, replicas, enough - 1))

    def colourable(self, size: int, replicas: int, colours: int) -> bool:
        def extend(chosen: list[int]) -> bool:
            if len(chosen) == size:
                return all(
                    len({chosen[(v + step) % size] for step in range(replicas)}) == replicas
                    for v in range(size)
                )
            near = chosen[-(replicas - 1) :]
            return any(
                extend([*chosen, colour])
                for colour in range(min(colours, len(set(chosen)) + 1))
                if colour not in near
            )

        return extend([])

    @settings(deadline=None, max_examples=200)
    @given(st.integers(4, 14), st.integers(2, 4), st.data())
    def test_most_spaced(self, size: int, replicas: int, data: st.DataObject) -> None:
        """The largest set without a clash is as large as trying all of them finds."""
        vnodes = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))

        def fine(chosen: tuple[int, ...]) -> bool:
            return all(replicas <= (b - a) <= size - replicas for a, b in combinations(chosen, 2))

        best = max(
            count
            for count in range(1, len(vnodes) + 1)
            if any(fine(chosen) for chosen in combinations(vnodes, count))
        )
        self.assertEqual(most_spaced(vnodes, size, replicas), best)


class HistoryTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 1 << 32), st.booleans())
    def test_any_history(self, seed: int, weighted: bool) -> None:
        """After any changes: the fewest moves, loads by weight, and no needless clash."""
        for step in History(seed, size_max=300, weighted=weighted).steps():
            self.assertEqual(problem(step), "", step)

    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 1 << 32))
    def test_small_rings_are_as_good_as_can_be(self, seed: int) -> None:
        """On small rings, clashes are left only where every other way of moving leaves some."""
        for step in History(seed, size_max=9).steps():
            if len(step.seats) > 4 or not any(step.loads.values()) or not clashes(step):
                continue
            self.assertFalse(self.avoidable(step), step)

    def avoidable(self, step: Step) -> bool:
        """Try all assignments that move as few vnodes."""
        size, slots = len(step.before), [seat.slot for seat in step.seats]
        limits = dict(zip(slots, bounds(size, step.seats), strict=True))
        moves = fewest_moves(size, step.seats, step.loads)

        def extend(chosen: list[int], moved: int) -> bool:
            moved += bool(chosen) and chosen[-1] != step.before[len(chosen) - 1]
            if moved > moves or (chosen and chosen.count(chosen[-1]) > limits[chosen[-1]][1]):
                return False
            if len(chosen) == size:
                fair = all(low <= chosen.count(slot) for slot, (low, _) in limits.items())
                return fair and all(
                    len({chosen[(v + each) % size] for each in range(step.replicas)})
                    == step.replicas
                    for v in range(size)
                )
            near = chosen[-(step.replicas - 1) :] if step.replicas > 1 else []
            return any(extend([*chosen, slot], moved) for slot in slots if slot not in near)

        return extend([], 0)

    def test_same_everywhere(self) -> None:
        """The same history leads to the same ring, and this one to these owners."""
        steps = list(History(5, size_max=40).steps())
        again = list(History(5, size_max=40).steps())
        self.assertEqual([step.after for step in steps], [step.after for step in again])
        ring = Ring(16, 3)
        for count in (1, 2, 3, 4, 5, 6):
            ring.change(seats(count))
        self.assertEqual(bytes(ring.owners.tolist()).hex(), "05040203000104030001020500010203")
