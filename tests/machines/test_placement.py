"""Who owns which vnodes, and what has to move."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.machines.placement import STRATEGIES, Layout, continuous, moved, relocations

NAMES = [f"n{number}" for number in range(1, 100)]


def owners(layout: Layout, size: int) -> list[str]:
    """Return the owner of each vnode, the slow way; fails on a vnode owned twice or never."""
    found: dict[int, str] = {}
    for node, start, end in layout:
        for vnode in range(start, end):
            if vnode in found:
                raise AssertionError(f"{vnode} is owned by {found[vnode]} and by {node}")
            found[vnode] = node
    return [found[vnode] for vnode in range(size)]


class ContinuousTests(SynchronousTestCase):
    def ranges(self, size: int, count: int) -> list[tuple[int, int]]:
        return [(start, end - 1) for _, start, end in continuous(size, NAMES[:count])]

    def test_eight_vnodes(self) -> None:
        """Eight vnodes are spread over one to four nodes exactly as the original does."""
        self.assertEqual(self.ranges(8, 1), [(0, 7)])
        self.assertEqual(self.ranges(8, 2), [(0, 3), (4, 7)])
        self.assertEqual(self.ranges(8, 3), [(0, 2), (3, 5), (6, 7)])
        self.assertEqual(self.ranges(8, 4), [(0, 1), (2, 3), (4, 5), (6, 7)])

    def test_eight_vnodes_relocations(self) -> None:
        """The third node of eight vnodes gets two from the second, and that one from the first."""
        moves = relocations(continuous(8, NAMES[:2]), continuous(8, NAMES[:3]))
        self.assertEqual(moves, {"n1": {"n2": [(3, 4)]}, "n2": {"n3": [(6, 8)]}})

    def test_moves_of_a_growing_ring(self) -> None:
        """Growing a ring of 64 vnodes from one node to ten moves 276 vnodes in all."""
        layouts = [continuous(64, NAMES[:count]) for count in range(1, 11)]
        moves = [relocations(*pair) for pair in pairwise(layouts)]
        self.assertEqual(sum(map(moved, moves)), 276)

    def test_larger_shares_come_first(self) -> None:
        """The first (size mod n) nodes own one vnode more than the others."""
        sizes = [end - start for _, start, end in continuous(11, NAMES[:4])]
        self.assertEqual(sizes, [3, 3, 3, 2])

    def test_more_nodes_than_vnodes(self) -> None:
        """Nodes beyond the number of vnodes own nothing."""
        sizes = [end - start for _, start, end in continuous(2, NAMES[:4])]
        self.assertEqual(sizes, [1, 1, 0, 0])

    def test_nobody(self) -> None:
        """Without nodes nobody owns anything."""
        self.assertEqual(continuous(8, []), ())

    def test_known_by_name(self) -> None:
        """The strategy is found under the name that a ring stores."""
        self.assertIs(STRATEGIES["continuous"], continuous)

    @settings(deadline=None, max_examples=100)
    @given(st.integers(1, 300), st.integers(1, 40))
    def test_every_vnode_once(self, size: int, count: int) -> None:
        """Every vnode has one owner, in the order of the nodes; shares differ by one at most."""
        layout = continuous(size, NAMES[:count])
        found = owners(layout, size)
        self.assertEqual(found, sorted(found, key=NAMES.index))
        sizes = [end - start for _, start, end in layout]
        self.assertLessEqual(max(sizes) - min(sizes), 1)
        self.assertEqual(len(sizes), count)


class RelocationTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=100)
    @given(
        st.integers(1, 120),
        st.lists(st.sampled_from(NAMES[:12]), unique=True),
        st.lists(st.sampled_from(NAMES[:12]), unique=True),
    )
    def test_same_as_comparing_each_vnode(
        self, size: int, before: list[str], after: list[str]
    ) -> None:
        """What moves is what a comparison of the owners of each single vnode finds."""
        old, new = continuous(size, before), continuous(size, after)
        expected: dict[str, dict[str, list[int]]] = {}
        if before and after:
            pairs = zip(owners(old, size), owners(new, size), strict=True)
            for vnode, (source, target) in enumerate(pairs):
                if source != target:
                    expected.setdefault(source, {}).setdefault(target, []).append(vnode)
        moves = relocations(old, new)
        spelled = {
            source: {
                target: [vnode for start, end in ranges for vnode in range(start, end)]
                for target, ranges in targets.items()
            }
            for source, targets in moves.items()
        }
        self.assertEqual(spelled, expected)
        self.assertEqual(
            moved(moves), sum(len(each) for to in expected.values() for each in to.values())
        )
