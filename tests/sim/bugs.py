"""Bugs to plant: mistakes that Rafts were shipped with, each to be found by the simulator.

Each is a list of patches that last for one run.  A bug that is not found means that the simulator
is too kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from attrs import evolve

from tests.sim.world import Options, Outcome, simulate
from uring import applying
from uring import node as node_module
from uring import proposals as proposals_module
from uring import reads as node_reads
from uring.errors import OutcomeUnknown, Unavailable
from uring.lessor import Lessor
from uring.machines import leases, sessions, table
from uring.machines.commands import Expire
from uring.machines.sessions import first_time
from uring.members import Administration
from uring.raft import core as core_module
from uring.raft import (
    dispatch,
    durability,
    election,
    membership,
    quorum,
    reads,
    replication,
    snapshots,
)
from uring.raft import log as log_module
from uring.raft import proposals as core_proposals
from uring.raft.local import StorageAppendResponse
from uring.raft.messages import (
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    ReadIndex,
    Vote,
    VoteResponse,
)
from uring.raft.quorum import VoteResult
from uring.raft.state import State
from uring.raft.types import HardState, Role
from uring.store import log as store_log
from uring.store import state as store_state
from uring.store.transaction import StateTransaction
from uring.wire.envelopes import ForwardRefused

Patch = tuple[Any, str, Any]
BUGS: dict[str, Callable[[], list[Patch]]] = {}


def bug(name: str) -> Callable[[Callable[[], list[Patch]]], Callable[[], list[Patch]]]:
    """Register what plants the bug ``name``."""

    def register(plant: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
        BUGS[name] = plant
        return plant

    return register


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Let the bug be there while this lasts."""
    with ExitStack() as stack:
        for where, what, wrong in BUGS[name]():
            stack.enter_context(patch.object(where, what, wrong))
        yield


def find(name: str, options: Options, seeds: range) -> tuple[int, Outcome] | None:
    """Return how many seeds it took to find a bug, and what was seen; None if it was not."""
    for count, seed in enumerate(seeds, 1):
        with planted(name):
            outcome = simulate(seed, options)
        # A seed that fails without the bug as well has not found it.
        if outcome.problem and not simulate(seed, options).problem:
            return count, outcome
    return None


# -- what must be on disk ------------------------------------------------------------------------

_prepare = store_log.LogStore.prepare


@bug("vote not persisted")
def _() -> list[Patch]:
    def prepare(self: Any, hard_state: Any = None, *rest: Any, **more: Any) -> Any:
        hard_state = hard_state and evolve(hard_state, vote=0)
        return _prepare(self, hard_state, *rest, **more)

    return [(store_log.LogStore, "prepare", prepare)]


@bug("term not persisted")
def _() -> list[Patch]:
    def prepare(self: Any, hard_state: Any = None, *rest: Any, **more: Any) -> Any:
        if hard_state and self.hard_state.term:
            hard_state = HardState(self.hard_state.term, self.hard_state.vote, hard_state.commit)
        return _prepare(self, hard_state, *rest, **more)

    return [(store_log.LogStore, "prepare", prepare)]


@bug("acknowledged before the sync")
def _() -> list[Patch]:
    ready = core_module.RawNode.ready

    def hasty(self: Any) -> Any:
        found = ready(self)
        if found.append is None:
            return found
        early = tuple(each for each in found.append.responses if each.to != self.id)
        late = tuple(each for each in found.append.responses if each.to == self.id)
        return evolve(
            found,
            messages=(*found.messages, *early),  # type: ignore[arg-type]
            append=evolve(found.append, responses=late),
        )

    return [(core_module.RawNode, "ready", hasty)]


@bug("log written without sync")
def _() -> list[Patch]:
    def write(self: Any) -> None:
        store = self._store
        write_batch = store.db.write_batch
        with patch.object(
            type(store.db), "write_batch", lambda db, transaction, sync: write_batch(True, False)
        ):
            _write(self)

    return [(store_log.Batch, "write", write)]


_write = store_log.Batch.write


