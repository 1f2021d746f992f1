"""A mesh that loses, delays, repeats and reorders; links that break and come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import define, field

from uring.wire.codec import decode_messages, encode_messages
from uring.wire.hello import NEWEST, OLDEST, Hello

if TYPE_CHECKING:
    from tests.sim.world import Life, World

DIAL_SECONDS = 0.12
CODEC_SHARE = 0.25
"""Of the frames, those that are encoded and decoded on their way."""


@define(eq=False)
class SimMesh:
    """Has the interface of ``uring.peers.mesh.Mesh`` that a node uses."""

    life: Life
    members: dict[int, str] = field(factory=dict)
    links: dict[int, Life] = field(factory=dict)
    """By node: the process at the other end."""

    def set_members(self, members: Mapping[int, str]) -> None:
        self.members = {i: where for i, where in members.items() if i != self.life.id and where}

    def renew(self, peer: int) -> None:
        """Break the connection; it is made again with new hellos."""
        if peer in self.links:
            self.life.world.network.reset(self.life, self.links[peer])

    def connected(self) -> set[int]:
        return set(self.links)

    def problems(self) -> list[dict[str, Any]]:
        return []

    def send(self, to: int, messages: Sequence[Any]) -> bool:
        world = self.life.world
        for message in messages:
            world.properties.sent(self.life, to, message)
        self.life.host.files.touch(writes=False)
        other = self.links.get(to)
        if other is None:
            return False
        world.network.transmit(self.life, other, messages)
        return True

    def hello(self) -> Hello:
        """Return what the real mesh would say first."""
        identity, life = self.life.directory.identity, self.life
        return Hello(
            version=OLDEST,
            newest=NEWEST,
            level=life.node.settings.level,
            cluster_id=identity.cluster_id,
            node_id=identity.node_id,
            instance_id=identity.instance_id,
            address=life.node.settings.address,
            applied=life.directory.state.applied_index,
        )


@define(eq=False)
class Weather:
    """What the network does at the moment; everything is 0 when it is fine."""

    loss: float = 0.0
    delay: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0


class Network:
    """All links of a world."""

    def __init__(self, world: World, random: Random) -> None:
        self.world, self.random = world, random
        self.weather = Weather()
        self.blocked: set[tuple[int, int]] = set()
        """Pairs (from, to) between which nothing gets through."""
        self.loses: Callable[[Life, Life, Any], bool] = lambda sender, receiver, message: False
        """What a script has decided about a message, beside the weather."""
        self._busy_until: dict[tuple[int, int], float] = {}

    def begin(self) -> None:
        """Dial from time to time whoever is not connected."""
        self._dial_all()

    # -- links -----------------------------------------------------------------------------------

    def _dial_all(self) -> None:
        self.world.schedule(DIAL_SECONDS, "", self._dial_all)
        lives = [host.life for host in self.world.hosts.values() if host.life is not None]
        for position, one in enumerate(lives):
            for other in lives[position + 1 :]:
                if self.random.random() < 0.6:
                    self._dial(one, other)

    def began(self, life: Life) -> None:
        """A process has started; it will be found by the next round of dialling."""

    def _dial(self, one: Life, other: Life) -> None:
        pair = (one.id, other.id)
        if one.mesh.links.get(other.id) is other and other.mesh.links.get(one.id) is one:
            return
        if pair in self.blocked or pair[::-1] in self.blocked:
            return
        now = self.world.now
        if one.paused_until > now or other.paused_until > now:
            return
        if one.node is None or other.node is None or not self._want(one, other):
            return
        mine, theirs = one.mesh.hello(), other.mesh.hello()
        if self._refuses(one, theirs) or self._refuses(other, mine):
            return
        self._half(one, other, theirs)
        self._half(other, one, mine)

    def _refuses(self, life: Life, hello: Hello) -> bool:
        """Let ``life`` judge a hello; a process that ends over it connects to nobody."""
        answers: list[object] = []
        self.world.inside(life, lambda: answers.append(life.node.administration.check(hello)))
        return not life.alive or any(answers)

    def _want(self, one: Life, other: Life) -> bool:
        """Members dial each other; a spare has a seed."""
        return (
            other.id in one.mesh.members
            or one.id in other.mesh.members
            or not one.mesh.members
            or not other.mesh.members
        )

    def _half(self, one: Life, other: Life, hello: Hello) -> None:
        def up() -> None:
            if one.mesh.links.get(other.id) is not None:
                one.node.peer_down(other.id)
            if not other.alive:
                return
            one.mesh.links[other.id] = other
            one.node.administration.greeted(hello)
            one.node.peer_up(other.id)

        one.later(self.random.random() * 0.01, f"link to {other.id} is up", up)

    def reset(self, one: Life, other: Life) -> None:
        """Break the connection between two processes; each learns of it."""
        for here, there in ((one, other), (other, one)):
            self._down(here, there, self.random.random() * 0.01)

    def _down(self, here: Life, there: Life, seconds: float) -> None:
        def down() -> None:
            if here.mesh.links.get(there.id) is there:
                del here.mesh.links[there.id]
                here.node.peer_down(there.id)

        here.later(seconds, f"link to {there.id} is down", down)

    def ended(self, life: Life, power: bool) -> None:
        """The others notice: at once if the kernel is left to say so, late otherwise."""
        for host in self.world.hosts.values():
            if host.life is not None and life.id in host.life.mesh.links:
                late = 4.0 if power else 0.005
                self._down(host.life, life, self.random.random() * late)

    # -- frames ----------------------------------------------------------------------------------

    def transmit(self, sender: Life, receiver: Life, messages: Sequence[Any]) -> None:
        """Let one frame be on its way, or not."""
        random, weather = self.random, self.weather
        counts = self.world.faults.counts
        if (sender.id, receiver.id) in self.blocked:
            counts["messages blocked"] += len(messages)
            return
        if weather.loss and random.random() < weather.loss:
            counts["messages lost"] += len(messages)
            return
        frame = [each for each in messages if not self.loses(sender, receiver, each)]
        if len(frame) < len(messages):
            counts["messages lost by script"] += len(messages) - len(frame)
            if not frame:
                return
        if random.random() < CODEC_SHARE:
            frame = decode_messages(encode_messages(frame))
        copies = 1
        if weather.duplicate and random.random() < weather.duplicate:
            counts["messages duplicated"] += len(messages)
            copies = 2
        for _ in range(copies):
            self._carry(sender, receiver, frame)

    def _carry(self, sender: Life, receiver: Life, frame: list[Any]) -> None:
        random, weather, now = self.random, self.weather, self.world.now
        delay = random.uniform(0.0003, 0.004)
        if weather.delay:
            delay += random.expovariate(1 / weather.delay)
        at = now + delay
        pair = (sender.id, receiver.id)
        if weather.reorder and random.random() < weather.reorder:
            self.world.faults.counts["messages reordered"] += len(frame)
        else:
            at = self._busy_until[pair] = max(at, self._busy_until.get(pair, 0.0))
        instances = (sender.host.instance, receiver.host.instance)
        what = ""
        if self.world.options.trace:
            what = f"<- {sender.id}: " + ", ".join(map(describe, frame))

        def arrive() -> None:
            # A connection does not outlive an emptied disk at either end.
            if (sender.host.instance, receiver.host.instance) == instances:
                receiver.node.receive(sender.id, frame)

        receiver.later(at - now, what, arrive)


def describe(message: Any) -> str:
    """Return a message in a few words."""
    text = type(message).__name__
    term = getattr(message, "term", 0)
    parts = [f"t{term}"] if term else []
    for name in ("prev_index", "index", "last_index", "commit", "sequence", "status", "action"):
        value = getattr(message, name, None)
        if value:
            parts.append(f"{name.replace('_', ' ')} {value}")
    entries = getattr(message, "entries", ())
    if entries:
        parts.append(f"entries {entries[0].index}..{entries[-1].index}")
    if getattr(message, "reject", False):
        parts.append("reject")
    return f"{text}({' '.join(parts)})"
