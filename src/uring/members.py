"""Membership as operators meet it: add, remove and transfer, on any node, one change at a time.

A request is a goal ("2 is a voter", "3 is no member", "2 leads"), not a message: the node that took
it keeps it until the applied configuration shows it reached, or its time is over.  Meanwhile the
leader takes the next step towards it at every tick, and any other node reminds the leader.  So a
lost message, a refused proposal or a change of leader delays a request and never loses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from attrs import define, field
from msgspec import Struct
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from uring.errors import (
    BadRequest,
    Conflict,
    NotFound,
    OutcomeUnknown,
    StillLearning,
    Unavailable,
    UringError,
)
from uring.machines.levels import LEVEL
from uring.raft.local import ProposalDropped
from uring.raft.membership import encode_conf_change
from uring.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    EntryKind,
    HardState,
    Role,
)
from uring.wire.codec import seal
from uring.wire.envelopes import AdminReply, AdminRequest, Announce
from uring.wire.hello import Hello, HelloRefused

if TYPE_CHECKING:
    from uring.node import Node

Action = Literal["add", "remove", "remove-forced", "transfer"]
REMIND_SECONDS = 0.5
"""How often a node that does not lead tells the leader again what it was asked for."""
_ERRORS: dict[int, type[UringError]] = {
    error.code: error for error in (BadRequest, NotFound, Conflict, StillLearning, Unavailable)
}


class Member(Struct, frozen=True, array_like=True):
    """Where a member listens ("host:port"), and the instance of its data directory (16 bytes).

    An empty instance means that the member was added by its address and has not said hello yet.
    """

    address: str
    instance: bytes = b""

    def line(self) -> str:
        """Return the text that the state keeps."""
        return f"{self.address} {self.instance.hex()}"


class _Context(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    node_id: int
    member: Member
    level: int = 0


_CONTEXT = msgspec.msgpack.Decoder(_Context)


def load_member(line: str) -> Member:
    """Return the member that :meth:`Member.line` wrote."""
    address, _, instance = line.partition(" ")
    return Member(address, bytes.fromhex(instance))


def encode_member(node_id: int, member: Member, level: int = 0) -> bytes:
    """Return the context of a configuration change that concerns ``node_id``.

    With a ``level``, the cluster's is raised to that (see :mod:`uring.upgrades`).  Without one it
    is written as by programs that knew of none.
    """
    parts = (node_id, member, level) if level else (node_id, member)
    return msgspec.msgpack.encode(parts)


def decode_member(context: bytes) -> tuple[int, Member, int]:
    """Return what :func:`encode_member` was given.  Raises ``msgspec.DecodeError``."""
    found = _CONTEXT.decode(context)
    return found.node_id, found.member, found.level


def found_cluster(directory: Any, address: str, cluster_id: bytes, level: int = LEVEL) -> None:
    """Make an open, empty data directory the first member of a new cluster; synced on return.

    The cluster is of the feature ``level`` of its founder's program.

    The founder is added by the first entry of the log, so that whoever gets the log from its
    beginning learns of it in the same way as of everybody else.  The cluster's id is written last:
    a log without one is what a crash on the way leaves, and is taken up here.
    """
    identity = directory.identity
    if directory.log.last_index() == 0:
        founder = Member(address, identity.instance_id)
        change = ConfChange(
            changes=(ConfChangeSingle(ConfChangeKind.ADD_NODE, identity.node_id),),
            context=encode_member(identity.node_id, founder, level),
        )
        entry = seal(1, 1, EntryKind.CONF_CHANGE_V2, encode_conf_change(change))
        batch = directory.log.prepare(HardState(term=1, commit=1), [entry])
        batch.write()
        batch.done()
    directory.set_cluster_id(cluster_id)


@define
class Goal:
    """Something asked for and not reached yet."""

    action: Action
    node_id: int
    address: str
    deadline: float
    asked_by: tuple[int, int] | None = None
    """(node, request) to answer if it cannot be done; None if a client of this node asked."""
    waiting: list[Deferred[None]] = field(factory=list)
    doubted: float | None = None
    """Since when a removal has seemed to leave too few live voters."""
    alone: float | None = None
    """Since when a newcomer has been a learner that is not connected."""
    begun: bool = False
    """Whether a transfer was begun.  A second attempt would keep writes waiting again."""
    reminded: float = float("-inf")
    """When it was last proposed or handed on; later than never means that it may take effect."""


@define
class Administration:
    """The goals of one node, and who the members are."""

    node: Node
    known: dict[int, Member] = field(factory=dict, init=False)
    clusters: dict[int, bytes] = field(factory=dict, init=False)
    """By node: the cluster that it said it belongs to."""
    log: Logger = field(factory=lambda: Logger(namespace="uring.members"), init=False)
    _goals: dict[tuple[str, int], Goal] = field(factory=dict, init=False)
    _heard_of: dict[int, Member] = field(factory=dict, init=False)
    """Where nodes can be reached, from whomever; their instances may have changed since."""
    _present: dict[int, Member] = field(factory=dict, init=False)
    """What the nodes that are or were connected said of themselves."""
    _requests: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.reload()

    def reload(self) -> None:
        """Take the members from the state, at the start and after a snapshot."""
        state = self.node.directory.state
        self.known = {
            node_id: load_member(line) for node_id, line in state.member_addresses.items()
        }

    # -- what is asked ---------------------------------------------------------------------------

    def add(self, node_id: int, address: str | None) -> Deferred[None]:
        """Add a member as a learner and promote it once it has caught up."""
        return self._ask("add", node_id, address or "")

    def remove(self, node_id: int, force: bool) -> Deferred[None]:
        """Remove a member; a leader that is to go hands over first."""
        return self._ask("remove-forced" if force else "remove", node_id, "")

    def transfer(self, node_id: int) -> Deferred[None]:
        """Make a voter the leader."""
        return self._ask("transfer", node_id, "")

    def _ask(self, action: Action, node_id: int, address: str) -> Deferred[None]:
        if action == "add" and not address and node_id in self._heard_of:
            address = self._heard_of[node_id].address
        goal = self._goal(action, node_id, address)
        problem = self._problem(goal)
        if problem is not None:
            return fail(problem)
        if self._reached(goal):
            return succeed(None)
        if not self.node.raft.leader_id:
            return fail(Unavailable("no leader at the moment; try again"))
        goal = self._goals.setdefault((goal.action, goal.node_id), goal)
        waiting: Deferred[None] = Deferred()
        goal.waiting.append(waiting)
        self._pursue(goal)
        return waiting

    def _goal(self, action: Action, node_id: int, address: str) -> Goal:
        deadline = self.node.clock.seconds() + self.node.settings.request_timeout
        return Goal(action, node_id, address, deadline)

    def requested(self, request: AdminRequest) -> None:
        """Take a goal that another node holds and reminds this one, the leader, of."""
        if not self.node.raft.is_leader:
            return
        goal = self._goal(request.action, request.node_id, request.address)  # type: ignore[arg-type]
        goal.asked_by = (request.from_, request.request_id)
        if self._is_in_force(goal):
            return
        goal = self._goals.setdefault((goal.action, goal.node_id), goal)
        self._pursue(goal)

    def replied(self, reply: AdminReply) -> None:
        """Take the leader's word that a goal cannot be reached."""
        goal = self._goals.get((reply.action, reply.node_id))
        if goal is not None:
            error = _ERRORS.get(reply.code, Unavailable)
            self._settle(goal, error(reply.detail))

    def announced(self, announce: Announce) -> None:
        """Note where a node that is no member yet can be reached: a member has met it."""
        self._heard_of[announce.node_id] = Member(announce.address, announce.instance)

    # -- who may talk to us ----------------------------------------------------------------------

    def check(self, hello: Hello) -> HelloRefused | None:
        """Say why a node is refused, or None.

        A member that comes back with an emptied disk could vote twice in a term and has forgotten
        what it acknowledged, so its new instance is refused.  Only a node that has applied more
        than this one may know better: it was removed and added again behind our back.
        """
        ours = self.node.directory.identity
        if ours.cluster_id and hello.cluster_id and hello.cluster_id != ours.cluster_id:
            return HelloRefused(
                code="cluster",
                reason=f"node {hello.node_id} belongs to cluster {hello.cluster_id.hex()}, "
                f"this is cluster {ours.cluster_id.hex()}",
            )
        if hello.node_id == ours.node_id:
            if hello.instance_id == ours.instance_id:
                return HelloRefused(code="self", reason="this is the node itself")
            return HelloRefused(
                code="id", reason=f"id {hello.node_id} is taken by the node at this address"
            )
        if (too_old := self.node.upgrades.objection(hello)) is not None:
            return too_old
        member = self.known.get(hello.node_id)
        if member is None or not member.instance or member.instance == hello.instance_id:
            return None
        if hello.applied > self.node.directory.state.applied_index:
            return None
        # Refused as a member, but its address is known when it is removed and added again.
        self._note(hello)
        return HelloRefused(
            code="instance",
            reason=f"member {hello.node_id} is known with another data directory; if its data is "
            f"lost, DELETE /node/{hello.node_id} and POST /node/{hello.node_id} to add it anew",
        )

    def greeted(self, hello: Hello) -> None:
        """Note who said hello; the leader must know of newcomers to be able to add them."""
        self.clusters[hello.node_id] = hello.cluster_id
        self.node.upgrades.greeted(hello)
        self._present[hello.node_id] = Member(hello.address, hello.instance_id)
        self._note(hello)

    def connected_clusters(self) -> list[str]:
        """Return the clusters that the connected nodes belong to; more than one is a mistake."""
        connected = self.node.mesh.connected()
        found = {each for node_id, each in self.clusters.items() if node_id in connected}
        return sorted(each.hex() for each in found if each)

    def _note(self, hello: Hello) -> None:
        newcomer = Member(hello.address, hello.instance_id)
        if self._heard_of.get(hello.node_id) != newcomer:
            self._heard_of[hello.node_id] = newcomer
            self._announce(hello.node_id, newcomer)

    def _announce(self, node_id: int, member: Member) -> None:
        leader = self.node.raft.leader_id
        if leader and leader != self.node.id and self.known.get(node_id) != member:
            announce = Announce(
                to=leader,
                from_=self.node.id,
                node_id=node_id,
                address=member.address,
                instance=member.instance,
            )
            self.node.mesh.send(leader, [announce])

    # -- getting there ---------------------------------------------------------------------------

    def leader_changed(self) -> None:
        """Tell the new leader at once what is wanted, and whom this node has met."""
        for node_id, member in self._heard_of.items():
            self._announce(node_id, member)
        for goal in self._goals.values():
            goal.reminded = min(goal.reminded, 0.0)
        self.drive()

    def members_changed(self, known: dict[int, Member]) -> None:
        """Take the members of a configuration that has just been applied."""
        self.known = known

    def drive(self) -> None:
        """Settle the goals that are reached or over; take the next step for each of the others."""
        now = self.node.clock.seconds()
        for goal in list(self._goals.values()):
            if self._reached(goal):
                self._settle(goal, None)
            elif goal.deadline <= now or self._is_alone(goal, now):
                self._settle(goal, self._too_late(goal))
            else:
                self._pursue(goal)
        if self.node.raft.is_leader:
            self._keep_house()
            self.node.upgrades.drive()

    def fail_all(self) -> None:
        """The node stops: what was handed on may still be done by others."""
        for goal in list(self._goals.values()):
            self._settle(goal, self._too_late(goal))

    def _is_alone(self, goal: Goal, now: float) -> bool:
        """Tell whether there is nobody to wait for where a newcomer is said to listen."""
        is_learner = goal.node_id in self.node.raft.conf_state.learners
        if goal.action != "add" or not is_learner or goal.node_id in self.node.mesh.connected():
            goal.alone = None
            return False
        goal.alone = now if goal.alone is None else goal.alone
        return now - goal.alone >= self.node.settings.election

    def _too_late(self, goal: Goal) -> UringError:
        if goal.action == "add" and goal.node_id in self.node.raft.conf_state.learners:
            return StillLearning(
                f"node {goal.node_id} was added as a learner and has not caught up yet; "
                "it will be promoted by itself when it has"
            )
        if goal.reminded == float("-inf"):
            return Unavailable("the change could not be proposed in time; nothing was done")
        return OutcomeUnknown("outcome unknown: the change was not committed in time")

    def _settle(self, goal: Goal, error: UringError | None) -> None:
        self._goals.pop((goal.action, goal.node_id), None)
        waiting, goal.waiting = goal.waiting, []
        for deferred in waiting:
            if error is None:
                deferred.callback(None)
            else:
                deferred.errback(error)
        if error is not None and error.definite and goal.asked_by is not None:
            to, request_id = goal.asked_by
            reply = AdminReply(
                to=to,
                from_=self.node.id,
                request_id=request_id,
                action=goal.action,
                node_id=goal.node_id,
                code=error.code,
                detail=str(error),
            )
            self.node.mesh.send(to, [reply])

    def _reached(self, goal: Goal) -> bool:
        """Tell whether a goal is reached, for good: a restart will not have forgotten it."""
        durable = goal.action == "transfer" or self.node.membership_is_durable
        return durable and self._is_in_force(goal)

    def _is_in_force(self, goal: Goal) -> bool:
        conf = self.node.raft.conf_state
        if goal.action == "add":
            return goal.node_id in conf.voters and not conf.voters_outgoing
        if goal.action == "transfer":
            return self.node.raft.leader_id == goal.node_id
        return goal.node_id not in {*conf.voters, *conf.learners, *conf.voters_outgoing}

    def _problem(self, goal: Goal) -> UringError | None:
        """Say why a goal can never be reached from here, or None."""
        conf = self.node.raft.conf_state
        members = {*conf.voters, *conf.learners, *conf.voters_outgoing}
        if not members:
            return Unavailable(self.node._no_leader())
        if goal.action == "transfer" and goal.node_id not in conf.voters:
            return NotFound(f"node {goal.node_id} is no voter of this cluster")
        if goal.action.startswith("remove"):
            if goal.node_id not in members:
                return NotFound(f"node {goal.node_id} is no member of this cluster")
            if conf.voters == (goal.node_id,):
                return Conflict("the only voter of a cluster cannot be removed")
        if goal.action == "add" and goal.address:
            for node_id, member in self.known.items():
                if member.address == goal.address and node_id != goal.node_id:
                    return Conflict(f"address {goal.address} belongs to member {node_id}")
        return None

    def _pursue(self, goal: Goal) -> None:
        """Take the next step towards ``goal``; what is in force only has to become durable."""
        if self._is_in_force(goal):
            return
        if self.node.raft.is_leader:
            problem = self._problem(goal) or self._step(goal)
            if problem is not None:
                self._settle(goal, problem)
            return
        leader, now = self.node.raft.leader_id, self.node.clock.seconds()
        if goal.asked_by is None and leader and now - goal.reminded >= REMIND_SECONDS:
            goal.reminded = now
            self._requests += 1
            request = AdminRequest(
                to=leader,
                from_=self.node.id,
                request_id=self._requests,
                action=goal.action,
                node_id=goal.node_id,
                address=goal.address,
            )
            self.node.mesh.send(leader, [request])

    def _step(self, goal: Goal) -> UringError | None:
        """As the leader: propose what comes next, or say why it cannot be."""
        conf = self.node.raft.conf_state
        if goal.action == "transfer":
            if self.node.raft.status().lead_transferee != goal.node_id:
                if goal.begun:
                    return OutcomeUnknown(
                        f"node {goal.node_id} has not taken over within an election time-out; "
                        "see /status"
                    )
                goal.begun = True
                goal.reminded = self.node.clock.seconds()
                self.node.raft.transfer_leader(goal.node_id)
                self.node.wake()
            return None
        if goal.action == "add":
            if goal.node_id in conf.learners:
                return None  # promotion is part of keeping house
            member = self.node.upgrades.newcomer(goal.node_id) or self._newcomer(goal)
            if isinstance(member, UringError):
                return member
            self._propose(goal, ConfChangeKind.ADD_LEARNER, member)
            return None
        if goal.action == "remove" and not self._quorum_without(goal.node_id):
            # The core forgets who was active at every check of the quorum, so one look proves
            # nothing: only who stays silent for an election time-out is not there.
            now = self.node.clock.seconds()
            goal.doubted = now if goal.doubted is None else goal.doubted
            if now - goal.doubted < self.node.settings.election:
                return None
            return Conflict(
                f"without node {goal.node_id} too few voters are alive to go on; "
                f"bring others up first, or DELETE /node/{goal.node_id}?force=true"
            )
        if goal.node_id == self.node.id:
            successor = self.successor()
            if successor:
                self.node.raft.transfer_leader(successor)
                self.node.wake()
                return None
        self._propose(goal, ConfChangeKind.REMOVE_NODE, None)
        return None

    def _connected(self, node_id: int) -> Member | None:
        """Return what a node says of itself, if it is there to say so."""
        return self._present.get(node_id) if node_id in self.node.mesh.connected() else None

    def _newcomer(self, goal: Goal) -> Member | UringError:
        """Return what is known of a newcomer; its instance only from itself, and only from now.

        An instance heard of earlier may be that of a disk that is gone.  Without one it is taken
        from the newcomer's hello when that comes.
        """
        present, heard = self._connected(goal.node_id), self._heard_of.get(goal.node_id)
        if present is not None and goal.address in ("", present.address):
            return present
        if goal.address or heard is not None:
            return Member(goal.address or heard.address)  # type: ignore[union-attr]
        return Conflict(
            f"the address of node {goal.node_id} is not known: start it with --peer and the "
            'address of a member, or say where it is: {"address": "host:port"}'
        )

    def _propose(self, goal: Goal, kind: ConfChangeKind, member: Member | None) -> None:
        self._propose_change(goal.node_id, kind, member)
        goal.reminded = self.node.clock.seconds()

    def _propose_change(self, node_id: int, kind: ConfChangeKind, member: Member | None) -> None:
        raft = self.node.raft
        if raft.conf_change_pending:
            return
        context = b"" if member is None else encode_member(node_id, member)
        change = ConfChange(changes=(ConfChangeSingle(kind, node_id),), context=context)
        try:
            raft.propose_conf_change(change)
        except ProposalDropped:
            return  # tried again at the next tick
        self.node.wake()

    def _keep_house(self) -> None:
        """As the leader: promote the learners that have caught up; note who moved."""
        raft = self.node.raft
        if raft.conf_change_pending:
            return
        conf = raft.conf_state
        progress = raft.status().progress if conf.learners else {}
        for node_id in conf.learners:
            follower = progress.get(node_id)
            if follower is not None and follower.recent_active and follower.match >= raft.commit:
                self._propose_change(node_id, ConfChangeKind.ADD_NODE, None)
                return
        for node_id, member in self.known.items():
            present = self._connected(node_id)
            if present is None or present == member:
                continue
            if member.instance in (b"", present.instance):
                self._propose_change(node_id, ConfChangeKind.UPDATE_NODE, present)
                return

    def _quorum_without(self, node_id: int) -> bool:
        """Tell whether enough voters are alive once ``node_id`` is gone."""
        raft = self.node.raft
        rest = [voter for voter in raft.conf_state.voters if voter != node_id]
        progress = raft.status().progress
        alive = [
            voter
            for voter in rest
            if voter == self.node.id or (voter in progress and progress[voter].recent_active)
        ]
        return node_id in raft.conf_state.learners or len(alive) > len(rest) // 2

    def successor(self) -> int:
        """Return the connected voter that has most of the log, or 0."""
        raft = self.node.raft
        if raft.role is not Role.LEADER:
            return 0
        alive, voters = self.node.mesh.connected(), raft.conf_state.voters
        candidates = [
            (view.recent_active, view.match, -node_id)
            for node_id, view in raft.status().progress.items()
            if node_id != self.node.id and node_id in voters and node_id in alive
        ]
        return -max(candidates)[2] if candidates else 0