@bug("leads before its own vote is durable")
def _() -> list[Patch]:
    on_vote_response = election.on_vote_response

    def count(state: State, message: Any) -> None:
        on_vote_response(state, message)
        won = state.config.vote_result(state.votes) is VoteResult.WON
        if won and state.role is Role.CANDIDATE:
            election._become_leader(state)
            election.broadcast_append(state)

    rules = dict(dispatch._RULES)
    rules[Role.CANDIDATE] = {**rules[Role.CANDIDATE], VoteResponse: count}
    return [(dispatch, "_RULES", rules)]


@bug("leader counts itself before its disk does")
def _() -> list[Patch]:
    append_entries = replication.append_entries

    def append(state: State, payloads: Any) -> int:
        last = append_entries(state, payloads)
        state.progress[state.id].maybe_update(last)
        return last

    return [
        (replication, "append_entries", append),
        (core_proposals, "append_entries", append),
        (election, "append_entries", append),
    ]


@bug("tail not truncated on disk")
def _() -> list[Patch]:
    plan = store_log.LogStore._plan_entries

    def careless(self: Any, batch: Any, entries: Any) -> None:
        plan(self, batch, entries)
        batch.stale = range(0)

    return [(store_log.LogStore, "_plan_entries", careless)]


@bug("compacted past the synced state")
def _() -> list[Patch]:
    return [(store_state.StateStore, "_flush", lambda self, applied, generation: None)]


@bug("applied index written before what it covers")
def _() -> list[Patch]:
    write = store_state.StateStore._write

    def halved(self: Any, generation: Any) -> None:
        if not generation.written:
            writes, generation.writes = generation.writes, {}
            write(self, generation)
            generation.writes, generation.written = writes, False
        write(self, generation)

    return [(store_state.StateStore, "_write", halved)]


@bug("a sync counts what was not written")
def _() -> list[Patch]:
    sync = store_state.StateStore.sync

    def hasty(self: Any) -> Any:
        job = sync(self)
        job._written = store_state.WriteJob(self, [])
        return job

    return [(store_state.StateStore, "sync", hasty)]


@bug("what was overtaken is written again")
def _() -> list[Patch]:
    write = store_state.StateStore._write

    def again(self: Any, generation: Any) -> None:
        generation.written = False
        write(self, generation)

    return [(store_state.StateStore, "_write", again)]


@bug("a change of the ring worked out from an older state")
def _() -> list[Patch]:
    add, work_out = applying.Applying.add, applying.Applying._work_out
    drafts: dict[int, Any] = {}

    def early(self: Any, apply: Any) -> None:
        drafts[id(self)] = self.node.directory.state.draft()
        add(self, apply)

    def late(self: Any, entry: Any) -> None:
        state = self.node.directory.state
        with patch.object(type(state), "draft", lambda state: drafts[id(self)]):
            work_out(self, entry)

    return [(applying.Applying, "add", early), (applying.Applying, "_work_out", late)]


@bug("log begun again before the snapshot is installed")
def _() -> list[Patch]:
    def install(self: Any, append: Any) -> None:
        meta = append.snapshot.meta
        self._writing = self.installing = True
        self.directory.log.applied_floor = None
        batch = self.directory.log.prepare(append.hard_state, append.entries, meta)

        def log_begun() -> None:
            batch.done()
            job = self.transfers.install(meta)

            def state_replaced() -> None:
                job.done()
                self._writing = self.installing = False
                self.transfers.installed()
                self.administration.reload()
                self.mesh.set_members(self.addresses())
                self._deliver(append.responses)
                self.wake()

            self.in_thread(self.disk, job, "", state_replaced)

        self.in_thread(self.disk, batch, "", log_begun)

    return [(node_module.Node, "_install", install)]


# -- elections -----------------------------------------------------------------------------------


@bug("two votes in a term")
def _() -> list[Patch]:
    on_vote_request = election.on_vote_request

    def generous(state: State, message: Any) -> None:
        vote, leader = state.vote, state.leader
        state.vote = state.leader = 0
        on_vote_request(state, message)
        state.leader = leader
        state.vote = state.vote or vote

    rules = {**dispatch._FOR_ALL, Vote: generous}
    return [
        (dispatch, "_RULES", {role: {**r, **rules} for role, r in dispatch._RULES.items()}),
    ]


