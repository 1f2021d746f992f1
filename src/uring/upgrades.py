"""Rolling upgrades: what nobody may do before everybody can.

Each node says in its hello which feature level its program supports (machines/levels.py).  The
cluster has one, too: the lowest of those of its members.  It is part of the state, and only rises:
the leader raises it when all members, voters and learners, are connected and support more.

It is raised by a change of the configuration that changes no member.  So it has its place in the
log, and every replica is at the new level from the same entry on; and such changes go one at a time
with those that add members, also across leaders, so no member can slip in beneath it.  From then on
a node of a lower level is refused as a peer, is not added, and does not start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.logger import Logger

from uring.errors import Conflict, PreconditionFailed
from uring.machines.commands import Command
from uring.machines.levels import FIRST, LEVEL, needed
from uring.members import decode_member, encode_member
from uring.raft.local import ProposalDropped
from uring.raft.membership import decode_conf_change
from uring.raft.types import ConfChange, ConfChangeKind, ConfChangeSingle, Entry
from uring.wire.hello import Hello, HelloRefused

if TYPE_CHECKING:
    from uring.node import Node


class ProgramTooOld(ValueError):
    """The cluster is, or becomes, of a level that this program does not support."""


def too_old(level: int, supported: int) -> str:
    """Return the line that says what to do."""
    return (
        f"the cluster is of feature level {level}, this program supports {supported} at the most: "
        "start the newer uring that the other nodes run; there is no way back to an older one"
    )


def require_level(directory: Any) -> None:
    """Refuse an open data directory of a cluster beyond this program.  Raises ProgramTooOld."""
    if directory.state.level > LEVEL:
        raise ProgramTooOld(f"{directory.path}: {too_old(directory.state.level, LEVEL)}")


def raise_level(transaction: Any, present: int, entry: Entry) -> None:
    """Apply what a change of the members says of the level, and nothing else of it.

    Raises ProgramTooOld.
    """
    context = decode_conf_change(entry.data).context
    level = decode_member(context)[2] if context else 0
    if level > LEVEL:
        raise ProgramTooOld(too_old(level, LEVEL))
    if level > present:
        transaction.set_level(level)


@define
class Upgrades:
    """The levels that one node knows of."""

    node: Node
    is_behind: bool = field(default=False, init=False)
    """Whether this program supports more than the cluster: nearly always all that is asked."""
    log: Logger = field(factory=lambda: Logger(namespace="uring.upgrades"), init=False)
    _said: dict[int, int] = field(factory=dict, init=False)
    """By node: the level it supports, as its last hello has it."""
    _waited_for: list[int] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.reload()

    def reload(self) -> None:
        """Take the cluster's level from the state.  Raises ProgramTooOld."""
        if self.level > self.supported:
            raise ProgramTooOld(too_old(self.level, self.supported))
        self.is_behind = self.level < self.supported
        # Who was connected before may stay only if it is new enough.
        for peer in sorted(self.node.mesh.connected()):
            if self._said.get(peer, self.level) < self.level:
                self.node.mesh.renew(peer)

    @property
    def level(self) -> int:
        """The cluster's, as far as this node has applied the log."""
        found: int = self.node.directory.state.level
        return found

    @property
    def supported(self) -> int:
        """This program's."""
        return self.node.settings.level

    def of(self, node_id: int) -> int | None:
        """Return the level that a node supports; None if it is not there to say so."""
        if node_id == self.node.id:
            return self.supported
        return self._said.get(node_id) if node_id in self.node.mesh.connected() else None

    def waits_for(self) -> list[int]:
        """Return the members for whose sake the cluster's level is below this program's."""
        if not self.is_behind:
            return []
        return [node_id for node_id in self._members() if (self.of(node_id) or 0) < self.supported]

    def _members(self) -> list[int]:
        conf = self.node.raft.conf_state
        return sorted({*conf.voters, *conf.learners, *conf.voters_outgoing, *conf.learners_next})

    # -- who is told no --------------------------------------------------------------------------

    def greeted(self, hello: Hello) -> None:
        """Note what a node that was let in supports."""
        self._said[hello.node_id] = hello.level

    def objection(self, hello: Hello) -> HelloRefused | None:
        """Say why the sender of a hello is too old for this cluster, or None."""
        if hello.level >= self.level:
            return None
        return HelloRefused("level", f"node {hello.node_id}: {too_old(self.level, hello.level)}")

    def newcomer(self, node_id: int) -> Conflict | None:
        """Say why a node is too old to be added, or None."""
        said = self.of(node_id)
        if said is None or said >= self.level:
            return None
        return Conflict(f"node {node_id} cannot be added: {too_old(self.level, said)}")

    def refusal(self, command: Command) -> PreconditionFailed | None:
        """Say why the log cannot take ``command`` yet, or None."""
        level = needed(command)
        if level <= self.level:
            return None
        nodes = ", ".join(map(str, self.waits_for())) or "the leader"
        return PreconditionFailed(
            f"this needs feature level {level}, and the cluster is of {self.level}: it waits for "
            f"{nodes}; upgrade every member, bring those up that are down or remove them, and try "
            "again"
        )

    # -- raising it ------------------------------------------------------------------------------

    def drive(self) -> None:
        """As the leader: raise the cluster's level if every member supports more."""
        raft = self.node.raft
        if not self.is_behind or raft.conf_change_pending or raft.conf_state.voters_outgoing:
            return
        self._tell()
        lowest = min(self.of(node_id) or FIRST for node_id in self._members())
        member = self.node.members_known().get(self.node.id)
        if lowest <= self.level or member is None:
            return
        change = ConfChange(
            changes=(ConfChangeSingle(ConfChangeKind.UPDATE_NODE, self.node.id),),
            context=encode_member(self.node.id, member, lowest),
        )
        try:
            raft.propose_conf_change(change)
        except ProposalDropped:
            return  # tried again at the next tick
        self.node.wake()

    def _tell(self) -> None:
        """Log whom it waits for, once for each set of them."""
        waits_for = self.waits_for()
        if waits_for and waits_for != self._waited_for:
            self.log.info(
                "the cluster stays at feature level {present} until {nodes} support {supported}",
                present=self.level,
                nodes=", ".join(map(str, waits_for)),
                supported=self.supported,
            )
        self._waited_for = waits_for

    def check(self, level: int) -> None:
        """See whether an entry that raises the level can be applied.  Raises ProgramTooOld."""
        if level > self.supported:
            raise ProgramTooOld(too_old(level, self.supported))

    def raised(self) -> None:
        """Take note of a level that has just been applied."""
        self.log.info("the cluster is of feature level {present}", present=self.level)
        self.reload()
