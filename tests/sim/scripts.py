"""Faults in an order that chance hardly ever finds: scenarios of the papers, step by step.

Each script is a generator.  What it yields is what it waits for: a condition, looked at after every
step of the world, and the simulated seconds after which it gives up.  Meanwhile it decides which
messages are lost.  That is all it may do, beside killing processes, asking for what operators ask
for, and writing as a client: whatever goes wrong then is the node's own doing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from uring.machines.commands import Put
from uring.raft.messages import Append, AppendResponse, Heartbeat, PreVote, Vote
from uring.raft.types import EntryKind

if TYPE_CHECKING:
    from tests.sim.world import Life, World

Condition = Callable[[], object]
Script = Generator[tuple[Condition, float], None, None]
Lost = Callable[["Life", "Life", Any], bool]

SHARE = 0.25
"""Of the worlds, those in which scripts are played."""
FIRST = (0.8, 2.0)
"""Seconds in which the first one begins, and after it the next."""


class Stage:
    """What scripts work with, and the one that is played."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random("script")
        self.is_open = self.random.random() < SHARE
        self._script: Script | None = None
        self._name = ""
        self._condition: Condition = lambda: False
        self._deadline = 0.0

    def begin(self) -> None:
        """Play one after the other, if this world has any."""
        names = [name for name in SCRIPTS if name not in self.world.options.without]
        if self.is_open and names:
            self._plan(names)

    def _plan(self, names: list[str]) -> None:
        self.world.schedule(self.random.uniform(*FIRST), "", lambda: self._start(names))

    def _start(self, names: list[str]) -> None:
        if not self.world.faults.active:
            return
        self._name = self.random.choice(names)
        self._names = names
        self._script = SCRIPTS[self._name](self, Random(self.random.random()))
        self.world.note(None, f"script: {self._name}")
        self._advance()

    def look(self) -> None:
        """See after a step whether the script can go on, or has waited for too long."""
        if self._script is None:
            return
        if self.world.now >= self._deadline:
            self.end("waited in vain")
        elif self._condition():
            self._advance()

    def _advance(self) -> None:
        assert self._script is not None
        try:
            self._condition, seconds = next(self._script)
        except StopIteration:
            self.end("done")
        else:
            self._deadline = self.world.now + seconds

    def end(self, why: str) -> None:
        """Let every message through again."""
        if self._script is not None:
            self.world.note(None, f"script: {self._name}: {why}")
            self._script = None
            self.world.network.loses = lambda sender, receiver, message: False
            if self.world.faults.active:
                self._plan(self._names)

    # -- what scripts may do -----------------------------------------------------------------------

    def lose(self, lost: Lost) -> None:
        """Decide from now on which messages are lost."""
        self.world.faults.counts[self._name] += 1
        self.world.network.loses = lost

    def leader(self) -> Life | None:
        """Return who leads the newest term."""
        leaders = [life for life in self.lives() if life.node.raft.is_leader]
        return max(leaders, key=lambda life: life.node.raft.term) if leaders else None

    def lives(self) -> list[Life]:
        return [
            host.life
            for host in self.world.hosts.values()
            if host.life is not None and host.life.node is not None
        ]

    def life(self, node: int) -> Life | None:
        life = self.world.hosts[node].life
        return life if life is not None and life.node is not None else None

    def leads(self, node: int, after: int = 0) -> bool:
        """Tell whether ``node`` leads a term later than ``after``."""
        life = self.life(node)
        return life is not None and life.node.raft.is_leader and life.node.raft.term > after

    def write(self, life: Life, count: int = 1) -> None:
        """Write as clients do that hang up at once; each write is an entry of its own."""
        for number in range(count):
            command = Put("script", f"{self.world.now:.4f} {number}")
            life.later(
                number * 0.02,
                "a script writes",
                lambda command=command: life.node.submit(command, lambda answer: None),  # type: ignore[misc]
            )

    def settled(self) -> Life | None:
        """Return the leader once it has committed all it has and leads all the voters."""
        leader = self.leader()
        if leader is None:
            return None
        raft = leader.node.raft
        voters = raft.conf_state.voters
        peers = {life.id for life in self.lives()}
        if raft.commit < raft.last_index or leader.id not in voters or not peers >= {*voters}:
            return None
        return leader if len(voters) >= 3 and not raft.conf_change_pending else None


def _between(one: Life, other: Life, some: Iterable[int]) -> bool:
    """Tell whether a message would enter or leave the group ``some``."""
    return (one.id in some) is not (other.id in some)


def _durable(life: Life, index: int, term: int) -> bool:
    log = life.directory.log
    return bool(log.first_index() <= index <= log.last_index() and log.term(index) == term)


