"""Worlds of two versions: nodes are upgraded one by one, and now and then one goes back."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from uring.machines.levels import FIRST, LEVEL, needed
from uring.machines.proposal import ProposalError, decode

if TYPE_CHECKING:
    from tests.sim.world import Host, World

SHARE = 0.3
"""Of the worlds, those in which not all nodes have the newest program from the beginning."""


class Upgrade:
    """Which host runs which program."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random("versions")
        self.is_mixed = self.random.random() < SHARE
        self._chance: dict[int, Random] = {}

    def first_levels(self, hosts: dict[int, Host], members: int) -> int:
        """Give each host its program, and return the level that the cluster begins with."""
        for host in hosts.values():
            host.level = self.random.choice((FIRST, FIRST, LEVEL)) if self.is_mixed else LEVEL
        return min(host.level for host in hosts.values() if host.id <= members)

    def begin(self) -> None:
        """Let operators begin."""
        if self.is_mixed:
            self._later()

    def _later(self) -> None:
        self.world.schedule(self.random.expovariate(0.8), "", self._act)

    def _act(self) -> None:
        if not self.world.faults.active:
            return
        self._later()
        host = self.world.hosts[self.random.choice(sorted(self.world.hosts))]
        back = self.random.random() < 0.2
        if not back and host.level < LEVEL:
            self._change(host, LEVEL, "upgraded")
        elif back and self._may_go_back(host):
            self._change(host, FIRST, "downgraded")

    def _may_go_back(self, host: Host) -> bool:
        """As far as an operator can see: the cluster may be about to be at the next level."""
        node = None if host.life is None else host.life.node
        return node is not None and node.directory.state.level < LEVEL == host.level

    def _change(self, host: Host, level: int, what: str) -> None:
        host.level, host.went_back = level, level < host.level
        self.world.faults.counts[what] += 1
        self.world.note(None, f"node {host.id} is {what}")
        if host.life is not None:
            self.world.end(host.life, f"it is {what}", power=False)

    def refused(self, host: Host) -> bool:
        """Tell whether a process may have ended because its program is too old; mend that.

        Only who went back may: a cluster waits for everybody else.
        """
        if not host.went_back:
            return False
        self.world.faults.counts["too old"] += 1
        host.level = LEVEL
        return True

    def end(self) -> None:
        """Upgrade whoever is left."""
        for host in self.world.hosts.values():
            if host.level < LEVEL:
                self._change(host, LEVEL, "upgraded")

    def unrest(self, leader: Any) -> str | None:
        """Say if the cluster has not come to the level that all nodes support."""
        level = leader.directory.state.level
        return None if level == LEVEL else f"the feature level is still {level}"


def is_known(data: bytes, level: int) -> bool:
    """Tell whether a program of ``level`` could decode an entry."""
    try:
        proposal = decode(data)
    except ProposalError:
        return False
    return all(needed(command) <= level for command in proposal.commands)
