"""The interaction scripts: several cores driven through one command at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from tests.conformance import describe
from tests.conformance.confchanges import parse_changes
from tests.conformance.datadriven import Command, Directive, parse_command
from tests.conformance.members import Member
from tests.conformance.options import STUB, is_true, option
from tests.conformance.output import Output
from uring.raft import NO_LIMIT, PeerNotFound, ProposalDropped
from uring.raft.local import AnyMessage, StorageAppendResponse, StorageApplyResponse
from uring.raft.messages import InstallSnapshot
from uring.raft.storage import Compacted
from uring.raft.types import (
    ConfChange,
    ConfChangeTransition,
    ConfState,
    EntryKind,
    Snapshot,
    SnapshotMeta,
)

_ERRORS: dict[type[Exception], str] = {
    ProposalDropped: "raft proposal dropped",
    PeerNotFound: "raft: cannot step as peer not found",
    Compacted: "requested index is unavailable due to compaction",
}

_TRANSITIONS = {
    "auto": ConfChangeTransition.AUTO,
    "implicit": ConfChangeTransition.JOINT_IMPLICIT,
    "explicit": ConfChangeTransition.JOINT_EXPLICIT,
}


def _error_text(error: Exception) -> str:
    return _ERRORS.get(type(error), str(error))


def _is_local(message: AnyMessage) -> bool:
    """True for what is delivered inside a node, and so cannot be lost."""
    if isinstance(message, StorageAppendResponse | StorageApplyResponse):
        return True
    return message.from_ == message.to


class Interaction:
    """Runs one script; nodes and messages under way live from one directive to the next."""

    def __init__(self) -> None:
        self.output = Output()
        self.members: list[Member] = []
        self.messages: list[AnyMessage] = []
        self._commands: dict[str, Callable[[Command], None]] = {
            "_breakpoint": lambda command: None,
            "add-nodes": self._add_nodes,
            "campaign": lambda command: self._node(command).raw.campaign(),
            "compact": self._compact,
            "deliver-msgs": self._deliver_messages,
            "forget-leader": lambda command: self._node(command).raw.forget_leader(),
            "log-level": lambda command: self.output.set_level(command.arguments[0].key),
            "process-append-thread": self._process_append_threads,
            "process-apply-thread": self._process_apply_threads,
            "process-ready": self._process_readies,
            "propose": self._propose,
            "raft-log": lambda command: self._raft_log(self._node(command)),
            "raft-state": self._raft_state,
            "report-unreachable": self._report_unreachable,
            "send-snapshot": self._send_snapshot,
            "set-randomized-election-timeout": self._set_timeout,
            "stabilize": self._stabilize,
            "status": self._status,
            "tick-election": lambda command: self._tick(command, STUB.election_ticks),
            "tick-heartbeat": lambda command: self._tick(command, STUB.heartbeat_ticks),
            "transfer-leadership": self._transfer_leadership,
        }

    def run(self, directive: Directive) -> str:
        """Return what ``directive`` prints."""
        try:
            if directive.command.name == "propose-conf-change":
                self._propose_conf_change(directive)
            else:
                self._run_all(directive)
        except (ProposalDropped, Compacted, ValueError) as error:
            if self.output.is_quiet:
                self.output.take()
                return _error_text(error)
            self.output.write(_error_text(error))
        return self.output.take() or "ok"

    def _run_all(self, directive: Directive) -> None:
        """Run a command and those on the lines under it."""
        self._run_one(directive.command)
        for line in directive.body:
            try:
                self._run_one(parse_command(line))
            except (ProposalDropped, Compacted, ValueError) as error:
                if self.output.is_quiet:
                    raise
                self.output.write(_error_text(error))

    def _run_one(self, command: Command) -> None:
        run = self._commands.get(command.name)
        if run is None:
            raise ValueError("unknown command")
        run(command)

    def _node(self, command: Command) -> Member:
        return self.members[command.numbers()[0] - 1]

    def _nodes(self, command: Command) -> list[int]:
        return command.numbers()

    # Setting up

    def _add_nodes(self, command: Command) -> None:
        options: dict[str, Any] = {}
        conf_state, index, content = ConfState(), 0, b""
        for argument in command.arguments[1:]:
            key, values = argument.key, argument.values
            if key == "voters":
                conf_state = evolve(conf_state, voters=tuple(map(int, values)))
            elif key == "learners":
                conf_state = evolve(conf_state, learners=tuple(map(int, values)))
            elif key == "index":
                index = int(values[0])
            elif key == "content":
                content = values[0].encode()
            else:
                options |= option(key, values[0])
        start = Snapshot(SnapshotMeta(index, 0, conf_state), content)
        if start != Snapshot():
            if index <= 1:
                raise ValueError("index must be specified as > 1 due to bootstrap")
            start = evolve(start, meta=evolve(start.meta, term=1))
        for _ in range(command.numbers()[0]):
            settings = evolve(STUB, node_id=len(self.members) + 1, applied=index, **options)
            self.members.append(Member(settings, start, self.output.log))

    def _set_timeout(self, command: Command) -> None:
        self._node(command).set_randomized_election_timeout(int(command.value("timeout") or 0))

    # Input of one core

    def _tick(self, command: Command, ticks: int) -> None:
        for _ in range(ticks):
            self._node(command).raw.tick()

    def _propose(self, command: Command) -> None:
        self.members[int(command.arguments[0].key) - 1].raw.propose(
            command.arguments[1].key.encode()
        )

    def _propose_conf_change(self, directive: Directive) -> None:
        command = directive.command
        v1 = is_true(command.value("v1") or "false")
        name = command.value("transition") or "auto"
        if name not in _TRANSITIONS:
            raise ValueError(f"unknown transition {name}")
        changes = parse_changes(" ".join(directive.body))
        if v1 and (len(changes) > 1 or name != "auto"):
            raise ValueError("v1 conf change can only have one operation and no transition")
        self._node(command).raw.propose_conf_change(
            ConfChange(changes, _TRANSITIONS[name]),
            EntryKind.CONF_CHANGE if v1 else EntryKind.CONF_CHANGE_V2,
        )

    def _transfer_leadership(self, command: Command) -> None:
        source, target = int(command.value("from") or 0), int(command.value("to") or 0)
        self.members[source - 1].raw.transfer_leader(target)

    def _report_unreachable(self, command: Command) -> None:
        node, lost = command.numbers()
        self.members[node - 1].raw.report_unreachable(lost)

    def _compact(self, command: Command) -> None:
        node, index = command.numbers()
        member = self.members[node - 1]
        member.storage.compact(index)
        self._raft_log(member)

    def _send_snapshot(self, command: Command) -> None:
        source, target = command.numbers()
        member = self.members[source - 1]
        message = InstallSnapshot(
            to=target,
            from_=source,
            term=member.raw.term,
            snapshot=member.storage.snapshot(),
        )
        self.messages.append(message)
        self.output.write(describe.message(message))

    # Output of one core

    def _raft_log(self, member: Member) -> None:
        storage = member.storage
        first, last = storage.first_index(), storage.last_index()
        if last < first:
            self.output.write(f"log is empty: first index={first}, last index={last}")
            return
        self.output.write(describe.entries(storage.entries(first, last + 1, NO_LIMIT)))

    def _raft_state(self, command: Command) -> None:
        for member in self.members:
            status = member.raw.status()
            conf_state = status.conf_state
            is_voter = status.id in (*conf_state.voters, *conf_state.voters_outgoing)
            self.output.write(
                f"{status.id}: State{status.soft_state.role.value} "
                f"{'(Voter)' if is_voter else '(Non-Voter)'} "
                f"Term:{status.hard_state.term} Lead:{status.soft_state.leader}\n"
            )

    def _status(self, command: Command) -> None:
        for node, progress in self._node(command).raw.status().progress.items():
            self.output.write(f"{node}: {progress}\n")

    def _process_readies(self, command: Command) -> None:
        self.output.each("handling Ready", self._nodes(command), self._process_ready)

    def _process_ready(self, node: int) -> None:
        member = self.members[node - 1]
        ready = member.raw.ready()
        self.output.write(describe.ready(node, ready))
        is_async = member.settings.async_storage_writes
        if not is_async:
            member.save(ready.hard_state, ready.entries, ready.snapshot)
            member.apply(ready.committed_entries)
        self.messages.extend(ready.messages)
        if ready.append is not None:
            member.append_work.append(ready.append)
        if ready.apply is not None:
            member.apply_work.append(ready.apply)
        if not is_async:
            member.raw.advance()

    def _process_append_threads(self, command: Command) -> None:
        self.output.each(
            "processing append thread", self._nodes(command), self._process_append_thread
        )

    def _process_append_thread(self, node: int) -> None:
        member = self.members[node - 1]
        if not member.append_work:
            self.output.write("no append work to perform")
            return
        work = member.append_work.popleft()
        self._start_work(describe.storage_append(node, work, with_responses=False))
        member.save(work.hard_state, work.entries, work.snapshot)
        self._end_work(work.responses)

    def _process_apply_threads(self, command: Command) -> None:
        self.output.each(
            "processing apply thread", self._nodes(command), self._process_apply_thread
        )

    def _process_apply_thread(self, node: int) -> None:
        member = self.members[node - 1]
        if not member.apply_work:
            self.output.write("no apply work to perform")
            return
        work = member.apply_work.popleft()
        self._start_work(describe.storage_apply(node, work, with_responses=False))
        member.apply(work.entries)
        self._end_work(work.responses)

    def _start_work(self, description: str) -> None:
        self.output.write(f"Processing:\n{description}\n")

    def _end_work(self, responses: Sequence[AnyMessage]) -> None:
        self.output.write("Responses:\n")
        for response in responses:
            self.output.write(describe.message(response) + "\n")
        self.messages.extend(responses)

    # The network

    def _deliver_messages(self, command: Command) -> None:
        kind = command.value("type")
        if kind is not None and kind not in describe.NAMES.values():
            raise ValueError(f"unknown message type {kind}")
        handled = 0
        for argument in command.arguments:
            if not argument.values:
                handled += self._deliver(int(argument.key), kind)
            elif argument.key == "drop":
                handled += sum(self._drop(int(node), kind) for node in argument.values)
        if not handled:
            self.output.write("no messages\n")

    def _split(self, node: int, kind: str | None, drop: bool) -> list[AnyMessage]:
        """Take the messages for ``node`` off the network."""
        taken: list[AnyMessage] = []
        left: list[AnyMessage] = []
        for message in self.messages:
            wanted = message.to == node and not (drop and _is_local(message))
            wanted = wanted and kind in (None, describe.NAMES[type(message)])
            (taken if wanted else left).append(message)
        self.messages = left
        return taken

    def _deliver(self, node: int, kind: str | None = None) -> int:
        messages = self._split(node, kind, drop=False)
        for message in messages:
            self.output.write(describe.message(message) + "\n")
            refused = self.members[node - 1].raw.step(message)
            if refused is not None:
                self.output.write(_error_text(refused) + "\n")
        return len(messages)

    def _drop(self, node: int, kind: str | None) -> int:
        messages = self._split(node, kind, drop=True)
        for message in messages:
            self.output.write(f"dropped: {describe.message(message)}\n")
        return len(messages)

    # Until nothing is left to do

    def _stabilize(self, command: Command) -> None:
        nodes = self._nodes(command) or list(range(1, len(self.members) + 1))
        level = self.output.level
        wanted = command.value("log-level")
        try:
            if wanted is not None:
                self.output.set_level(wanted)
            while self._one_round(nodes):
                pass
        finally:
            self.output.level = level

    def _one_round(self, nodes: list[int]) -> bool:
        steps: list[tuple[str, Callable[[int], object], Callable[[int], None]]] = [
            (
                "handling Ready",
                lambda node: self.members[node - 1].raw.has_ready(),
                self._process_ready,
            ),
            (
                "receiving messages",
                lambda node: any(message.to == node for message in self.messages),
                lambda node: (self._deliver(node), None)[1],
            ),
            (
                "processing append thread",
                lambda node: self.members[node - 1].append_work,
                self._drain_append_thread,
            ),
            (
                "processing apply thread",
                lambda node: self.members[node - 1].apply_work,
                self._drain_apply_thread,
            ),
        ]
        busy = False
        for heading, is_needed, work in steps:
            for node in nodes:
                if is_needed(node):
                    busy = True
                    self.output.write(f"> {node} {heading}\n")
                    with self.output.indented():
                        work(node)
        return busy

    def _drain_append_thread(self, node: int) -> None:
        while self.members[node - 1].append_work:
            self._process_append_thread(node)

    def _drain_apply_thread(self, node: int) -> None:
        while self.members[node - 1].apply_work:
            self._process_apply_thread(node)