def figure_8(stage: Stage, random: Random) -> Script:
    """The Raft paper, figure 8: an entry of an old term is on a majority, and is overwritten.

    Leader a has an entry that nobody else has when it is cut off.  Leader b of the next term gets
    no further.  Then a is elected again, and sends everybody the old entry but nothing of its own
    term; it must not count that as committed, for b, whose last term is later, wins the next vote.
    """
    yield lambda: stage.settled() is not None, 3.0
    a = stage.settled()
    assert a is not None
    raft, first_term = a.node.raft, a.node.raft.term
    index = raft.last_index + 1
    b = random.choice([voter for voter in raft.conf_state.voters if voter != a.id])
    only: int = 0
    """Who may campaign."""
    cut: set[int] = set()

    def lost(sender: Life, receiver: Life, message: Any) -> bool:
        kind = type(message)
        if _between(sender, receiver, cut):
            return True
        if kind in (PreVote, Vote):
            return bool(sender.id != only)
        if kind is not Append or not message.entries or message.term < first_term:
            return False
        if message.term == first_term:
            return bool(message.entries[-1].index >= index)
        # Those that follow what the receiver has not are refused, which shows what it lacks.
        fits = receiver.node.raft._state.log.matches(message.prev_index, message.prev_term)
        return any(entry.term > first_term for entry in message.entries) and bool(fits)

    stage.lose(lost)
    stage.write(a)
    yield lambda: a.alive and _durable(a, index, first_term), 1.0
    cut, only = {a.id}, b
    yield lambda: stage.leads(b, first_term) and _durable_own(stage, b), 4.0
    cut, only = {b}, a.id
    yield lambda: stage.leads(a.id, first_term + 1), 6.0
    quorum = len(raft.conf_state.voters) // 2 + 1

    def spread() -> bool:
        return sum(_durable(life, index, first_term) for life in stage.lives()) >= quorum

    yield spread, 2.0
    again = stage.world.now + 0.3
    yield lambda: stage.world.now >= again, 1.0
    cut, only = {a.id}, b
    yield lambda: stage.leads(b, first_term + 2), 6.0


def _durable_own(stage: Stage, node: int) -> bool:
    """Tell whether a leader's first entry of its term is on its own disk."""
    life = stage.life(node)
    return life is not None and _durable(
        life, life.node.directory.log.last_index(), life.node.raft.term
    )


def two_removals(stage: Stage, random: Random, *, by_two: bool = False) -> Script:
    """Two members are removed at once, and a third does not hear that it is committed.

    Each configuration overlaps with the next one, but not with the one after that (thesis 4.1).
    If the second removal were proposed before the first is applied, the old majority, of the third
    and the two that are gone, could elect a leader without what the new majority has committed.
    With ``by_two`` the second one is asked of a new leader, which has the first in its log and does
    not know of its commit: what was wrong with single-server changes until 2015.
    """
    yield lambda: stage.settled() is not None, 3.0
    a = stage.settled()
    assert a is not None
    term, voters = a.node.raft.term, [i for i in a.node.raft.conf_state.voters if i != a.id]
    random.shuffle(voters)
    gone, (unaware, b, *_) = voters[:2], voters[2:] if len(voters) >= 4 else (0, 0)
    if not b:
        yield lambda: False, 0.0  # too few of them
    apart: set[int] = set()
    only, first = 0, 0
    """Who may campaign, and where the first removal stands."""

    def lost(sender: Life, receiver: Life, message: Any) -> bool:
        nonlocal first
        kind = type(message)
        if kind is Append and not first:
            first = min([e.index for e in message.entries if e.kind is not EntryKind.NORMAL] or [0])
        if _between(sender, receiver, apart) or (kind in (PreVote, Vote) and sender.id != only):
            return True
        if kind is Append and receiver.id in gone:
            return True
        tells = kind in (Append, Heartbeat) and first
        # With two leaders nobody hears of the first one's commit.
        hears = receiver.id == unaware or (by_two and only == 0)
        return bool(hears and tells and message.commit >= first)

    stage.lose(lost)
    _remove(a, gone[0])
    leader = a
    if by_two:
        yield lambda: first and all(_has(stage, node, first) for node in (a.id, b, unaware)), 1.0
        apart, only = {a.id}, b
        yield lambda: stage.leads(b, term), 4.0
        apart, leader = set(), stage.life(b)  # type: ignore[assignment]
    _remove(leader, gone[1])
    size = len(voters) + 1 - len(gone)
    yield lambda: leader.alive and len(leader.node.raft.conf_state.voters) <= size, 3.0
    apart, only = {unaware, *gone}, unaware
    stage.write(leader)
    last = leader.node.raft.last_index
    yield lambda: leader.alive and leader.node.raft.commit > last, 2.0
    yield lambda: stage.leads(unaware, leader.node.raft.term), 6.0


def _remove(life: Life, node: int) -> None:
    def remove() -> None:
        life.node.remove_member(node, True).addErrback(lambda failure: None)

    life.later(0.0, f"a script removes {node}", remove)


