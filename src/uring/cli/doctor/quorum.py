"""Whether a cluster can decide anything, and whether the endpoints belong to one cluster."""

from __future__ import annotations

from collections.abc import Iterator

from uring.cli.doctor import findings as kinds
from uring.cli.doctor.addresses import start_again
from uring.cli.doctor.findings import Finding
from uring.cli.doctor.look import plain
from uring.cli.doctor.picture import Cluster, Member, Scene


def mixture(scene: Scene, founders: set[str]) -> Iterator[Finding]:
    """Say so if the operator's endpoints belong to several clusters; ``founders`` are addresses
    that are spoken of elsewhere."""
    belongs: dict[str, list[str]] = {}
    for sight in scene.picture.sights:
        if sight.named and sight.cluster and plain(sight.address) not in founders:
            belongs.setdefault(sight.cluster, []).append(sight.address)
    if len(belongs) > 1:
        groups = sorted(belongs.items(), key=lambda each: (-len(each[1]), each[0]))
        yield Finding(
            kinds.WRONG_CLUSTER,
            "the endpoints",
            f"they belong to {len(groups)} different clusters",
            tuple(f"cluster {key}: {', '.join(map(plain, each))}" for key, each in groups),
            tuple(
                f"export URING_ENDPOINTS={','.join(each)}  # for cluster {key[:8]} alone"
                for key, each in groups
            ),
        )


def has_quorum(cluster: Cluster) -> bool:
    """Tell whether enough voters reach each other for anything to be decided."""
    return len(cluster.together()) >= cluster.needed


def examine(scene: Scene, cluster: Cluster, wiped: set[int]) -> Iterator[Finding]:
    """Yield why nothing can be decided, if that is so."""
    heard = cluster.together()
    refusals = tuple(sorted({sight.served for sight in cluster.sights if sight.served}))
    if not cluster.voters or (has_quorum(cluster) and cluster.serves):
        return
    if has_quorum(cluster):
        yield Finding(
            kinds.NO_LEADER,
            cluster.name,
            f"{len(heard)} of {len(cluster.voters)} voters reach each other, and none can serve",
            refusals,
            ("uring doctor  # again: an election takes a second or two", "uring status"),
        )
        return
    missing = [member for member in cluster.voters if member not in heard]
    verb = "does" if len(heard) == 1 else "do"
    text = f"{cluster.needed} of {len(cluster.voters)} voters must run and reach each other, "
    text += f"{len(heard)} {verb}: nothing can be written"
    yield Finding(
        kinds.NO_QUORUM,
        cluster.name,
        text,
        (*(f"{each.name}: {why_missing(scene, each, wiped)}" for each in missing), *refusals),
        tuple(dict.fromkeys(_advice(scene, cluster, missing, wiped))),
    )


def why_missing(scene: Scene, member: Member, wiped: set[int]) -> str:
    """Say why the others do not hear a member."""
    if member.id in wiped:
        return "it has lost its disk"
    if member.sight is not None:
        return "it runs, but the others do not reach it"
    process = scene.process(member.address)
    if process is not None and process.is_stopped:
        return process.name
    if member.asked is not None and not member.asked.answered:
        return member.asked.detail
    return f"not heard of for {member.age:.0f} s" if member.words else "not heard of"


def _advice(
    scene: Scene, cluster: Cluster, missing: list[Member], wiped: set[int]
) -> Iterator[str]:
    for member in missing:
        if member.id in wiped:
            continue
        process = scene.process(member.address)
        if process is not None and process.is_stopped:
            yield f"kill -CONT {process.pid}"
        elif member.sight is not None:
            yield reach(cluster, member)
        else:
            yield start_again(member.address, member.id)
    survivor = cluster.witness()
    yield (
        f"only if the missing are gone for good: stop node {survivor.id}, then "
        f"python -m uring.recover --id {survivor.id} --data-dir DIR"
    )


def reach(cluster: Cluster, member: Member) -> str:
    """Return what shows whether one node reaches another."""
    witness = cluster.witness()
    other = plain(witness.address) if witness.id != member.id else "each other member"
    return f"curl -v http://{member.address}/livez  # on the machine of {other}: is it a firewall?"
