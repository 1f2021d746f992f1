"""What must hold after every step, whatever the seed (paper, figure 3), and at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

from attrs import define, field, frozen

from tests.sim.faults import STOPPED
from tests.sim.versions import is_known
from uring.applying import Applying
from uring.machines import leases
from uring.machines.commands import Ring
from uring.machines.events import (
    Event,
    KeyDeleted,
    KeyPut,
    KeySwapped,
    RingChanged,
    RingMoved,
    SwapRefused,
    numbered,
)
from uring.machines.levels import LEVEL
from uring.machines.table import Applied, Machines
from uring.raft.messages import AppendResponse, VoteResponse
from uring.raft.ready import StorageApply
from uring.raft.types import ConfState, Entry, EntryKind, HardState, Role
from uring.store.records import (
    BOUNDARY,
    HARD_STATE,
    decode_hard_state,
    decode_place,
    entry_key,
)
from uring.store.state import StateStore
from uring.store.view import iterate

if TYPE_CHECKING:
    from tests.sim.world import Host, Life, World


class Violation(BaseException):
    """Something happened that must never happen.

    No Exception, so that a node does not take it for one of its own.
    """


@frozen
class Untouched:
    """The state as commands see it.  Looking does not write what gathered, as iterating does."""

    _state: StateStore

    def get(self, key: bytes) -> bytes | None:
        """See StateStore."""
        return self._state.get(key)

    def iterate(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """See StateStore."""
        state, pending = self._state, self._state._pending
        found: dict[bytes, bytes | None] = dict(
            iterate(lambda: state.db, state._gate, state.health, prefix, start)
        )
        for generation in (*pending.leaving, pending.young):
            found.update(generation.writes)
        for key, value in sorted(found.items()):
            if value is not None and key.startswith(prefix) and key >= start:
                yield key, value


@define
class WatchedApplying(Applying):
    """Shows what it applies."""

    watching: Callable[[Sequence[Entry]], None] = lambda entries: None

    def _apply(self, apply: StorageApply) -> Sequence[Entry]:
        entries = super()._apply(apply)
        self.watching(entries)
        return entries


@frozen
class WatchedMachines(Machines):
    """Machines that show what became of every batch."""

    watch: Callable[[int, Applied], None] = lambda index, applied: None
    level: int = LEVEL
    """An older program passes over entries that it cannot decode."""

    def apply(self, transaction: Any, index: int, data: bytes, *, in_turn: bool = False) -> Applied:
        if self.level < LEVEL and not is_known(data, self.level):
            applied = Applied(0, 0, index, None, [])
        else:
            applied = super().apply(transaction, index, data, in_turn=in_turn)
        self.watch(index, applied)
        return applied


@define(eq=False)
class Seen:
    """What was seen of one process at its last step."""

    terms: dict[int, int] = field(factory=dict)
    """The log as it was checked: index -> term."""
    last: int = 0
    last_term: int = 0
    commit: int = 0
    term: int = 0
    led: int = 0
    """The term that it leads, or 0."""
    conf: ConfState = field(factory=ConfState)
    """The configuration in force; what is committed in a step may end it in the same step."""
    installed: tuple[int, int] = (0, 0)


def _shown(result: Any) -> str:
    """Spell a result; where nobody waits for a ring it is left out, and the state shows it."""
    return f"Ring {result.problem}" if type(result) is Ring else repr(result)


def _content(entry: Entry) -> bytes:
    return hashlib.blake2b(bytes((entry.kind,)) + entry.data, digest_size=8).digest()


class Durable:
    """What the disk of a host would hold after a loss of power."""

    def __init__(self, host: Host) -> None:
        table = host.files.durable_names.get("log")
        self._records: dict[bytes, bytes] = {} if table is None else table.durable

    @property
    def hard_state(self) -> HardState:
        record = self._records.get(HARD_STATE)
        return HardState() if record is None else decode_hard_state(record)

    def holds(self, index: int, term: int) -> bool:
        """Tell whether the entry is there, or compacted because it was applied."""
        record = self._records.get(entry_key(index))
        boundary = self._records.get(BOUNDARY)
        if boundary is not None and decode_place(BOUNDARY, boundary)[0] >= index:
            return True
        return record is not None and int.from_bytes(record[:8], "big") == term


class Properties:
    """All that is known of one world, and what it must agree with."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._seen: dict[int, Seen] = {}
        self._leaders: dict[int, tuple[int, int]] = {}
        self._log: dict[tuple[int, int], tuple[int, bytes]] = {}
        """(index, term) -> term of the entry before, digest of the content."""
        self._committed: dict[int, int] = {}
        self._highest = 0
        self._formed = 0
        """Entries that the cluster began with."""
        self._votes: dict[tuple[int, bytes, int], int] = {}
        self._hard: dict[tuple[int, bytes], HardState] = {}
        self._outcomes: dict[int, tuple[Any, ...]] = {}
        self._batches: dict[tuple[int, int, int], int] = {}
        self._digests: dict[int, bytes] = {}
        self._confs: dict[int, ConfState] = {}
        self._commits: dict[int, int] = {}
        """Commit index -> the term in which it was first seen to be reached."""
        self.events: dict[int, Event] = {}
        """Every change by its revision."""

    def violated(self, text: str) -> NoReturn:
        """Raise Violation."""
        raise Violation(text)

    def formed(self, entries: Sequence[Entry]) -> None:
        """Note the log that the cluster begins with."""
        before = 0
        for entry in entries:
            self._log[entry.index, entry.term] = (before, _content(entry))
            self._committed[entry.index] = before = entry.term
        self._highest = self._formed = len(entries)
        self._confs[len(entries)] = ConfState(voters=tuple(range(1, len(entries) + 1)))

    def members(self) -> set[int]:
        """Return the members as of the newest configuration known to be applied anywhere."""
        conf = self._confs[max(self._confs)]
        return {*conf.voters, *conf.learners, *conf.voters_outgoing}

    # -- a process begins or ends ----------------------------------------------------------------

    def started(self, life: Life) -> None:
        """Compare what a process comes back with to what is known."""
        state, hard = life.directory.state, life.directory.log.hard_state
        key = (life.id, life.host.instance)
        before = self._hard.get(key, HardState())
        if hard.term < before.term or (
            hard.term == before.term and before.vote not in (0, hard.vote)
        ):
            self.violated(f"node {life.id} had {before} on disk and comes back with {hard}")
        self._seen[life.id] = Seen(installed=state.installed, conf=state.conf_state)
        self._compare_state(life)

    def stopped(self, life: Life) -> None:
        """A process ends itself: only a failing disk or a stop is a reason."""
        if life.stopped == STOPPED or life.disk_faulty:
            return
        if "feature level" not in life.stopped or not self.world.upgrade.refused(life.host):
            self.violated(f"node {life.id} stops: {life.stopped}\n{life.failure}")

    # -- messages --------------------------------------------------------------------------------

    def sent(self, life: Life, to: int, message: Any) -> None:
        """A promise leaves: what it promises must be on disk."""
        if type(message) is VoteResponse and not message.reject:
            self._check_vote(life, to, message.term)
        elif type(message) is AppendResponse and not message.reject and message.index:
            raft = life.node.raft
            if message.term == raft.term and message.index <= raft.last_index:
                term = self._term(life, message.index)
                if not Durable(life.host).holds(message.index, term):
                    self.violated(
                        f"durability: node {life.id} acknowledges {message.index}, which is not on"
                        " its disk"
                    )

    def _check_vote(self, life: Life, to: int, term: int) -> None:
        key = (life.id, life.host.instance, term)
        if self._votes.setdefault(key, to) != to:
            self.violated(
                f"5.2: node {life.id} votes for {self._votes[key]} and {to} in term {term}"
            )
        hard = Durable(life.host).hard_state
        if hard.term < term or (hard.term == term and hard.vote != to):
            self.violated(f"node {life.id} votes for {to} in term {term}, on its disk is {hard}")
        self._hard[life.id, life.host.instance] = max(
            self._hard.get((life.id, life.host.instance), HardState()),
            hard,
            key=lambda each: (each.term, each.vote),
        )

    # -- after every step ------------------------------------------------------------------------

    def look(self, life: Life) -> None:
        """Check what this process did in the step."""
        seen, raft = self._seen[life.id], life.node.raft
        log = raft._state.log
        term, commit = raft.term, log.committed
        if term < seen.term:
            self.violated(f"node {life.id}: the term falls from {seen.term} to {term}")
        if commit < seen.commit:
            self.violated(f"node {life.id}: commit falls from {seen.commit} to {commit}")
        seen.term = term
        if (log.last_index, log.last_term) != (seen.last, seen.last_term):
            self._look_at_log(life, seen, log)
        if raft.role is Role.LEADER:
            if seen.led != term:
                self._look_at_new_leader(life, log)
                seen.led = term
        else:
            seen.led = 0
        if commit != seen.commit:
            self._look_at_commit(life, seen, commit)
            seen.commit = commit
        seen.conf = raft.conf_state
        if life.directory.state.installed != seen.installed:
            seen.installed = life.directory.state.installed
            self._compare_state(life)

    def _term(self, life: Life, index: int) -> int:
        log = life.node.raft._state.log
        if index < log.first_index - 1:
            return self._committed.get(index, 0)
        return int(log.term(index))

    def _look_at_log(self, life: Life, seen: Seen, log: Any) -> None:
        """Log matching: the same index and term means the same entry, and the same before it."""
        last, first = log.last_index, log.first_index
        if seen.led and seen.led == life.node.raft.term and last < seen.last:
            self.violated(f"5.3: leader {life.id} shortens its log from {seen.last} to {last}")
        index = last
        while index >= first and seen.terms.get(index) != log.term(index):
            index -= 1
        if seen.led and seen.led == life.node.raft.term and index < seen.last:
            self.violated(f"5.3: leader {life.id} overwrites its log after {index}")
        for stale in range(last + 1, seen.last + 1):
            seen.terms.pop(stale, None)
        if index < last:
            before = log.term(index) if index >= first - 1 else 0
            for entry in log.slice(index + 1, last + 1, 1 << 62):
                self._match(life, entry, before)
                seen.terms[entry.index] = before = entry.term
        seen.last, seen.last_term = last, log.last_term

    def _match(self, life: Life, entry: Entry, before: int) -> None:
        record = (before, _content(entry))
        known = self._log.setdefault((entry.index, entry.term), record)
        if known != record:
            self.violated(
                f"5.3: node {life.id} has another entry {entry.index} of term {entry.term}, or"
                f" another one before it (terms {before} and {known[0]})"
            )

    def _look_at_new_leader(self, life: Life, log: Any) -> None:
        """Election safety and leader completeness; the votes of a quorum are on disks."""
        term = life.node.raft.term
        leader = self._leaders.setdefault(term, (life.id, life.number))
        if leader != (life.id, life.number):
            self.violated(f"5.2: {leader[0]} and {life.id} both lead term {term}")
        # A turn may elect a leader, commit what its log has, and apply a change of the members: the
        # election was held among those of before.
        confs = (self._seen[life.id].conf, life.node.raft.conf_state)
        lacking = [self._lacking_votes(life, term, conf) for conf in confs]
        if all(lacking):
            self.violated(f"5.2: {life.id} leads term {term} by the votes of {lacking[-1]}")
        if not any(life.id in (*conf.voters, *conf.voters_outgoing) for conf in confs):
            self.violated(f"6: {life.id} leads term {term} and is no voter")
        # What a later term has committed, a leader of an earlier one that wins late need not have.
        last = max((to for to, by in self._commits.items() if by < term), default=0)
        if log.last_index < last:
            self.violated(f"5.4: leader {life.id} of term {term} lacks {last}")
        for index in range(max(log.first_index - 1, 1), last + 1):
            if log.term(index) != self._committed[index]:
                self.violated(f"5.4: leader {life.id} of term {term} has another entry {index}")

    def _lacking_votes(self, life: Life, term: int, conf: ConfState) -> str:
        """Say whose votes there are and of whom, if these are no quorum of ``conf``; nothing if so.

        The leader's own must be among them: without it the node could lead the same term again.
        """
        for voters in (conf.voters, conf.voters_outgoing):
            states = {voter: Durable(self.world.hosts[voter]).hard_state for voter in voters}
            have = [
                voter
                for voter, hard in states.items()
                if hard.term > term or (hard.term, hard.vote) == (term, life.id)
            ]
            if voters and len(have) <= len(voters) // 2:
                return f"{have} of {voters}"
            if life.id in voters and life.id not in have:
                return f"{have} of {voters}, without its own"
        return "" if conf.voters else "nobody"

    def _look_at_commit(self, life: Life, seen: Seen, commit: int) -> None:
        """What is committed stays, and is on the disks of a quorum when it becomes so."""
        log = life.node.raft._state.log
        for index in range(max(seen.commit, log.first_index - 1) + 1, commit + 1):
            term = log.term(index)
            if self._committed.setdefault(index, term) != term:
                self.violated(
                    f"5.4.3: node {life.id} has term {term} committed at {index}, others have"
                    f" {self._committed[index]}"
                )
        if commit > self._highest:
            if life.node.raft.is_leader:
                self._check_quorum(life, seen.conf, commit, log.term(commit))
            self._commits[commit] = life.node.raft.term
            self._highest = commit

    def _check_quorum(self, life: Life, before: ConfState, index: int, term: int) -> None:
        """What has just been committed is durable on a majority, joint ones on both (4.3)."""
        lacking = [self._lacking(conf, index, term) for conf in (before, life.node.raft.conf_state)]
        if all(lacking):
            self.violated(
                f"5.3: {index} is committed by {life.id} and on the disks of {lacking[0]}"
            )

    def _lacking(self, conf: ConfState, index: int, term: int) -> str:
        """Return which voters have an entry if they are no majority."""
        for voters in (conf.voters, conf.voters_outgoing):
            have = [
                voter for voter in voters if Durable(self.world.hosts[voter]).holds(index, term)
            ]
            if voters and len(have) <= len(voters) // 2:
                return f"{have} of {voters}"
        return ""

    # -- what is applied -------------------------------------------------------------------------

    def outcome(self, life: Life, index: int, applied: Applied) -> None:
        """At one index the same is applied everywhere; a batch is applied at one index only."""
        results = None if applied.results is None else tuple(map(_shown, applied.results))
        self._note_events(life, applied)
        name = (applied.proposer, applied.incarnation, applied.sequence)
        if self._outcomes.setdefault(index, (name, results)) != (name, results):
            self.violated(
                f"node {life.id} applies {name} at {index} with {results}, others"
                f" {self._outcomes[index]}"
            )
        if results is not None and self._batches.setdefault(name, index) != index:
            self.violated(
                f"applied twice: batch {name} at {self._batches[name]} and {index} (node {life.id})"
            )

    def applied(self, life: Life, entries: Sequence[Entry]) -> None:
        """A node has applied entries: compare them, the membership and the whole state."""
        for entry in entries:
            if self._committed.setdefault(entry.index, entry.term) != entry.term:
                self.violated(f"5.4.3: node {life.id} applies another entry {entry.index}")
            if entry.kind is not EntryKind.NORMAL:
                self._check_conf(life, entry, entries)
        if entries:
            self._compare_state(life)

    def _check_conf(self, life: Life, entry: Entry, entries: Sequence[Entry]) -> None:
        """Each configuration overlaps with the one before it (section 6; thesis 4.1)."""
        if entry.index <= self._formed:
            return
        later = [each for each in entries if each.index > entry.index]
        if any(each.kind is not EntryKind.NORMAL for each in later):
            return
        conf = life.node.raft.conf_state
        known = self._confs.get(entry.index)
        if known is not None:
            if known != conf:
                self.violated(f"6: node {life.id} has {conf} after {entry.index}, others {known}")
            return
        before = self._confs[max(index for index in self._confs if index < entry.index)]
        first = min(each.index for each in entries if each.kind is not EntryKind.NORMAL)
        if first == entry.index:
            self._check_overlap(before.voters, conf.voters, entry.index)
        self._confs[entry.index] = conf

    def _check_overlap(self, old: Iterable[int], new: Iterable[int], index: int) -> None:
        one, other = set(old), set(new)
        if len(one ^ other) > 1:
            self.violated(f"6: {sorted(one)} becomes {sorted(other)} at {index} without overlap")

    def _compare_state(self, life: Life) -> None:
        """All replicas are equal at an equal applied index."""
        state = life.directory.state
        digest = (
            life.node.machines.digest(Untouched(state))
            + repr((state.conf_state, sorted(state.member_addresses.items()), state.level)).encode()
        )
        if self._digests.setdefault(state.applied_index, digest) != digest:
            self.violated(f"node {life.id} has another state at {state.applied_index} than others")
        for registrar in self.world.registrars:
            registrar.look(life)

    def _note_events(self, life: Life, applied: Applied) -> None:
        """A revision is the same change everywhere."""
        for revision, event in numbered(applied.before, applied.events):
            if type(event) is SwapRefused:
                continue
            if self.events.setdefault(revision, event) != event:
                self.violated(f"node {life.id} has another change {revision} than others")

    def keys_at(self, revision: int) -> dict[str, str]:
        """Return what the keys held then."""
        held: dict[str, str] = {}
        for each in range(1, revision + 1):
            event = self.events[each]
            if isinstance(event, KeyDeleted):
                del held[event.key]
            elif isinstance(event, KeyPut | KeySwapped):
                held[event.key] = event.new
        return held

    def ring_at(self, revision: int) -> dict[str, list[int]]:
        """Return which node of the ring owned what then."""
        for each in range(revision, 0, -1):
            event = self.events[each]
            if isinstance(event, RingChanged | RingMoved):
                ((_, shown),) = event.spelled().items()
                return {node["id"]: node["vnodes"] for node in cast(Any, shown)["next"]}
        return {}

    # -- the end ---------------------------------------------------------------------------------

    def _replicas(self) -> list[Life]:
        """Return the processes of the members, as the newest configuration has them."""
        found = []
        for node_id in sorted(self.members()):
            life = self.world.hosts[node_id].life
            if life is not None and life.node is not None and not self._is_stranger(life):
                found.append(life)
        return found

    def _is_stranger(self, life: Life) -> bool:
        """True for a member that came back with an emptied disk: it is kept out, rightly."""
        # Who was removed knows only what was true then.
        for host in [self.world.hosts[node_id] for node_id in sorted(self.members())]:
            if host.life is not None and host.life.node is not None:
                member = host.life.node.members_known().get(life.id)
                if member is not None and member.instance not in (b"", life.host.instance):
                    return True
        return False

    def unrest(self) -> str | None:
        """Say why the world is not at rest yet, or None."""
        replicas = self._replicas()
        leaders = [life for life in replicas if life.node.raft.is_leader]
        if len(leaders) != 1:
            return f"there are {len(leaders)} leaders"
        clients: list[Any] = [*self.world.clients, *self.world.contenders]
        for client in clients:
            if not client.finished:
                return f"{type(client).__name__.lower()} {client.id} is not answered"
        waiting = [life.id for life in replicas if life.node.proposals.waiting]
        if waiting:
            return f"commands wait at {waiting}"
        state = leaders[0].directory.state
        held = [lease.id for lease in leases.every(state, 0, 10)]
        if held:
            return f"leases {held} have not ended"
        if any(any(state.iterate(prefix)) for prefix in (b"kheld ", b"klock/")):
            return "keys of leases that have ended are still there"
        for watcher in self.world.watchers:
            if why := watcher.unrest():
                return why
        if why := self.world.upgrade.unrest(leaders[0]):
            return why
        applied = {life.id: life.directory.state.applied_index for life in replicas}
        if len(set(applied.values())) > 1:
            return f"the replicas stand at {applied}"
        conf = leaders[0].node.raft.conf_state
        if conf.voters_outgoing:
            return "the configuration is joint"
        return None

    def compare(self) -> None:
        """At the end all replicas are equal."""
        for life in self._replicas():
            self._compare_state(life)