def _has(stage: Stage, node: int, index: int) -> bool:
    life = stage.life(node)
    return life is not None and life.directory.log.last_index() >= index


def last_removal(stage: Stage, random: Random) -> Script:
    """All members but the leader are removed; the last one's disk goes, and the power fails.

    That a member was removed must survive the restart, or its vote is waited for that cannot come.
    """
    yield lambda: stage.settled() is not None, 3.0
    a = stage.settled()
    assert a is not None
    others = [voter for voter in a.node.raft.conf_state.voters if voter != a.id]
    random.shuffle(others)
    removed: list[int] = []
    stage.lose(lambda sender, receiver, message: False)
    stage.world.faults.slow_down(a.id, 0.1, 3.0)
    for node in others:

        def done(result: object, node: int = node) -> None:
            if result is None:
                removed.append(node)
                if len(removed) == len(others):
                    stage.world.schedule(0.0, "", partial(_wipe_and_cut, stage, node, a))

        a.node.remove_member(node, True).addBoth(done)
        yield lambda node=node: node in removed, 2.0  # type: ignore[misc]
    yield lambda: (life := stage.life(a.id)) is not None and life.node.raft.is_leader, 4.0
    for node in others:
        if (life := stage.life(a.id)) is not None and stage.life(node) is not None:
            life.later(
                0.0,
                f"a script adds {node}",
                lambda life=life, node=node: life.node.add_member(  # type: ignore[misc]
                    node, f"node{node}:1"
                ).addErrback(lambda failure: None),
            )
            yield lambda node=node: node in stage.world.properties.members(), 3.0  # type: ignore[misc]


def _wipe_and_cut(stage: Stage, node: int, life: Life) -> None:
    stage.world.faults.wipe(node)
    stage.world.end(life, "a script takes its power", power=True)


def returning_leader(stage: Stage, random: Random) -> Script:
    """A leader that was cut off returns with entries that nobody else has, and restarts.

    The first entry that replaces them is on its disk, the rest is still on its way; what its disk
    held behind it must be gone then.
    """
    yield lambda: stage.settled() is not None, 3.0
    a = stage.settled()
    assert a is not None
    raft, first_term = a.node.raft, a.node.raft.term
    index = raft.last_index + 1
    cut = {a.id}

    def lost(sender: Life, receiver: Life, message: Any) -> bool:
        if _between(sender, receiver, cut):
            return True
        # When it is back, it is sent one entry, and no more before it has restarted.
        new = type(message) is Append and receiver.id == a.id and message.entries
        return bool(new and message.term > first_term and message.entries[-1].index > index)

    stage.lose(lost)
    stage.write(a, 5)
    yield lambda: a.alive and _durable(a, index + 3, first_term), 1.0

    def successor() -> Life | None:
        leader = stage.leader()
        return leader if leader is not None and leader.node.raft.term > first_term else None

    yield lambda: (b := successor()) is not None and b.node.raft.commit >= index, 4.0
    cut = set()
    yield (
        lambda: (
            a.alive and a.directory.log.last_index() >= index and not _durable(a, index, first_term)
        ),
        4.0,
    )
    if a.alive:
        stage.world.end(a, "it is restarted by a script", power=random.random() < 0.5)
    yield lambda: (life := stage.life(a.id)) is not None and life is not a, 4.0


def deposed_reader(stage: Stage, random: Random) -> Script:
    """A leader commits, answers, and is cut off before anybody hears that it was committed.

    Its successor has the entry and must not answer reads before it knows that it is committed.
    """
    yield lambda: stage.settled() is not None, 3.0
    a = stage.settled()
    assert a is not None
    first_term, commit = a.node.raft.term, a.node.raft.commit
    cut: set[int] = set()
    is_held = True

    def lost(sender: Life, receiver: Life, message: Any) -> bool:
        if _between(sender, receiver, cut):
            return True
        if type(message) in (Append, Heartbeat) and message.term == first_term:
            return bool(message.commit > commit)
        # The first entry of the successor's term is acknowledged by nobody for a while.
        later = type(message) is AppendResponse and message.term > first_term
        return is_held and later and not message.reject

    stage.lose(lost)
    until = stage.world.now + random.uniform(0.1, 0.4)
    yield lambda: stage.world.now >= until and a.alive and a.node.raft.commit > commit, 1.0
    cut = {a.id}
    yield lambda: (b := stage.leader()) is not None and b.node.raft.term > first_term, 4.0
    released = stage.world.now + 0.7
    yield lambda: stage.world.now >= released, 1.0
    is_held = False
    yield lambda: stage.settled() is not None, 2.0


SCRIPTS: dict[str, Callable[[Stage, Random], Script]] = {
    "figure 8": figure_8,
    "two removals": two_removals,
    "removals by two leaders": partial(two_removals, by_two=True),
    "last removal": last_removal,
    "returning leader": returning_leader,
    "deposed reader": deposed_reader,
}