@bug("vote for a log that is behind")
def _() -> list[Patch]:
    return [(log_module.RaftLog, "is_up_to_date", lambda self, index, term: True)]


@bug("majority is half")
def _() -> list[Patch]:
    def vote_result(voters: Any, votes: Any) -> Any:
        yes = sum(1 for each in voters if votes.get(each))
        missing = sum(1 for each in voters if each not in votes)
        if yes * 2 >= len(voters):
            return quorum.VoteResult.WON
        pending = (yes + missing) * 2 >= len(voters)
        return quorum.VoteResult.PENDING if pending else quorum.VoteResult.LOST

    return [(quorum, "vote_result", vote_result)]


@bug("messages of an earlier term taken")
def _() -> list[Patch]:
    def step(state: State, message: Any) -> None:
        if message.term > state.term and not dispatch._accept_higher_term(state, message):
            return
        rule = dispatch._RULES[state.role].get(type(message))
        if rule is not None:
            rule(state, message)

    return [(dispatch, "step", step)]


# -- replication ---------------------------------------------------------------------------------


@bug("commit by counting an old term")
def _() -> list[Patch]:
    def maybe_commit(state: State) -> bool:
        acked = {node: state.progress[node].match for node in state.config.voters}
        index = state.config.committed_index(acked)
        if index <= state.log.committed:
            return False
        state.log.commit_to(index)
        return True

    return [(replication, "maybe_commit", maybe_commit), (membership, "maybe_commit", maybe_commit)]


