"""Fewer clashes by exchanges that change neither the number of moves nor who owns too much.

A tabu search: time and again a vnode that clashes takes part in the best of these exchanges.

- Two vnodes swap owners, where as many move afterwards as before.  So two that move go each where
  the other was to go, or one stays and another one of the same giver goes instead.
- A vnode that moves goes to another taker, where the loads of both allow that.
- A vnode stays and one of another giver goes instead, where the loads of both allow that.

The best may be one that makes things worse for the moment; what was found best is what remains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from attrs import define, field

from uring.machines.ring.chains import Chains
from uring.machines.ring.chance import Sequence64
from uring.machines.ring.seats import NOBODY, Moves, Owners
from uring.machines.ring.spacing import Board, most_spaced

_STEPS_IDLE = 1000
"""Steps without a new best before the search gives up;"""
_STEPS_HOPELESS = 60
"""the same where some clash must remain for certain."""
_PARTNERS = 600
"""Partners that are looked at for one vnode, where there are more."""
_BUDGET = 400_000
"""Partners looked at in all: about a second;"""
_BUDGET_HOPELESS = 40_000
"""the same where some clash must remain."""
_HOPELESS_SIZE_MAX = 1 << 16
"""Vnodes of a ring up to which it is found out whether there is hope."""
_CHAINS_SIZE_MAX = 1 << 13
"""Vnodes of a ring,"""
_CHAINS_NODES_MAX = 24
"""and nodes, up to which chains are looked for: with more nodes exchanges do."""
_TENURE = 8
"""Steps for which what was exchanged is left alone."""

Exchange = tuple[tuple[int, int], ...]
"""(vnode, its new owner) for each."""


def mend(
    board: Board, moves: Moves, before: Owners | None, limits: Mapping[int, tuple[int, int]]
) -> None:
    """Improve ``moves`` and the owners on ``board``, which agree.

    ``before`` are the owners before the change, or None if there were none; ``limits`` is slot ->
    (least, most) vnodes, for every slot that may own some afterwards.
    """
    search = Search(board, moves, before, limits)
    if search.begin():
        search.run()


@define
class Search:
    """The state of one search."""

    board: Board
    moves: Moves
    before: Owners | None
    limits: Mapping[int, tuple[int, int]]
    _chance: Sequence64 = field(factory=lambda: Sequence64(1), init=False)
    _loads: Counter[int] = field(factory=Counter, init=False)
    _bad: dict[int, int] = field(factory=dict, init=False)
    """Vnode that clashes -> what that costs."""
    _total: int = field(default=0, init=False)
    _best: int = field(default=0, init=False)
    _since_best: list[tuple[int, int]] = field(factory=list, init=False)
    """(vnode, owner before) of what was done since."""
    _tabu: dict[int, int] = field(factory=dict, init=False)
    _looked: int = field(default=0, init=False)
    _steps_idle: int = field(default=_STEPS_IDLE, init=False)
    _budget: int = field(default=_BUDGET, init=False)
    _moving: list[int] = field(factory=list, init=False)
    _moving_stale: bool = field(default=True, init=False)

    def begin(self) -> bool:
        """Find what clashes; False if nothing does."""
        board = self.board
        if self.before is None or board.size <= 1 << 16:
            suspects = board.clashing()
        else:
            owners = board.owners
            wrong = [v for v in sorted(self.moves) if board.cost(v, owners[v])]
            reach = range(1 - board.replicas, board.replicas)
            suspects = sorted({(v + step) % board.size for v in wrong for step in reach})
        for vnode in suspects:
            cost = board.cost(vnode, board.owners[vnode])
            if cost:
                self._bad[vnode] = cost
        self._total = self._best = sum(self._bad.values())
        if self._bad:
            self._loads = Counter(board.owners)
            if self._hopeless():
                self._steps_idle, self._budget = _STEPS_HOPELESS, _BUDGET_HOPELESS
        return bool(self._bad)

    def _hopeless(self) -> bool:
        """Tell whether some node must keep more vnodes than it can without a clash.

        One that has no more than its least load keeps all, any other one at least that many.
        """
        if self.before is None or self.board.size > _HOPELESS_SIZE_MAX:
            return False
        owned: dict[int, list[int]] = {slot: [] for slot in self.limits}
        for vnode, slot in enumerate(self.before):
            if slot in owned:
                owned[slot].append(vnode)
        if any(
            most_spaced(vnodes, self.board.size, self.board.replicas)
            < min(len(vnodes), self.limits[slot][0])
            for slot, vnodes in owned.items()
        ):
            return True
        staying = {slot for slot, vnodes in owned.items() if len(vnodes) <= self.limits[slot][0]}
        return any(self._unwanted(vnode, staying) for vnode in self.moves)

    def _unwanted(self, vnode: int, staying: set[int]) -> bool:
        """Tell whether nobody can own an orphan: all have a vnode near it that stays theirs."""
        assert self.before is not None
        before, size = self.before, self.board.size
        near: set[int] = set()
        if before[vnode] in self.limits:
            return False
        for step in range(1, self.board.replicas):
            near.update((before[vnode - step], before[(vnode + step) % size]))
        return len(near & staying) == len(self.limits)

    def run(self) -> None:
        """Search until nothing clashes, or for as long as it is worth it."""
        self._exchange()
        while self._bad and self._looked < self._budget and self._pass_on():
            self._exchange()

    def _pass_on(self) -> bool:
        """Mend one clash by a chain; False where there is none that helps."""
        if self._steps_idle == _STEPS_HOPELESS or self.board.size > _CHAINS_SIZE_MAX:
            return False
        if len(self.limits) > _CHAINS_NODES_MAX:
            return False
        chains = Chains(self.board, self._origin, self._may, list(self.limits))
        for vnode in sorted(self._bad):
            steps = chains.find(vnode)
            if steps is None:
                continue
            self._do(tuple(steps))
            if self._total < self._best:
                self._best = self._total
                self._since_best.clear()
                return True
            self._undo()
        return False

    def _exchange(self) -> None:
        step = idle = 0
        self._tabu.clear()
        while self._bad and idle < self._steps_idle and self._looked < self._budget:
            step, idle = step + 1, idle + 1
            vnode = self._choose(step)
            exchange = None if vnode is None else self._best_exchange(vnode, step)
            if exchange is None:
                continue
            self._do(exchange)
            for changed, _ in exchange:
                self._tabu[changed] = step + _TENURE + self._chance.below(4)
            if self._total < self._best:
                self._best = self._total
                self._since_best.clear()
                idle = 0
        self._undo()

    def _undo(self) -> None:
        """Go back to the best that was found."""
        for vnode, slot in reversed(self._since_best):
            self._set(vnode, slot)
        self._since_best.clear()

    def _choose(self, step: int) -> int | None:
        """Return some vnode that clashes and was not exchanged just now."""
        bad = list(self._bad)
        start = self._chance.below(len(bad))
        for vnode in bad[start:] + bad[:start]:
            if self._tabu.get(vnode, 0) < step:
                return vnode
        return None

    def _best_exchange(self, vnode: int, step: int) -> Exchange | None:
        best: Exchange | None = None
        best_gain = -(1 << 60)
        for exchange in self._exchanges(vnode):
            self._looked += 1
            if len(exchange) == 2 and self._tabu.get(exchange[1][0], 0) >= step:
                continue
            gain = self._gain(exchange)
            if gain > best_gain:
                best, best_gain = exchange, gain
                if gain >= 2 * self._bad[vnode]:
                    break  # all that can be had here
        return best

    # -- what can be exchanged -------------------------------------------------------------------

    def _origin(self, vnode: int) -> int:
        return NOBODY if self.before is None else self.before[vnode]

    def _exchanges(self, vnode: int) -> Iterator[Exchange]:
        owners, origin = self.board.owners, self._origin(vnode)
        mine = owners[vnode]
        moves = mine != origin
        if moves:
            yield from self._elsewhere(vnode, mine, origin)
        for other in self._partners(vnode):
            theirs, source = owners[other], self._origin(other)
            if other == vnode or theirs == mine:
                continue
            kept = (mine == origin) + (theirs == source)
            if (theirs == origin) + (mine == source) == kept:
                yield (vnode, theirs), (other, mine)
            elif moves and theirs == source and self._may(origin, 1) and self._may(theirs, -1):
                yield (vnode, origin), (other, mine)
            elif not moves and theirs != source and self._may(mine, -1) and self._may(source, 1):
                yield (vnode, theirs), (other, source)

    def _elsewhere(self, vnode: int, mine: int, origin: int) -> Iterator[Exchange]:
        """Another taker for a vnode that moves anyway."""
        if self._may(mine, -1):
            for slot in self.limits:
                if slot not in (mine, origin) and self._may(slot, 1):
                    yield ((vnode, slot),)

    def _may(self, slot: int, more: int) -> bool:
        """Tell whether ``slot`` may own one vnode more or less."""
        if slot not in self.limits:
            return False
        low, high = self.limits[slot]
        return low <= self._loads[slot] + more <= high

    def _partners(self, vnode: int) -> Iterator[int]:
        """Yield vnodes to trade with: all of a small ring, some of a large one."""
        size = self.board.size
        if size <= _PARTNERS:
            start = self._chance.below(size)
            yield from range(start, size)
            yield from range(start)
            return
        if self._moving_stale:
            self._moving, self._moving_stale = sorted(self.moves), False
        moving = self._moving
        count = min(len(moving), _PARTNERS // 2)
        start = self._chance.below(len(moving))
        yield from (moving[(start + number) % len(moving)] for number in range(count))
        origin = self._origin(vnode)
        if origin in self.limits:
            yield from self._of_owner(origin, self._chance.below(size))
        else:
            start = self._chance.below(size)
            yield from ((start + number) % size for number in range(_PARTNERS // 2))

    def _of_owner(self, slot: int, start: int) -> Iterator[int]:
        owners, at = self.board.owners, start
        for _ in range(_PARTNERS // 2):
            try:
                at = owners.index(slot, at)
            except ValueError:
                return
            yield at
            at += 1

    # -- what it brings --------------------------------------------------------------------------

    def _gain(self, exchange: Exchange) -> int:
        """Return by how much the costs of the vnodes concerned would fall."""
        board, owners = self.board, self.board.owners
        if len(exchange) == 1:
            ((vnode, slot),) = exchange
            return 2 * (board.cost(vnode, owners[vnode]) - board.cost(vnode, slot))
        (one, new_one), (two, new_two) = exchange
        old_one, old_two = owners[one], owners[two]
        # One after the other, so that a pair of the two is counted once.
        gain = board.cost(one, old_one) - board.cost(one, new_one)
        owners[one] = new_one
        gain += board.cost(two, old_two) - board.cost(two, new_two)
        owners[one] = old_one
        return 2 * gain

    def _do(self, exchange: Exchange) -> None:
        for vnode, slot in exchange:
            self._since_best.append((vnode, self.board.owners[vnode]))
            self._set(vnode, slot)

    def _set(self, vnode: int, slot: int) -> None:
        """Let ``slot`` own ``vnode``, and keep all that is counted."""
        board, owners = self.board, self.board.owners
        reach = max(board.replicas, board.spread)
        around = {(vnode + step) % board.size for step in range(1 - reach, reach)}
        self._loads[owners[vnode]] -= 1
        self._loads[slot] += 1
        owners[vnode] = slot
        if slot == self._origin(vnode):
            self.moves.pop(vnode, None)
        else:
            self.moves[vnode] = slot
        self._moving_stale = True
        for near in sorted(around):
            self._total -= self._bad.pop(near, 0)
            cost = board.cost(near, owners[near])
            if cost:
                self._bad[near] = cost
                self._total += cost
