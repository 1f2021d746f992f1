"""Nodes that the others do not take: wiped, of another cluster, not added yet, not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from uring.cli.doctor import findings as kinds
from uring.cli.doctor.findings import Finding
from uring.cli.doctor.look import Sight, plain
from uring.cli.doctor.picture import Cluster, Member, Scene
from uring.cli.doctor.quorum import has_quorum

_OF_PEERS = frozenset({"secret", "certificate", "tls", "version"})


@define
class Strangers:
    """What nodes say of those that they refuse, put together."""

    scene: Scene
    wiped: dict[str, set[int]] = field(factory=dict, init=False)
    """By cluster: the members that have lost their disks."""
    founders: set[str] = field(factory=set, init=False)
    """Addresses of members that lost their disks and made clusters of their own."""
    _found: list[Finding] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        picture = self.scene.picture
        for cluster in picture.clusters:
            self._founders(cluster)
        for cluster in picture.named:
            for sight in cluster.sights:
                for problem in sight.problems:
                    self._refused(cluster, sight, problem)
            self._removed(cluster)
        for sight in picture.strangers:
            self._stranger(sight)

    def findings(self) -> list[Finding]:
        """Return all that was found."""
        return self._found

    # -- wiped -----------------------------------------------------------------------------------

    def _founders(self, cluster: Cluster) -> None:
        """Find members that came back without their disk and were told to found a cluster."""
        for other in self.scene.picture.clusters:
            for sight in other.sights if other is not cluster else ():
                member = cluster.members.get(sight.id)
                same_place = str(sight.own.get("address", "")) == getattr(member, "address", None)
                alone = set(other.members) <= {sight.id}
                if member is None or member.is_alive or not same_place or not alone:
                    continue
                self.founders.add(plain(sight.address))
                self._wiped(
                    cluster,
                    member,
                    f"it has founded another cluster ({other.id}) with --bootstrap",
                    member.address,
                    (
                        f"stop node {member.id}, and remove its new data directory",
                        f"uring -e {cluster.witness().address} members remove {member.id}",
                        f"start it with --peer {plain(cluster.witness().address)}, "
                        "without --bootstrap",
                        f"uring -e {cluster.witness().address} members add {member.id}",
                    ),
                )

    def _wiped(
        self, cluster: Cluster, member: Member, why: str, where: str, advice: tuple[str, ...] = ()
    ) -> None:
        known = self.wiped.setdefault(cluster.id, set())
        if member.id in known:
            return
        known.add(member.id)
        elsewhere = (
            f"it comes from {where}; if that at {member.address} still has its data, start that "
            "one, and give the other another --id",
        )
        self._found.append(
            Finding(
                kinds.WIPED,
                member.name,
                "it has come back without the data that it had",
                (
                    why,
                    f"{cluster.name} knows it with the data directory {member.instance[:8]}",
                    "if the disk is only not mounted: stop it, mount it, and start it again",
                    *(elsewhere if where != member.address else ()),
                ),
                advice or self._replace(cluster, member),
            )
        )

    def _replace(self, cluster: Cluster, member: Member) -> tuple[str, ...]:
        """Return what makes a member out of a node that has lost its disk."""
        at = cluster.witness()
        if not has_quorum(cluster):
            # Nobody could decide that it goes.
            return (
                "bring the other voters back first; if they are gone for good: stop "
                f"node {at.id}, then python -m uring.recover --id {at.id} --data-dir DIR",
                f"then: uring -e {at.address} members add {member.id} {member.address}",
            )
        return (
            f"uring -e {at.address} members remove {member.id}",
            f"uring -e {at.address} members add {member.id} {member.address}",
        )

    # -- refused ---------------------------------------------------------------------------------

    def _refused(self, cluster: Cluster, sight: Sight, problem: Mapping[str, Any]) -> None:
        """Take what a member of ``cluster`` says of somebody whom it refuses, or who refuses it."""
        code, where = problem.get("code"), str(problem.get("address", ""))
        reason, node_id = str(problem.get("reason", "")), int(problem.get("node") or 0)
        member = cluster.members.get(node_id)
        if code == "instance" and problem.get("by") == "here" and member is not None:
            if member.is_alive:
                self._taken(cluster, member, where, reason)
            else:
                self._wiped(cluster, member, f"node {sight.id} refuses it: {reason}", where)
        elif code == "id":
            self._found.append(_id_taken(where, sight, reason))
        elif code == "cluster":
            self._other_cluster(cluster, sight, where, reason)
        elif code in _OF_PEERS:
            self._found.append(_distrusted(sight, where, reason))

    def _other_cluster(self, cluster: Cluster, sight: Sight, where: str, reason: str) -> None:
        if {where, str(sight.own.get("address", ""))} & self.founders:
            return
        own = _address(sight)
        at = next((m for m in cluster.members.values() if m.address == where), None)
        pair = " and ".join(sorted((own, where)))
        if at is not None:
            text = f"where node {at.id} should be there is a node of another cluster"
        else:
            text = "two nodes that are to talk to each other are of different clusters"
        first, second = sorted((own, where))
        self._found.append(
            Finding(
                kinds.WRONG_CLUSTER,
                pair,
                text,
                (f"at {own}: {reason}",),
                (
                    f"start the node at {own} without --peer {where}, "
                    f"or that at {where} without --peer {own}",
                    f"uring -e {first},{second} status",
                ),
            )
        )

    def _taken(self, cluster: Cluster, member: Member, where: str, reason: str) -> None:
        self._found.append(
            Finding(
                kinds.ID_TAKEN,
                f"the node at {where}",
                f"it calls itself {member.id}, which is {member.name}",
                (reason, f"{cluster.name}: node {member.id} runs at {member.address}"),
                (f"start the node at {where} with another --id",),
            )
        )

    def _removed(self, cluster: Cluster) -> None:
        for sight in cluster.sights:
            if sight.id not in cluster.members and cluster.members:
                at = cluster.witness()
                self._found.append(
                    Finding(
                        kinds.NOT_A_MEMBER,
                        f"node {sight.id} ({plain(sight.address)})",
                        f"it is no member of {cluster.name}: it was removed, or is not added yet",
                        next=(f"uring -e {at.address} members add {sight.id}  # or stop it",),
                    )
                )

    # -- nodes without a cluster -----------------------------------------------------------------

    def _stranger(self, sight: Sight) -> None:
        name = f"node {sight.id} ({_address(sight)})"
        known = [str(each) for each in sight.status.get("connected_clusters") or ()]
        led_to = {each: self._cluster(each) for each in known}
        for problem in sight.problems:
            refuser = self.scene.picture.at(str(problem.get("address", "")))
            if refuser is not None and refuser.answered and refuser.cluster:
                led_to[refuser.cluster] = self._cluster(refuser.cluster)
        wanted = self._wanted()
        others = [each for each in led_to if wanted is not None and each != wanted.id]
        if (others and sight.named) or len(led_to) > 1:
            self._found.append(self._led_astray(name, sight, list(led_to), wanted))
            return
        for problem in sight.problems:
            code, reason = problem.get("code"), str(problem.get("reason", ""))
            where = str(problem.get("address", ""))
            if code in _OF_PEERS:
                self._found.append(_distrusted(sight, where, reason))
                return
            if code == "id":
                self._found.append(_id_taken(where, sight, reason))
                return
            if code == "instance":
                self._refused_here(sight, name, where, reason, next(iter(led_to.values()), None))
                return
        self._not_added(sight, name, next(iter(led_to.values()), None) or wanted)

    def _wanted(self) -> Cluster | None:
        """Return the cluster that the operator means."""
        named = self.scene.picture.named
        return named[0] if any(sight.named for c in named for sight in c.sights) else None

    def _cluster(self, cluster_id: str) -> Cluster | None:
        return next((c for c in self.scene.picture.clusters if c.id == cluster_id), None)

    def _led_astray(
        self, name: str, sight: Sight, led_to: list[str], wanted: Cluster | None
    ) -> Finding:
        right = f" --peer {plain(wanted.witness().address)}" if wanted is not None else ""
        return Finding(
            kinds.WRONG_CLUSTER,
            name,
            "its --peer leads to another cluster",
            (
                *(f"it has met cluster {each}" for each in led_to),
                *((f"the endpoints are of cluster {wanted.id}",) if wanted else ()),
                *(f"{each.get('address')}: {each.get('reason')}" for each in sight.problems),
            ),
            (f"stop it, and start it with{right or ' --peer of one cluster'} alone",),
        )

    def _refused_here(
        self, sight: Sight, name: str, where: str, reason: str, cluster: Cluster | None
    ) -> None:
        """A node says that it is refused for its data directory."""
        member = cluster.members.get(sight.id) if cluster is not None else None
        if cluster is not None and member is not None:
            if member.is_alive:
                self._taken(cluster, member, _address(sight), reason)
            else:
                self._wiped(cluster, member, f"{where} refuses it: {reason}", _address(sight))
            return
        at = f"uring -e {where}"
        self._found.append(
            Finding(
                kinds.WIPED,
                name,
                "it has come back without the data that it had",
                (f"{where} refuses it: {reason}",),
                (f"{at} members remove {sight.id}", f"{at} members add {sight.id}"),
            )
        )

    def _not_added(self, sight: Sight, name: str, cluster: Cluster | None) -> None:
        if cluster is not None and sight.id in self.wiped.get(cluster.id, ()):
            return
        met = [str(each.get("address")) for each in sight.problems]
        evidence = tuple(f"{each.get('address')}: {each.get('reason')}" for each in sight.problems)
        if cluster is not None:
            at = cluster.witness()
            advice = [f"uring -e {at.address} members add {sight.id} {_address(sight)}"]
            if not sight.status.get("connected"):
                advice.insert(0, f"start it with --peer {plain(at.address)}")
        elif met:
            advice = [f"is {met[0]} right? start it with --peer of a node that runs"]
        else:
            advice = ["start it with --bootstrap (a new cluster), or --peer HOST:PORT of a member"]
        text = "it belongs to no cluster"
        self._found.append(Finding(kinds.NOT_A_MEMBER, name, text, evidence, tuple(advice)))


def _address(sight: Sight) -> str:
    """Return where others reach a node, as it says itself."""
    return str(sight.own.get("address") or plain(sight.address))


def _id_taken(where: str, sight: Sight, reason: str) -> Finding:
    return Finding(
        kinds.ID_TAKEN,
        f"the node at {where}",
        f"two nodes call themselves {sight.id}",
        (f"{plain(sight.address)}: {reason}",),
        ("start one of them with another --id",),
    )


def _distrusted(sight: Sight, where: str, reason: str) -> Finding:
    own = _address(sight)
    return Finding(
        kinds.REFUSED,
        f"node {sight.id} ({own}) and {where}",
        "they do not trust each other",
        (f"at {own}: {reason}",),
        ("compare --peer-ca, --peer-cert, --peer-key and --peer-secret-file of both",),
    )
