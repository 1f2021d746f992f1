"""A client of the ring: its nodes come and go while the cluster has its troubles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from uring.errors import UringError
from uring.machines.commands import AddNode, GetNodes, RemoveNode, Ring, SetSize

if TYPE_CHECKING:
    from tests.sim.world import World

SIZE = 64
NAMES = ("n1", "n2", "n3", "n4")


@define(eq=False)
class Balancer:
    """Adds and removes nodes of the ring, and looks at it, through any node of the cluster.

    That all replicas have the same ring is seen by whoever compares their states; here every ring
    that is answered must own each vnode once.
    """

    world: World
    random: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.random = self.world.random("ring")

    def begin(self) -> None:
        self._later()

    def _later(self) -> None:
        self.world.schedule(self.random.expovariate(2.0), "", self._act)

    def _act(self) -> None:
        if not self.world.faults.active:
            return
        self._later()
        life = self.world.hosts[self.random.choice(sorted(self.world.hosts))].life
        if life is None or life.node is None:
            return
        name = self.random.choice(NAMES)
        command = self.random.choice((SetSize(SIZE), AddNode(name), RemoveNode(name), None))

        def ask() -> None:
            if command is None:
                life.node.query(GetNodes(), self._answered)
            else:
                life.node.submit(command, self._answered)

        life.later(0.001, "", ask)

    def _answered(self, result: Any) -> None:
        if isinstance(result, UringError) or type(result) is not Ring:
            return
        self.world.faults.counts["rings seen"] += 1
        owned = sorted(vnode for node in result.nodes for vnode in node.vnodes)
        if owned and owned != list(range(SIZE)):
            self.world.properties.violated(f"the ring's vnodes are owned wrongly: {result}")
