"""One cluster as several nodes tell of it, each of which may know only a part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from uring.cli.doctor.look import Sight, plain
from uring.cli.doctor.procfs import Process

STALE_SECONDS = 3.0
"""Members tell of themselves once a second."""


@frozen
class Word:
    """What one node says of a member."""

    by: Sight
    line: Mapping[str, Any]

    @property
    def is_fresh(self) -> bool:
        """Whether the member told it itself, a moment ago."""
        return bool(self.line.get("connected")) and self.age < STALE_SECONDS

    @property
    def age(self) -> float:
        """Seconds since it was told; very many if it never was."""
        return float(self.line.get("age", float("inf")))


@define
class Member:
    """One member of a cluster."""

    cluster: str
    id: int
    address: str
    is_voter: bool
    instance: str
    words: list[Word]
    """What others say of it, the newest first."""
    asked: Sight | None = None
    """What came of asking it itself."""

    @property
    def name(self) -> str:
        """Who it is, in words."""
        return f"node {self.id} ({self.address})"

    @property
    def sight(self) -> Sight | None:
        """What it says of itself, if it was asked and is who it should be."""
        asked = self.asked
        if asked is None or not asked.answered:
            return None
        return asked if (asked.cluster, asked.id) == (self.cluster, self.id) else None

    @property
    def is_alive(self) -> bool:
        """Whether it runs, as far as anybody can tell."""
        return self.sight is not None or any(word.is_fresh for word in self.words)

    @property
    def line(self) -> Mapping[str, Any]:
        """The newest of what is known of it."""
        if self.sight is not None and self.sight.own:
            return self.sight.own
        return self.words[0].line if self.words else {}

    @property
    def age(self) -> float:
        """Seconds since anybody heard of it."""
        return 0.0 if self.sight is not None else min([w.age for w in self.words], default=1e9)

    @property
    def reached(self) -> int:
        """How far its log is known to go, at least; 0 if nobody knows."""
        told = [int(word.line.get("match_index", 0)) for word in self.words]
        return max([*told, int(self.line.get("applied_index", 0))])


@define
class Cluster:
    """One cluster: those that answered, and the members that they know of."""

    id: str
    sights: list[Sight]
    """Of its members, those that answered; those that know most first."""
    members: dict[int, Member] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sights.sort(key=lambda each: -int(each.status.get("applied_index", 0)))
        self.members = {}

    @property
    def name(self) -> str:
        """The cluster, as people can tell it from another."""
        return f"cluster {self.id[:8]}"

    @property
    def voters(self) -> list[Member]:
        """The members that have a vote."""
        return [member for member in self.members.values() if member.is_voter]

    @property
    def needed(self) -> int:
        """How many voters a decision takes."""
        return len(self.voters) // 2 + 1

    @property
    def commit(self) -> int:
        """How far the cluster is, as far as anybody knows."""
        lines = [member.line for member in self.members.values()]
        return max([int(line.get("commit_index", 0)) for line in lines], default=0)

    @property
    def leader(self) -> Member | None:
        """The leader on which those who hear one agree, in the highest term."""
        heard = [(s.status.get("term", 0), s.status.get("leader")) for s in self.sights]
        _, found = max([each for each in heard if each[1]], default=(0, None))
        return self.members.get(int(found)) if found else None

    @property
    def serves(self) -> bool:
        """Whether anybody could answer a linearizable read, which takes a majority."""
        return any(sight.served == "" for sight in self.sights)

    def together(self) -> list[Member]:
        """Return the largest set of voters that one of them hears."""
        best: list[Member] = []
        for sight in self.sights:
            heard = [
                member
                for member in self.voters
                if member.sight is sight or (member.is_alive and self._hears(sight, member))
            ]
            best = max(best, heard, key=len)
        return best

    def _hears(self, sight: Sight, member: Member) -> bool:
        """Tell whether ``sight`` hears ``member``; whoever answered us is no longer than late."""
        word = next((each for each in member.words if each.by is sight), None)
        if word is None or not word.line.get("connected"):
            return False
        return word.is_fresh or member.sight is not None

    def witness(self) -> Sight:
        """Return the node to send commands to: the leader if it answered, else who knows most."""
        leader = self.leader
        if leader is not None and leader.sight is not None:
            return leader.sight
        return self.sights[0]


@define
class Picture:
    """All that was seen."""

    sights: list[Sight]
    clusters: list[Cluster] = field(init=False)
    """Those that the operator named most nodes of first."""

    def __attrs_post_init__(self) -> None:
        groups: dict[str, list[Sight]] = {}
        for sight in self.sights:
            if sight.answered and sight.cluster:
                groups.setdefault(sight.cluster, []).append(sight)
        self.clusters = [self._cluster(key, group) for key, group in groups.items()]
        self.clusters.sort(key=lambda each: -sum(sight.named for sight in each.sights))

    @property
    def strangers(self) -> list[Sight]:
        """Nodes that belong to no cluster."""
        return [each for each in self.sights if each.answered and not each.cluster]

    @property
    def named(self) -> list[Cluster]:
        """Return the clusters that the operator named; those that nodes led to are not his."""
        found = [c for c in self.clusters if any(sight.named for sight in c.sights)]
        return found or self.clusters

    def at(self, address: str) -> Sight | None:
        """Return what was seen at ``address``."""
        wanted = plain(address)
        return next((each for each in self.sights if plain(each.address) == wanted), None)

    def member_at(self, sight: Sight) -> Member | None:
        """Return the member whose address it is."""
        where = plain(sight.address)
        everybody = [m for cluster in self.clusters for m in cluster.members.values()]
        return next((m for m in everybody if m.address == where or m.asked is sight), None)

    def _cluster(self, key: str, sights: Sequence[Sight]) -> Cluster:
        cluster = Cluster(key, list(sights))
        for sight in cluster.sights:
            for line in sight.lines:
                node_id = int(line.get("id", 0))
                # Who was removed, or is behind, may know of members that there are no more.
                if line.get("member") and (
                    sight is cluster.sights[0] or node_id in cluster.members
                ):
                    self._tell(cluster, sight, node_id, line)
        for member in cluster.members.values():
            member.words.sort(key=lambda word: word.age)
            member.asked = self._asked(cluster, member)
        return cluster

    def _tell(self, cluster: Cluster, sight: Sight, node_id: int, line: Mapping[str, Any]) -> None:
        member = cluster.members.get(node_id)
        if member is None:
            member = cluster.members[node_id] = Member(
                cluster.id,
                node_id,
                str(line.get("address", "")),
                bool(line.get("voter")),
                str(line.get("instance", "")),
                [],
            )
        if sight.id != node_id:
            member.words.append(Word(sight, line))

    def _asked(self, cluster: Cluster, member: Member) -> Sight | None:
        """Return what came of asking a member, under whichever name it was asked."""
        itself = [each for each in cluster.sights if each.id == member.id]
        return itself[0] if itself else self.at(member.address)


@define
class Scene:
    """What there is to draw conclusions from."""

    picture: Picture
    earlier: Picture | None
    """How it was a moment before."""
    process: Callable[[str], Process | None]
    """Returns who listens at an address, if it is one of this machine."""

    def before(self, cluster: Cluster) -> Cluster | None:
        """Return how ``cluster`` was a moment before."""
        known = self.earlier.clusters if self.earlier is not None else []
        return next((each for each in known if each.id == cluster.id), None)
