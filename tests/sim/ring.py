"""A client of the ring: its nodes come and go while the cluster has its troubles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from tests.sim.properties import Untouched
from uring.errors import UringError
from uring.machines.commands import AddNode, GetNodes, RemoveNode, Ring, SetSize
from uring.machines.ring.commands import (
    AbandonNode,
    BeginHandoff,
    CancelHandoff,
    CommitPlan,
    FinishHandoff,
    GetHandoffs,
    GetPlan,
    GetVnode,
    Handoff,
    Handoffs,
    Joined,
    Joining,
    JoinRing,
    Plan,
    Vnode,
    Wish,
)

if TYPE_CHECKING:
    from tests.sim.world import Life, World

SIZE = 64
NAMES = ("n1", "n2", "n3", "n4")
TTL_MS = 4000
"""Short enough that leases end while nobody renews them."""


@define(eq=False)
class Balancer:
    """Changes the ring, and hands vnodes off, through any node of the cluster.

    That all replicas have the same ring is seen by whoever compares their states.  Here every ring
    that is answered must assign each vnode once, and in every state that is looked at each vnode
    has an owner, who is known; a vnode whose owner gave it away belongs to the target until that
    one does so, or the ring is changed.
    """

    world: World
    random: Any = field(init=False)
    _strategy: str = field(init=False)
    _leases: dict[str, int] = field(factory=dict, init=False)
    _begun: dict[int, Handoff] = field(factory=dict, init=False)
    _pending: tuple[Handoff, ...] = field(default=(), init=False)
    _plan: Plan | None = field(default=None, init=False)
    _sized: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.random = self.world.random("ring")
        self._strategy = self.random.choice(("minimal", "minimal", "continuous"))

    def begin(self) -> None:
        self._later()

    def _later(self) -> None:
        self.world.schedule(self.random.expovariate(12.0), "", self._act)

    def _act(self) -> None:
        if not self.world.faults.active:
            return
        self._later()
        life = self.world.hosts[self.random.choice(sorted(self.world.hosts))].life
        if life is None or life.node is None:
            return
        wanted = self._wanted()

        def ask() -> None:
            if isinstance(wanted, GetNodes | GetPlan | GetHandoffs | GetVnode):
                life.node.query(wanted, lambda result: self._answered(wanted, result))
            else:
                life.node.submit(wanted, lambda result: self._answered(wanted, result))
            self._look(life)

        life.later(0.001, "", ask)

    def _wanted(self) -> Any:
        name, vnode = self.random.choice(NAMES), self.random.randrange(SIZE)
        kind = self.random.choice("sarjjjgggwppcbbbbbbffffffxv") if self._sized else "s"
        lease = self._leases.get(name, 1)
        if kind in "fx" and self._begun:
            begun = self._begun[self.random.choice(sorted(self._begun))]
            lease = self._leases.get(begun.owner or "", 1)
            end = FinishHandoff if kind == "f" else CancelHandoff
            return end(begun.vnode, lease, begun.began)
        if kind == "c" and self._plan is not None:
            return CommitPlan(self._plan.revision, self._plan.wish, self._plan.digest)
        if kind == "b" and self._pending:
            pending = self.random.choice(self._pending)
            return BeginHandoff(pending.vnode, self._leases.get(pending.owner or "", 1))
        return {
            "s": SetSize(SIZE, self._strategy, 2),
            "a": AddNode(name),
            "r": RemoveNode(name),
            "j": JoinRing(name, "i", f"{name}:1", TTL_MS),
            "g": GetHandoffs("", 0, SIZE),
            "p": GetPlan(Wish(add=(Joining(name),))),
            "w": AbandonNode(name),
            "v": GetVnode(vnode),
        }.get(kind) or BeginHandoff(vnode if kind == "b" else 0, lease)

    def _answered(self, asked: Any, result: Any) -> None:
        if isinstance(result, UringError):
            return
        counts = self.world.faults.counts
        self._sized = True
        if isinstance(result, Joined):
            self._leases[asked.node] = result.lease
        elif isinstance(result, Plan):
            self._plan = result
        elif isinstance(result, Handoff) and result.state == "transferring":
            self._begun[result.vnode] = result
        elif isinstance(result, Handoff) and isinstance(asked, FinishHandoff):
            counts["vnodes handed off"] += 1
            self._begun.pop(result.vnode, None)
            if result.owner != result.target:
                self.world.properties.violated(f"a finished hand-off is not: {result}")
        elif isinstance(result, Handoffs):
            self._pending = result.items
            for each in result.items:
                self._check(each)
        elif isinstance(result, Ring) and result.problem is None:
            counts["rings seen"] += 1
            owned = sorted(vnode for node in result.nodes for vnode in node.vnodes)
            if owned and owned != list(range(SIZE)):
                self.world.properties.violated(f"the ring's vnodes are owned wrongly: {result}")

    def _check(self, found: Handoff) -> None:
        if found.owner is None or found.target is None or found.owner == found.target:
            self.world.properties.violated(f"owned by nobody, or waiting for nothing: {found}")

    def _look(self, life: Life) -> None:
        """Look at every vnode in the state of one process."""
        if life.directory.failed:
            return  # it is about to stop
        state, machines = Untouched(life.directory.state), life.node.machines
        ring = machines.query(state, GetNodes())
        for vnode in range(SIZE) if ring.nodes else ():
            found = machines.query(state, GetVnode(vnode))
            if not isinstance(found, Vnode) or found.handoff.owner is None:
                self.world.properties.violated(f"vnode {vnode} is owned by nobody: {found}")
        self.world.faults.counts["vnodes looked at"] += SIZE if ring.nodes else 0
