"""Applying: what is committed goes to the machines, in the order of the log, and is answered.

What takes long is worked out in a thread, on a draft of the state, and what follows it in the log
waits.  So the log goes on meanwhile, and whoever asks for what is there already is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from uring.lengthy import LengthyEntry
from uring.machines import tokens
from uring.machines.events import Event
from uring.machines.table import Applied, Lengthy
from uring.members import decode_member
from uring.raft.membership import decode_conf_change
from uring.raft.ready import StorageApply
from uring.raft.types import Entry, EntryKind

if TYPE_CHECKING:
    from uring.node import Node


@define
class _Outcomes:
    """What became of the entries of one transaction."""

    applied: list[Applied] = field(factory=list)
    events: list[Event] = field(factory=list)
    before: int = 0
    """The revision that the first of the events found."""
    members: list[dict[str, object]] = field(factory=list)
    """Changes of the members, for subscribers."""
    tokens: bool = False
    """Whether any token was added or removed."""

    def add(self, outcome: Applied) -> None:
        """Take what became of one entry."""
        self.applied.append(outcome)
        if outcome.events:
            self.before = self.before if self.events else outcome.before
            self.events.extend(outcome.events)
        self.tokens = self.tokens or outcome.tokens


@define
class Applying:
    """What the core has handed out to be applied, and how that is done."""

    node: Node
    conf_index: int = field(default=0, init=False)
    """Where the last change of the members stands that was applied in this life."""
    is_busy: bool = field(default=False, init=False)
    """Whether something is being worked out in a thread: nothing is applied until then."""
    _waiting: deque[StorageApply] = field(factory=deque, init=False)
    _worked_out: LengthyEntry | None = field(default=None, init=False)
    """What the next entry comes to, if that is known."""

    def add(self, apply: StorageApply) -> None:
        """Let ``apply`` be the next."""
        self._waiting.append(apply)

    def drive(self) -> bool:
        """Apply what waits, in order, up to what takes long; True if that was anything."""
        count = 0
        while self._waiting and not self.is_busy:
            count += len(self._apply(self._waiting.popleft()))
        return bool(count)

    def _apply(self, apply: StorageApply) -> Sequence[Entry]:
        """Apply as much as can be at once, and put the rest back; return the entries it was."""
        node = self.node
        state, began, level = node.directory.state, node.clock.seconds(), node.upgrades.level
        transaction, outcomes = state.begin(), _Outcomes()
        count = self._add(apply.entries, transaction, outcomes)
        if count < len(apply.entries):
            self._waiting.appendleft(evolve(apply, entries=apply.entries[count:]))
            if not count:
                self._work_out(apply.entries[0])
                return ()
            apply = evolve(apply, entries=apply.entries[:count], responses=())
        if apply.entries:
            last = apply.entries[-1]
            node.hub.keep(last.index, outcomes.events)
            transaction.commit(last.index, last.term)
        if node.upgrades.level != level:
            node.upgrades.raised()
        if outcomes.tokens:
            node.access.replace(tokens.every(state))
        for response in apply.responses:
            node.raft.step(response)
        self._measure(apply.entries, outcomes.applied, began)
        for outcome in outcomes.applied:
            node.proposals.resolve(outcome)
        node.hub.publish(outcomes.before, outcomes.events)
        for event in outcomes.members:
            node.hub.publish_local(event)
        node.compaction.drive()
        return apply.entries

    def _add(self, entries: Sequence[Entry], transaction: Any, outcomes: _Outcomes) -> int:
        """Apply ``entries`` up to what takes long; return how many that was."""
        for place, entry in enumerate(entries):
            if entry.kind is not EntryKind.NORMAL:
                outcomes.members.append(self._apply_conf_change(entry, transaction))
            elif entry.data:
                outcome = self._outcome(transaction, entry)
                if outcome is None:
                    return place
                outcomes.add(outcome)
                if outcome.leases:
                    self.node.lessor.touched(outcome.leases)
        return len(entries)

    def _outcome(self, transaction: Any, entry: Entry) -> Applied | None:
        """Apply ``entry``, or return None if that takes long and was not done yet."""
        job, self._worked_out = self._worked_out, None
        if job is not None:
            assert job.entry is entry
            transaction.take(job.draft)
            return job.applied
        try:
            return self.node.machines.apply(transaction, entry.index, entry.data, in_turn=True)
        except Lengthy:
            return None

    def _work_out(self, entry: Entry) -> None:
        """Apply ``entry`` to a draft in a thread; meanwhile nothing is applied."""
        node = self.node
        job = LengthyEntry(node.machines, entry, node.directory.state.draft())
        self.is_busy = True

        def done() -> None:
            self.is_busy = False
            self._worked_out = job
            node.wake()

        node.in_thread(node.background, job, "a change of the ring could not be worked out", done)

    def _measure(self, entries: Sequence[Entry], applied: Sequence[Applied], began: float) -> None:
        measures, now = self.node.measures, self.node.clock.seconds()
        measures.apply.observe(now - began)
        measures.entries += len(entries)
        for outcome in applied:
            measures.commands += len(outcome.results or ())
            proposed = self.node.proposals.proposed_at(outcome)
            if proposed is not None:
                measures.commit.observe(now - proposed)

    def _apply_conf_change(self, entry: Entry, transaction: Any) -> dict[str, object]:
        node = self.node
        change = decode_conf_change(entry.data)
        members = dict(node.members_known())
        if change.context:
            node_id, member, level = decode_member(change.context)
            members[node_id] = member
            if level > node.upgrades.level:
                node.upgrades.check(level)
                transaction.set_level(level)
        self.conf_index = entry.index
        conf_state = node.raft.apply_conf_change(change)
        transaction.set_conf_state(conf_state)
        ids = {*conf_state.voters, *conf_state.learners, *conf_state.voters_outgoing}
        kept = {node_id: member for node_id, member in members.items() if node_id in ids}
        transaction.set_member_addresses(
            {node_id: member.line() for node_id, member in kept.items()}
        )
        node.administration.members_changed(kept)
        node.mesh.set_members({node_id: member.address for node_id, member in kept.items()})
        node.log.info(
            "members are now voters {voters}, learners {learners}",
            voters=list(conf_state.voters),
            learners=list(conf_state.learners),
        )
        return {"AddNode": {"node": node.id, "members": sorted(ids)}}