@bug("commit when half have it")
def _() -> list[Patch]:
    def committed_index(voters: Any, acked: Any) -> int:
        if not voters:
            return 1 << 62
        return sorted((acked.get(each, 0) for each in voters), reverse=True)[
            max(0, (len(voters) + 1) // 2 - 1 - (len(voters) % 2 and len(voters) > 1))
        ]

    return [(quorum, "committed_index", committed_index)]


@bug("conflicting entries kept")
def _() -> list[Patch]:
    def first_new(self: Any, entries: Any) -> int:
        return sum(1 for entry in entries if entry.index <= self.last_index)

    return [(log_module.RaftLog, "_first_new", first_new)]


@bug("append taken without what precedes it")
def _() -> list[Patch]:
    return [(log_module.RaftLog, "matches", lambda self, index, term: index <= self.last_index)]


@bug("an answer stands for all that was sent")
def _() -> list[Patch]:
    on_append_response = replication.on_append_response

    def generous(state: State, message: Any) -> None:
        peer = state.progress.get(message.from_)
        if peer is not None and not message.reject and message.index:
            message = evolve(message, index=max(message.index, peer.next - 1))
        on_append_response(state, message)

    rules = dict(dispatch._RULES)
    rules[Role.LEADER] = {**rules[Role.LEADER], AppendResponse: generous}
    return [(dispatch, "_RULES", rules)]


@bug("heartbeats carry the leader's commit")
def _() -> list[Patch]:
    def on_heartbeat(state: State, message: Any) -> None:
        state.log.commit_to(min(message.commit, state.log.last_index))
        state.send(
            HeartbeatResponse(
                to=message.from_, from_=state.id, term=state.term, context=message.context
            )
        )

    def broadcast(state: State) -> None:
        for peer in state.peers:
            state.send(
                Heartbeat(
                    to=peer.id,
                    from_=state.id,
                    term=state.term,
                    commit=state.log.committed,
                    context=state.reads.context(),
                )
            )

    return [
        (dispatch, "broadcast_heartbeat", broadcast),
        (reads, "broadcast_heartbeat", broadcast),
        (dispatch, "_FROM_LEADER", {**dispatch._FROM_LEADER, Heartbeat: on_heartbeat}),
        (dispatch, "_RULES", _with_heartbeat(on_heartbeat)),
    ]


def _with_heartbeat(rule: Any) -> Any:
    def follow(state: State, message: Any) -> None:
        state.election_elapsed, state.leader = 0, message.from_
        rule(state, message)

    rules = dict(dispatch._RULES)
    follower = Role.FOLLOWER
    rules[follower] = {**rules[follower], Heartbeat: follow}
    return rules


@bug("durable in an old term counts")
def _() -> list[Patch]:
    def on_storage_append(state: State, message: Any) -> None:
        if message.index:
            log = state.log
            if log._offset <= message.index <= log.last_index:
                log.stable_to(message.index, log.term(message.index))
        if message.snapshot is not None:
            durability._snapshot_installed(state, message.snapshot)

    rules = {
        role: {**r, StorageAppendResponse: on_storage_append} for role, r in dispatch._RULES.items()
    }
    return [(dispatch, "_RULES", rules), (dispatch, "on_storage_append", on_storage_append)]


@bug("appends merged without truncation")
def _() -> list[Patch]:
    def overwrite(entries: list[Any], newer: Any) -> None:
        known = {entry.index for entry in entries}
        entries.extend(entry for entry in newer if entry.index not in known)

    return [(node_module, "_overwrite", overwrite)]


# -- membership ----------------------------------------------------------------------------------


@bug("a change proposed while another is under way")
def _() -> list[Patch]:
    return [
        (core_proposals, "_why_not", lambda state, change, pending: ""),
        (core_module.RawNode, "conf_change_pending", property(lambda self: False)),
    ]


@bug("single-server changes without the 2015 fix")
def _() -> list[Patch]:
    become_leader = election._become_leader

    def forgetful(state: State) -> None:
        become_leader(state)
        state.pending_conf_index = 0

    return [(election, "_become_leader", forgetful)]


@bug("learners count")
def _() -> list[Patch]:
    from uring.raft.changer import Configuration

    def committed_index(self: Any, acked: Any) -> int:
        return (
            quorum.committed_index(
                self.incoming, {**acked, **dict.fromkeys(self.incoming, max(acked.values()))}
            )
            if self.learners
            else quorum.committed_index(self.incoming, acked)
        )

    return [(Configuration, "committed_index", committed_index)]


@bug("members not kept with the state")
def _() -> list[Patch]:
    return [(StateTransaction, "set_conf_state", lambda self, conf_state: None)]


@bug("an emptied disk is let in as the member it was")
def _() -> list[Patch]:
    check = Administration.check

    def lenient(self: Any, hello: Any) -> Any:
        refused = check(self, hello)
        return None if refused is not None and refused.code == "instance" else refused

    return [(Administration, "check", lenient)]


@bug("a removal answered before it is durable")
def _() -> list[Patch]:
    return [(node_module.Node, "membership_is_durable", property(lambda self: True))]


# -- snapshots -----------------------------------------------------------------------------------


@bug("snapshot without age check")
def _() -> list[Patch]:
    def restore(state: State, snapshot: Any) -> bool:
        state.log.restore(snapshot)
        state.restore_configuration(snapshot.meta.conf_state)
        return True

    from uring.transfers import Transfers

    chunk = Transfers.chunk

    def careless(self: Any, piece: Any) -> None:
        commit = type(self.node.raft).commit
        with patch.object(type(self.node.raft), "commit", property(lambda raft: 0)):
            chunk(self, piece)
        assert type(self.node.raft).commit is commit

    return [(snapshots, "_restore", restore), (Transfers, "chunk", careless)]


@bug("snapshot without the members")
def _() -> list[Patch]:
    return [(State, "restore_configuration", _keep_configuration)]


_restore_configuration = State.restore_configuration


def _keep_configuration(self: Any, conf_state: Any) -> None:
    if not self.config.incoming:
        _restore_configuration(self, conf_state)


@bug("snapshot without the sessions")
def _() -> list[Patch]:
    from uring.store.snapshots import SnapshotReader

    collect = SnapshotReader._collect

    def forgetful(self: Any, start: bytes, max_bytes: int) -> Any:
        tally = self._tally
        records, following = collect(self, start, 1 << 30)
        kept = [record for record in records if b"\x02s" not in record[8:10]]
        tally.count, tally.length, tally._hash = 0, 0, type(tally)()._hash
        for record in kept:
            tally.add(record)
        return kept, following

    return [(SnapshotReader, "_collect", forgetful)]


# -- clients -------------------------------------------------------------------------------------


@bug("applied twice")
def _() -> list[Patch]:
    def always(transaction: Any, *name: int) -> bool:
        first_time(transaction, *name)
        return True

    return [(table, "first_time", always)]


@bug("an idempotency key forgotten")
def _() -> list[Patch]:
    return [(table.once, "apply", lambda transaction, command, run: run())]


@bug("a lease ended by an expiry older than its renewal")
def _() -> list[Patch]:
    def end(transaction: Any, command: Any, turn: Any) -> Any:
        lease = leases.load(transaction, command.lease)
        if type(command) is Expire:
            command = Expire(command.lease, lease.renewals)
        return table._end_lease(transaction, command, turn)

    return [(table, "_MACHINES", {**table._MACHINES, Expire: end})]


@bug("a new leader counts the time of leases from before")
def _() -> list[Patch]:
    tick = Lessor.tick

    def hasty(self: Any, leads: bool, elapsed: float) -> None:
        began = leads and not self._leads
        tick(self, leads, elapsed)
        if began:
            for lease, (deadline, renewals) in list(self._known.items()):
                self._put(lease, deadline - 0.8, renewals)

    return [(Lessor, "tick", hasty)]


@bug("dedupe window forgotten on restart")
def _() -> list[Patch]:
    load = store_state.StateStore.load

    def forget(self: Any) -> None:
        load(self)
        for key in [key for key in self.db.table.keys if key.startswith(b"\x02s")]:
            self.db.table.write([(key, None)])

    return [(store_state.StateStore, "load", forget)]


@bug("dedupe window too small")
def _() -> list[Patch]:
    def short(transaction: Any, proposer: int, incarnation: int, sequence: int, floor: int) -> bool:
        record = transaction.get(b"s%d" % proposer)
        if record == b"%d.%d" % (incarnation, sequence):
            return False
        transaction.put(b"s%d" % proposer, b"%d.%d" % (incarnation, sequence))
        return True

    return [(table, "first_time", short), (sessions, "first_time", short)]


@bug("stale read from a deposed leader")
def _() -> list[Patch]:
    def at_once(state: State, request: Any) -> None:
        if not state.committed_in_term():
            state.early_reads.append(request)
        else:
            reads._answer(state, request, state.log.committed)

    return [
        (reads, "on_read_as_leader", at_once),
        (dispatch, "_RULES", _leader_reads(at_once)),
    ]


def _leader_reads(rule: Any) -> Any:
    rules = dict(dispatch._RULES)
    leader = Role.LEADER
    rules[leader] = {**rules[leader], ReadIndex: rule}
    return rules


@bug("read before the first commit of the term")
def _() -> list[Patch]:
    return [(State, "committed_in_term", lambda self: True)]


@bug("lease without check-quorum")
def _() -> list[Patch]:
    def by_lease(state: State, request: Any) -> None:
        if not state.committed_in_term():
            state.early_reads.append(request)
        elif state.election_elapsed < state.settings.election_ticks:
            reads._answer(state, request, state.log.committed)

    return [
        (reads, "on_read_as_leader", by_lease),
        (dispatch, "_RULES", _leader_reads(by_lease)),
        (dispatch, "check_quorum", lambda state: None),
        (dispatch, "is_in_lease", lambda state, message: False),
    ]


@bug("read answered before it is applied")
def _() -> list[Patch]:
    ready = node_reads.LinearizableReads.ready
    return [
        (node_reads.LinearizableReads, "ready", lambda self, applied: ready(self, 1 << 62)),
    ]


@bug("unknown outcome called a failure")
def _() -> list[Patch]:
    class Failed(OutcomeUnknown):
        definite = True

    return [(proposals_module, "OutcomeUnknown", Failed)]


@bug("a command that waits for ever")
def _() -> list[Patch]:
    return [(proposals_module.Proposals, "sweep", lambda self: None)]


@bug("a refusal of one copy taken for all")
def _() -> list[Patch]:
    def forward(self: Any, message: Any) -> None:
        settled = self.proposals._settle(message.sequence)
        if settled is not None:
            self.proposals._tell_all(settled, Unavailable(message.reason))

    handlers = {**node_module.Node._HANDLERS, ForwardRefused: forward}
    return [(node_module.Node, "_HANDLERS", handlers)]
