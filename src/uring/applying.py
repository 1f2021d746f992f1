"""Applying: what is committed goes to the machines, in the order of the log, and is answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field

from uring.machines import tokens
from uring.machines.events import Event
from uring.machines.table import Applied
from uring.members import decode_member
from uring.raft.membership import decode_conf_change
from uring.raft.ready import StorageApply
from uring.raft.types import Entry, EntryKind

if TYPE_CHECKING:
    from uring.node import Node


@define
class Applying:
    """What the core has handed out to be applied, and how that is done."""

    node: Node
    conf_index: int = field(default=0, init=False)
    """Where the last change of the members stands that was applied in this life."""
    _waiting: deque[StorageApply] = field(factory=deque, init=False)

    def add(self, apply: StorageApply) -> None:
        """Let ``apply`` be the next."""
        self._waiting.append(apply)

    def drive(self) -> bool:
        """Apply what waits, in order; True if that was anything."""
        count = 0
        while self._waiting:
            self._apply(self._waiting.popleft())
            count += 1
        return bool(count)

    def _apply(self, apply: StorageApply) -> None:
        node = self.node
        state = node.directory.state
        transaction = state.begin()
        began = node.clock.seconds()
        applied: list[Applied] = []
        events: list[Event] = []
        before = 0
        members_changed: list[dict[str, object]] = []
        tokens_changed = False
        level = node.upgrades.level
        for entry in apply.entries:
            if entry.kind is not EntryKind.NORMAL:
                members_changed.append(self._apply_conf_change(entry, transaction))
            elif entry.data:
                outcome = node.machines.apply(transaction, entry.index, entry.data)
                applied.append(outcome)
                if outcome.events:
                    before = before if events else outcome.before
                    events.extend(outcome.events)
                if outcome.leases:
                    node.lessor.touched(outcome.leases)
                tokens_changed = tokens_changed or outcome.tokens
        if apply.entries:
            last = apply.entries[-1]
            node.hub.keep(last.index, events)
            transaction.commit(last.index, last.term)
        if node.upgrades.level != level:
            node.upgrades.raised()
        if tokens_changed:
            node.access.replace(tokens.every(state))
        for response in apply.responses:
            node.raft.step(response)
        self._measure(apply.entries, applied, began)
        for outcome in applied:
            node.proposals.resolve(outcome)
        node.hub.publish(before, events)
        for event in members_changed:
            node.hub.publish_local(event)
        node.compaction.drive()

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
