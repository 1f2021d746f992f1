"""Watchers that are cut off, stall, and come back elsewhere: no change is missed or doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field

from tests.sim.clients import KEYS
from uring.errors import UringError
from uring.watch import Subscription, Told, Watch

if TYPE_CHECKING:
    from tests.sim.world import Life, World

PATIENCE = 4.0
"""Seconds without a word, not even a mark, after which to try another node."""
PROGRESS = 1.0


@define(eq=False)
class Connection:
    """A sink: what one subscription is told, as long as the watcher listens to it."""

    watcher: Watcher
    life: Life
    full: bool = False
    subscription: Subscription | None = None
    is_open: bool = True
    items: list[Any] = field(factory=list)

    def subscribed(self, revision: int) -> None:
        """Nothing to check: it may be anything."""

    def told(self, batch: Sequence[Told]) -> None:
        if self.is_open:
            self.watcher.told(batch)

    def compacted(self, revision: int, oldest: int) -> None:
        if self.is_open:
            self.watcher.heard("compacted")

    def snapshot(self, revision: int, items: Sequence[Any], last: bool) -> None:
        self.items.extend(items)
        if self.is_open and last:
            self.watcher.restarted(revision, self.items)

    def progress(self, revision: int) -> None:
        if self.is_open:
            self.watcher.marked(revision)

    def ended(self, error: UringError, resume: int | None) -> None:
        if self.is_open:
            self.watcher.ended(self, error, resume)

    def close(self) -> None:
        """Hang up."""
        self.is_open = False
        if self.subscription is not None and self.life.alive:
            self.subscription.close()


@define(eq=False)
class Watcher:
    """Watches all keys, or those with one prefix; knows how far it is, and nothing else."""

    world: World
    id: int
    counts: Counter[str] = field(factory=Counter, init=False)
    random: Any = field(init=False)
    channel: str = field(init=False)
    prefix: str = field(init=False)
    _position: int | None = field(default=None, init=False)
    """Everything up to this revision was told; None before the first snapshot."""
    _connection: Connection | None = field(default=None, init=False)
    _heard_at: float = field(default=0.0, init=False)
    _finishing: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.random = self.world.random(f"watcher {self.id}")
        self.channel = self.random.choice(("kv", "kv", "kv", "mring"))
        self.prefix = self.random.choice(("", "", *KEYS)) if self.channel == "kv" else ""

    def begin(self) -> None:
        self.world.schedule(self.random.random(), "", self._act)

    def finish(self) -> None:
        """From now on stay connected, to members only."""
        self._finishing = True

    def unrest(self) -> str | None:
        """Say what it has not heard of yet, or None."""
        missing = self._first_after(self._position or 0)
        if self._position is None or missing is not None:
            return f"watcher {self.id} stands at {self._position} and lacks {missing}"
        return None

    # -- connecting ------------------------------------------------------------------------------

    def _act(self) -> None:
        """Do something now and then: connect, hang up, stall, read again."""
        self.world.schedule(self.random.expovariate(1 / 0.3), "", self._act)
        connection = self._connection
        if connection is None:
            self._connect()
        elif self.world.now - self._heard_at > PATIENCE:
            self._hang_up("lost patience")
        elif connection.full:
            connection.full = False
            self._inside(connection, "reads again")
        elif not self._finishing and self.random.random() < 0.3:
            connection.full = True
        elif not self._finishing and self.random.random() < 0.3:
            self._hang_up("hung up")

    def _inside(self, connection: Connection, what: str) -> None:
        subscription = connection.subscription
        if subscription is not None and connection.life.alive:
            connection.life.later(0.0, "", subscription.resume)
        self.counts[what] += 1

    def _hang_up(self, why: str) -> None:
        connection, self._connection = self._connection, None
        self.counts[why] += 1
        if connection is not None:
            connection.is_open = False
            connection.life.later(0.0, "", connection.close)

    def _connect(self) -> None:
        known = self.world.properties.members() if self._finishing else self.world.hosts
        life = self.world.hosts[self.random.choice(sorted(known))].life
        if life is None:
            return
        connection = self._connection = Connection(self, life)
        self._heard_at = self.world.now
        life.later(self.random.random() * 0.005, "", lambda: self._subscribe(connection))

    def _subscribe(self, connection: Connection) -> None:
        node = connection.life.node
        if not connection.is_open or node is None:
            return
        position = self._position
        watch = Watch(
            channel=self.channel,
            prefix=self.prefix,
            start=None if position is None else position + 1,
            snapshot=position is None,
            progress=PROGRESS,
        )
        self.counts["connected"] += 1
        try:
            connection.subscription = node.watch(watch, connection)
        except UringError:
            self._connection = None

    def lost(self, life: Life) -> None:
        """The connection is gone with the process."""
        if self._connection is not None and self._connection.life is life:
            self._connection.is_open = False
            self._connection = None
            self.counts["cut off"] += 1

    # -- what is told ----------------------------------------------------------------------------

    def heard(self, what: str) -> None:
        self._heard_at = self.world.now
        self.counts[what] += 1

    def told(self, batch: Sequence[Told]) -> None:
        """Each change once, in order, and the right one."""
        for each in batch:
            if not each.is_change:
                continue
            self.heard("changes")
            expected = self._first_after(self._known())
            if each.revision != expected or each.event != self._events()[expected]:
                self.world.properties.violated(
                    f"watcher {self.id} (prefix {self.prefix!r}) is told {each.revision},"
                    f" {each.event}, and should be told {expected} after {self._position}"
                )
            self._position = each.revision

    def restarted(self, revision: int, items: Sequence[Any]) -> None:
        """A snapshot is what the keys held at its revision."""
        self.heard("snapshots")
        known = self.world.properties
        got: dict[str, Any] = {}
        if self.channel == "mring":
            wanted: dict[str, Any] = known.ring_at(revision)
            for item in items[1:]:
                got.setdefault(item["id"], []).extend(item["vnodes"])
        else:
            held = known.keys_at(revision)
            wanted = {key: value for key, value in held.items() if key.startswith(self.prefix)}
            got = {item.key: item.value.decode() for item in items}
        if got != wanted or revision < (self._position or 0):
            self.world.properties.violated(
                f"watcher {self.id}, at {self._position}, gets a snapshot of {revision} with {got},"
                f" and should get {wanted}"
            )
        self._position = revision

    def marked(self, revision: int) -> None:
        """A mark says that everything up to it was told."""
        self.heard("marks")
        missing = self._first_after(self._known())
        if missing is not None and missing <= revision:
            self.world.properties.violated(
                f"watcher {self.id} is told that {revision} is reached, and lacks {missing}"
            )
        self._position = max(self._known(), revision)

    def ended(self, connection: Connection, error: UringError, resume: int | None) -> None:
        """It goes on from where it is told to resume; nothing may be lost by that."""
        self.counts["ended"] += 1
        if self.world.options.trace:
            self.world.note(connection.life, f"ends watcher {self.id}: {error}; from {resume}")
        connection.is_open = False
        if self._connection is connection:
            self._connection = None
        if resume is None:
            return
        missing = self._first_after(self._known())
        if missing is not None and missing < resume:
            self.world.properties.violated(
                f"watcher {self.id} is to resume from {resume}, and lacks {missing}"
            )
        self._position = resume - 1

    def _known(self) -> int:
        if self._position is None:
            self.world.properties.violated(f"watcher {self.id} is told changes before a snapshot")
        return self._position

    def _events(self) -> dict[int, Any]:
        return self.world.properties.events

    def _first_after(self, revision: int) -> int | None:
        """Return the first change after ``revision`` that it is to be told, if there is one yet."""
        events = self._events()
        while (revision := revision + 1) in events:
            event = events[revision]
            if event.channel == self.channel and getattr(event, "key", "").startswith(self.prefix):
                return revision
        return None
