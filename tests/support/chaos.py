"""A seeded run of a cluster in which everything that may go wrong does, watched at every step."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.support.cluster import Cluster, Host
from uring.raft import ProposalDropped
from uring.raft.invariants import check_logs_match, violated
from uring.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfState,
    Entry,
    EntryKind,
)


class Watch:
    """What must hold over all hosts and all time (paper, figure 3)."""

    def __init__(self) -> None:
        self.leaders: dict[int, int] = {}
        self.committed: dict[int, Entry] = {}
        self._seen: dict[int, int] = {}

    def look(self, cluster: Cluster) -> None:
        """Check everything that can be seen now."""
        for host in cluster.hosts.values():
            self._look_at_leader(host)
            self._look_at_applied(host)

    def _look_at_leader(self, host: Host) -> None:
        if not host.raw.is_leader:
            return
        term = host.raw.term
        if self.leaders.setdefault(term, host.id) != host.id:
            violated("5.2", f"{host.id} and {self.leaders[term]} both lead term {term}")
        self._look_at_leaders_log(host)

    def _look_at_leaders_log(self, host: Host) -> None:
        """Leader Completeness: what was committed before its term is in a leader's log."""
        log = {entry.index: entry for entry in host.log()}
        for index, entry in self.committed.items():
            if index in log and log[index] != entry and entry.term <= host.raw.term:
                violated("5.4.3", f"leader {host.id} has another entry at {index}")
            if index > host.raw.last_index and entry.term < host.raw.term:
                violated("5.4.3", f"leader {host.id} lacks committed entry {index}")

    def _look_at_applied(self, host: Host) -> None:
        """State Machine Safety: nobody applies another entry at an index."""
        seen = self._seen.get(host.id, 0)
        if seen > len(host.applied):
            seen = 0  # it was restarted
        for entry in host.applied[seen:]:
            if self.committed.setdefault(entry.index, entry) != entry:
                violated("5.4.3", f"{host.id} applied another entry at {entry.index}")
        self._seen[host.id] = len(host.applied)


class Chaos:
    """One schedule, determined by its seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        size = self.random.choice((3, 3, 5))
        is_async = self.random.random() < 0.6
        self.changes_members = self.random.random() < 0.5
        settings: dict[str, Any] = {
            "election_ticks": 5,
            "async_storage_writes": is_async,
            "check_quorum": self.random.random() < 0.5,
            "pre_vote": self.random.random() < 0.5,
            # Without it a leader that was removed leads on for ever, as it does in etcd.
            "step_down_on_removal": self.changes_members,
            "max_append_bytes": self.random.choice((0, 40, 1 << 20)),
            "max_inflight_messages": self.random.choice((1, 3, 256)),
            "max_committed_bytes_per_ready": self.random.choice((1, 60, 1 << 20)),
        }
        voters = tuple(range(1, size + 1))
        self.cluster = Cluster(size, ConfState(voters=voters), seed, talks=False, **settings)
        self.watch = Watch()
        self.proposed = 0
        self._actions = [
            (45, self._deliver),
            (55, self._work),
            (9, self._tick),
            (8, self._propose),
            (3, self._lose),
            (2, self._repeat),
            (1.0, self._restart),
            (0.7, self._compact),
            (0.6, self._cut_or_heal),
            (0.6 if self.changes_members else 0, self._change_members),
            (0.4, self._transfer),
            (0.4, self._report),
        ]

    def run(self, steps: int) -> None:
        """Take ``steps`` steps, then let everything heal and settle."""
        weights = [weight for weight, _ in self._actions]
        actions = [action for _, action in self._actions]
        for action in self.random.choices(actions, weights, k=steps):
            action()
            self.watch.look(self.cluster)
        self._recover()
        self._compare_logs()

    def _recover(self) -> None:
        """A majority that can talk comes to agree again: something new gets committed."""
        self.cluster.heal()
        for _ in range(300):
            for host in self.cluster.hosts.values():
                host.raw.tick()
            self.cluster.settle()
            self.watch.look(self.cluster)
            leader = self.cluster.leader
            if leader is not None:
                try:
                    leader.raw.propose(b"the end")
                except ProposalDropped:
                    continue
                self.cluster.settle()
                self.watch.look(self.cluster)
                if leader.state and leader.state[-1] == b"the end":
                    return
        raise AssertionError("the cluster did not recover")

    def _compare_logs(self) -> None:
        logs = [host.log() for host in self.cluster.hosts.values()]
        for position, one in enumerate(logs):
            for other in logs[position + 1 :]:
                check_logs_match(one, other)

    # What happens

    def _host(self) -> Host:
        return self.random.choice(list(self.cluster.hosts.values()))

    def _deliver(self) -> None:
        network = self.cluster.network
        if network:
            # Mostly in order, sometimes from anywhere.
            place = self.random.randrange(len(network)) if self.random.random() < 0.2 else 0
            self.cluster.deliver(network.pop(place))

    def _work(self) -> None:
        host = self._host()
        todo = self.random.choice((lambda: host.process()[1], host.write, host.apply))
        self.cluster.send(todo())

    def _tick(self) -> None:
        self._host().raw.tick()

    def _propose(self) -> None:
        self.proposed += 1
        try:
            self._host().raw.propose(b"%d" % self.proposed)
        except ProposalDropped:
            self.proposed -= 1

    def _lose(self) -> None:
        network = self.cluster.network
        if network:
            self.cluster.lose(network.pop(self.random.randrange(len(network))))

    def _repeat(self) -> None:
        if self.cluster.network:
            self.cluster.network.append(self.random.choice(self.cluster.network))

    def _restart(self) -> None:
        self._host().start()

    def _compact(self) -> None:
        self._host().compact(keep=self.random.randrange(4))

    def _cut_or_heal(self) -> None:
        if self.random.random() < 0.5:
            self.cluster.heal()
        else:
            self.cluster.isolate(self._host().id)

    def _transfer(self) -> None:
        leader = self.cluster.leader
        if leader is not None:
            leader.raw.transfer_leader(self._host().id)

    def _report(self) -> None:
        self._host().raw.report_unreachable(self._host().id)

    def _change_members(self) -> None:
        leader = self.cluster.leader
        if leader is None:
            return
        kinds = (ConfChangeKind.ADD_NODE, ConfChangeKind.ADD_LEARNER, ConfChangeKind.REMOVE_NODE)
        nodes = self.random.sample(sorted(self.cluster.hosts), self.random.choice((1, 1, 2)))
        changes = tuple(ConfChangeSingle(self.random.choice(kinds), node) for node in nodes)
        if self._leaves_too_few(leader, changes):
            return
        transition = self.random.choice(list(ConfChangeTransition))
        if transition is ConfChangeTransition.JOINT_EXPLICIT:
            transition = ConfChangeTransition.AUTO
        try:
            leader.raw.propose_conf_change(
                ConfChange(changes, transition), EntryKind.CONF_CHANGE_V2
            )
        except ProposalDropped:
            return

    def _leaves_too_few(self, leader: Host, changes: tuple[ConfChangeSingle, ...]) -> bool:
        """True if less than two voters would be left, which no restart should have to survive."""
        voters = set(leader.raw.conf_state.voters)
        for change in changes:
            if change.kind is ConfChangeKind.ADD_NODE:
                voters.add(change.node_id)
            else:
                voters.discard(change.node_id)
        return len(voters) < 2
