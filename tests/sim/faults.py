"""What goes wrong, and when: each kind of fault has its own source of chance.

So a kind can be switched off, or come less often, while the others stay as they are; that is how a
failing seed is made smaller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim.stores import BROKEN, FULL
from uring.store.failures import StoreFailed

if TYPE_CHECKING:
    from tests.sim.world import Host, Life, World

RATES: dict[str, float] = {
    "loss": 0.25,
    "delay": 0.25,
    "duplicate": 0.2,
    "reorder": 0.25,
    "partition": 0.3,
    "one-way": 0.15,
    "partial": 0.2,
    "reset": 0.2,
    "kill": 0.2,
    "power": 0.2,
    "crash at": 0.35,
    "blackout": 0.06,
    "stall": 0.15,
    "slow disk": 0.2,
    "broken disk": 0.08,
    "full disk": 0.08,
    "pause": 0.25,
    "stop": 0.1,
    "transfer": 0.25,
    "add": 0.2,
    "remove": 0.15,
    "replace": 0.12,
    "depose": 0.3,
    "rest": 0.3,
}
"""How often each kind comes, in a second."""


class Faults:
    """The faults of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.counts: Counter[str] = Counter()
        self.active = False
        self._coin = world.random("coin")
        self._randoms = {kind: world.random(f"fault {kind}") for kind in RATES}
        self._slow: dict[int, float] = {}
        self._stalled: dict[int, float] = {}
        self._restarts = world.random("restarts")
        self._replacing: set[int] = set()
        mood = world.random("mood")
        # No world has everything at once: with all of it nothing would ever get done.
        # What came later draws apart, so that older seeds stay the worlds they were.
        self._kinds = [
            kind
            for kind in RATES
            if (world.random("rests") if kind == "rest" else mood).random() < 0.6
            and kind not in world.options.without
        ]
        self._calm = 10 ** mood.uniform(-0.5, 0.4) * world.options.amount
        if world.stage.is_open:
            # Little else goes wrong, or no script would ever come to its end.
            self._calm *= 0.1
        # In some worlds leaders are deposed again and again, while members come and go.
        self._stormy = mood.random() < 0.25

    # -- when ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Let each kind come at its own times."""
        self.active = True
        for kind in self._kinds:
            self._plan(kind)

    def _plan(self, kind: str) -> None:
        rate = RATES[kind] * self._calm
        if self._stormy and kind in ("depose", "add", "remove"):
            rate *= 4
        if rate > 0:
            wait = self._randoms[kind].expovariate(rate)
            self.world.schedule(wait, "", lambda: self._strike(kind))

    def _strike(self, kind: str) -> None:
        if not self.active:
            return
        self._plan(kind)
        random = Random(self._randoms[kind].random())
        work: Callable[[Random], str | None] = getattr(
            self, "_" + kind.replace("-", " ").replace(" ", "_")
        )
        told = work(random)
        if told is not None:
            self.counts[kind] += 1
            self.world.note(None, f"fault: {kind}: {told}")

    def end(self) -> None:
        """No more faults: the network heals, and every machine is started."""
        self.active = False
        self._slow.clear()
        self._stalled.clear()
        network = self.world.network
        network.blocked.clear()
        network.weather = type(network.weather)()
        self.world.note(None, "the faults end")
        for host in self.world.hosts.values():
            host.files.begin()
            if host.life is None:
                self.world.begin(host)
            # A pause under way ends by itself: what was put off until then, its timers among it,
            # has its place already.

    def coin(self) -> bool:
        """Return True half of the time."""
        return self._coin.random() < 0.5

    def ended(self, host: Host) -> None:
        """A process is gone; somebody will start it again."""
        wait = self._restarts.choice((0.05, 0.3, 1.5)) * (0.5 + self._restarts.random())
        self.world.schedule(wait, "", lambda: self.world.begin(host))

    def disk_delay(self, life: Life, random: Random) -> float:
        """Return how much longer a write takes now, in seconds."""
        slow = self._slow.get(life.id, 0.0)
        stalled = max(0.0, self._stalled.get(life.id, 0.0) - self.world.now)
        return stalled + (random.expovariate(1 / slow) if slow else 0.0)

    def _later(self, random: Random, most: float, undo: Callable[[], Any]) -> float:
        seconds = random.uniform(0.1, most)
        self.world.schedule(seconds, "", undo)
        return seconds

    def _lives(self) -> list[Life]:
        return [host.life for host in self.world.hosts.values() if host.life is not None]

    def _life(self, random: Random) -> Life | None:
        """Return any process, the leader's more often than others."""
        lives = [life for life in self._lives() if life.node is not None]
        leaders = [life for life in lives if life.node.raft.is_leader]
        if leaders and random.random() < 0.35:
            return random.choice(leaders)
        return random.choice(lives) if lives else None

    # -- the network -----------------------------------------------------------------------------

    def _weather(self, random: Random, name: str, value: float) -> str:
        weather = self.world.network.weather
        setattr(weather, name, value)
        seconds = self._later(random, 2.5, lambda: setattr(weather, name, 0.0))
        return f"{value:.3f} for {seconds:.2f} s"

    def _loss(self, random: Random) -> str:
        return self._weather(random, "loss", random.choice((0.02, 0.1, 0.4)))

    def _delay(self, random: Random) -> str:
        return self._weather(random, "delay", random.choice((0.01, 0.05, 0.3)))

    def _duplicate(self, random: Random) -> str:
        return self._weather(random, "duplicate", random.choice((0.05, 0.3)))

    def _reorder(self, random: Random) -> str:
        weather = self.world.network.weather
        if not weather.delay:
            self._weather(random, "delay", random.choice((0.01, 0.05)))
        return self._weather(random, "reorder", random.choice((0.1, 0.5)))

    def _block(self, random: Random, pairs: set[tuple[int, int]], most: float) -> str:
        network = self.world.network
        network.blocked |= pairs
        seconds = self._later(random, most, lambda: network.blocked.difference_update(pairs))
        for a, b in sorted(pairs):
            one, other = self.world.hosts[a].life, self.world.hosts[b].life
            if one and other and one.node and other.node and random.random() < 0.4:
                wait = random.uniform(0.0, most)
                self.world.schedule(wait, "", partial(self.world.network.reset, one, other))
        return f"{sorted(pairs)} for {seconds:.2f} s"

    def _partition(self, random: Random) -> str:
        ids = sorted(self.world.hosts)
        random.shuffle(ids)
        cut = random.randrange(1, len(ids) - 1)
        here, there = ids[:cut], ids[cut:]
        pairs = {(a, b) for a in here for b in there} | {(b, a) for a in here for b in there}
        return self._block(random, pairs, 3.0)

    def _one_way(self, random: Random) -> str:
        ids = sorted(self.world.hosts)
        one = random.choice(ids)
        pairs = {(one, other) for other in ids if other != one and random.random() < 0.7}
        if random.random() < 0.5:
            pairs = {(b, a) for a, b in pairs}
        return self._block(random, pairs, 2.5)

    def _partial(self, random: Random) -> str:
        a, b = random.sample(sorted(self.world.hosts), 2)
        return self._block(random, {(a, b), (b, a)}, 4.0)

    def _depose(self, random: Random) -> str | None:
        """Cut off the leader, from all or from all but one: what it appended last is in few logs.

        Its successor may be cut off the same way before it has replicated more (Raft paper, figure
        8).
        """
        leaders = [life for life in self._lives() if life.node and life.node.raft.is_leader]
        if not leaders:
            return None
        leader = max(leaders, key=lambda life: life.node.raft.term).id
        others = [other for other in sorted(self.world.hosts) if other != leader]
        if random.random() < 0.5:
            others.remove(random.choice(others))
        pairs = {(leader, other) for other in others} | {(other, leader) for other in others}
        return self._block(random, pairs, 2.0)

    def _reset(self, random: Random) -> str | None:
        lives = [life for life in self._lives() if life.node is not None]
        if len(lives) < 2:
            return None
        one, other = random.sample(lives, 2)
        self.world.network.reset(one, other)
        return f"{one.id} and {other.id}"

    # -- processes -------------------------------------------------------------------------------

    def _end(self, random: Random, why: str, power: bool) -> str | None:
        life = self._life(random)
        if life is None:
            return None
        self.world.end(life, why, power)
        return f"node {life.id}"

    def _kill(self, random: Random) -> str | None:
        return self._end(random, "it was killed", power=False)

    def _power(self, random: Random) -> str | None:
        return self._end(random, "its power failed", power=True)

    def _crash_at(self, random: Random) -> str | None:
        life = self._life(random)
        if life is None:
            return None
        life.host.files.crash_in = random.randrange(1, 20)
        return f"node {life.id} in {life.host.files.crash_in} touches"

    def _blackout(self, random: Random) -> str:
        for life in self._lives():
            self.world.end(life, "the power failed everywhere", power=True)
        return "everywhere"

    def _pause(self, random: Random) -> str | None:
        life = self._life(random)
        if life is None:
            return None
        seconds = random.choice((0.2, 0.7, 2.5)) * random.uniform(0.5, 1.5)
        life.paused_until = self.world.now + seconds
        return f"node {life.id} for {seconds:.2f} s"

    def _stop(self, random: Random) -> str | None:
        """Stop as the service does: hand over, answer what waits, sync."""
        life = self._life(random)
        if life is None:
            return None

        def stop() -> None:
            if not life.stopped:
                life.node.stop()
                with suppress(StoreFailed):
                    life.directory.state.sync().write()
                life.stopped = STOPPED

        def hand_over() -> None:
            life.node.hand_over().addBoth(lambda result: life.later(0.0, "", stop))
            life.later(1.0, "stops", stop)

        life.later(0.0, "is asked to stop", hand_over)
        return f"node {life.id}"

    # -- the disk --------------------------------------------------------------------------------

    def _stall(self, random: Random) -> str | None:
        life = self._life(random)
        if life is None:
            return None
        seconds = random.choice((0.2, 1.0, 2.0)) * random.uniform(0.5, 1.5)
        self._stalled[life.id] = self.world.now + seconds
        return f"node {life.id} for {seconds:.2f} s"

    def _slow_disk(self, random: Random) -> str | None:
        life = self._life(random)
        if life is None:
            return None
        seconds = random.choice((0.01, 0.05, 0.2))
        self.slow_down(life.id, seconds, random.uniform(0.1, 3.0))
        return f"node {life.id}: {seconds} s"

    def slow_down(self, node: int, seconds: float, lasting: float) -> None:
        """Let each write of a node take so many seconds more, on average, for a while."""
        self._slow[node] = seconds

        def recover() -> None:
            self._slow.pop(node, None)

        self.world.schedule(lasting, "", recover)

    def _fail(self, random: Random, error: int) -> str | None:
        life = self._life(random)
        if life is None:
            return None
        life.disk_faulty = True
        files = life.host.files
        files.error, files.only_syncs = error, random.random() < 0.3
        return f"node {life.id}{', syncs only' if files.only_syncs else ''}"

    def _broken_disk(self, random: Random) -> str | None:
        return self._fail(random, BROKEN)

    def _full_disk(self, random: Random) -> str | None:
        return self._fail(random, FULL)

    def _rest(self, random: Random) -> str | None:
        """Let a node take what it does for the end of a load."""
        life = self._life(random)
        if life is None:
            return None
        life.later(0.0, "rests", lambda: life.node.rest())
        return f"node {life.id}"

    # -- the operator ----------------------------------------------------------------------------

    def _ask(
        self,
        life: Life,
        what: str,
        ask: Callable[[Any], Any],
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Ask a node for a membership change; ``then`` follows a success."""

        def act() -> None:
            def answered(result: Any) -> None:
                failed = result is not None
                if self.world.options.trace:
                    text = result.getErrorMessage() if failed else "done"
                    self.world.note(life, f"operator: {what}: {text}")
                if not failed:
                    self.counts[f"{what.split()[0]} done"] += 1
                    then()

            ask(life.node).addBoth(answered)

        life.later(0.0, f"operator: {what}", act)

    def _transfer(self, random: Random) -> str | None:
        life = self._life(random)
        if life is None:
            return None
        to = random.choice(sorted(self.world.hosts))
        self._ask(life, f"transfer to {to}", lambda node: node.transfer_leadership(to))
        return f"to {to}, asked of {life.id}"

    def _others(self, is_member: bool) -> list[int]:
        members = self.world.properties.members()
        return [
            i
            for i in sorted(self.world.hosts)
            if (i in members) is is_member and i not in self._replacing
        ]

    def _add(self, random: Random) -> str | None:
        life, outside = self._life(random), self._others(False)
        if life is None or not outside:
            return None
        new = random.choice(outside)
        self._ask(life, f"add {new}", lambda node: node.add_member(new, f"node{new}:1"))
        return f"{new}, asked of {life.id}"

    def _remove(self, random: Random) -> str | None:
        life, inside = self._life(random), self._others(True)
        if life is None or len(inside) < 3:
            return None
        old = random.choice(inside)
        self._ask(life, f"remove {old}", lambda node: node.remove_member(old))
        return f"{old}, asked of {life.id}"

    def _replace(self, random: Random) -> str | None:
        """Remove a member, empty its disk, and add it again."""
        life, inside = self._life(random), self._others(True)
        if life is None or len(inside) < 3:
            return None
        old = random.choice(inside)
        self._ask(life, f"replace {old}", lambda node: node.remove_member(old), lambda: wipe())

        def wipe() -> None:
            self._replacing.add(old)
            self.world.schedule(0.0, "", lambda: self.wipe(old))

        return f"{old}, asked of {life.id}"

    def wipe(self, node_id: int) -> None:
        """Empty the disk of a host that is no member."""
        host = self.world.hosts[node_id]
        if node_id not in self.world.properties.members():
            if host.life is not None:
                self.world.end(host.life, "its disk is replaced", power=False)
            host.files = type(host.files)(host.files.random)
            host.instance = b""
            self.counts["disks wiped"] += 1
        self.world.schedule(2.0, "", lambda: self._replacing.discard(node_id))


STOPPED = "it was asked to stop"
