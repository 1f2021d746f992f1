"""What is wrong with addresses that did not tell how they are."""

from __future__ import annotations

from collections.abc import Iterator

from uring.cli.doctor import findings as kinds
from uring.cli.doctor import look
from uring.cli.doctor.findings import Finding
from uring.cli.doctor.look import Sight, plain
from uring.cli.doctor.picture import Scene
from uring.cli.doctor.procfs import Process


def examine(scene: Scene) -> Iterator[Finding]:
    """Yield what is wrong with each address."""
    yield from _unauthorized(scene)
    for sight in scene.picture.sights:
        if sight.outcome == look.FOREIGN:
            where = plain(sight.address)
            yield port_taken(where, scene.process(where), sight.detail)
        elif sight.outcome == look.UNAUTHORIZED:
            yield from _without_token(sight)
        elif sight.outcome == look.TLS and sight.named:
            where = plain(sight.address)
            yield Finding(kinds.TLS, where, sight.detail, next=(_tls_advice(sight),))
        elif not sight.answered and sight.named:
            yield from _unanswered(scene, sight)


def _unanswered(scene: Scene, sight: Sight) -> Iterator[Finding]:
    """Say why an address of the operator's does not answer; a known member is spoken of as such."""
    where = plain(sight.address)
    process = scene.process(where)
    if process is not None and process.pid and not process.is_node:
        yield port_taken(where, process, sight.detail)
        return
    member = scene.picture.member_at(sight)
    if member is None or member.is_alive:
        advice: tuple[str, ...] = (
            "uring doctor twistd -n uring ...  # there, with the node's own options",
        )
        if process is not None and process.is_stopped:
            advice = (f"kill -CONT {process.pid}",)
        elif sight.outcome == look.REFUSED:
            advice = (start_again(where), *advice)
        evidence = (sight.detail, *((f"{process.name} listens there",) if process else ()))
        if member is not None:
            advice = (f"curl -v http://{where}/livez  # is it a firewall, a tunnel, a name?",)
            evidence = (*evidence, f"the other members hear node {member.id} there")
        yield Finding(kinds.UNREACHABLE, where, f"nothing answers at {where}", evidence, advice)


def _unauthorized(scene: Scene) -> Iterator[Finding]:
    """Say which nodes want a token."""
    closed = [each for each in scene.picture.sights if each.outcome == look.UNAUTHORIZED]
    if closed:
        yield Finding(
            kinds.UNAUTHORIZED,
            ", ".join(plain(sight.address) for sight in closed),
            "a token that may read is wanted, and little can be seen without",
            tuple(f"{plain(sight.address)}: {sight.detail}" for sight in closed),
            (f"uring --token-file FILE -e {','.join(each.address for each in closed)} doctor",),
        )


def _without_token(sight: Sight) -> Iterator[Finding]:
    """Say what a node tells everybody."""
    where = plain(sight.address)
    advice = f"uring --token-file FILE -e {sight.address} doctor"
    failed = {line.partition(" ")[0]: line for line in sight.checks}
    if "leader" in failed:
        yield Finding(
            kinds.NO_QUORUM,
            f"cluster {sight.cluster[:8]}" if sight.cluster else where,
            "no leader is known; which voters are missing can be seen with a token only",
            (f"{where}: {failed['leader']}",),
            (advice,),
        )
    faults = failed.get("faults", "")
    if "disk" in failed or "reserve" in faults:
        evidence = tuple(failed[each] for each in ("disk", "faults") if each in failed)
        yield Finding(kinds.DISK_FULL, where, "its disk is nearly full", evidence, ("df -h",))
    if "a write to the disk" in faults:
        yield Finding(kinds.SLOW_DISK, where, "its disk hangs", (faults,), ("iostat -x 1",))


def port_taken(where: str, process: Process | None, detail: str) -> Finding:
    """Say that something else has the port of a node."""
    port = where.rpartition(":")[2]
    evidence = [detail] if detail else []
    advice = [f"ss -ltnp 'sport = :{port}'"]
    if process is not None:
        evidence.append(f"{process.name} listens there")
        advice = ([f"kill {process.pid}"] if process.pid else []) + advice
    return Finding(
        kinds.PORT_TAKEN,
        where,
        f"port {port} is in use by something else than the node that belongs there",
        tuple(evidence),
        (*advice, "or start the node with another --endpoint"),
    )


def start_again(address: str, node_id: int | None = None) -> str:
    """Return what starts a node again."""
    who = f"twistd -n uring -e {address}" + (f" -i {node_id}" if node_id else "")
    return f"{who}  # with the options that it had; or: systemctl start uring"


def _tls_advice(sight: Sight) -> str:
    where = plain(sight.address)
    if "use https://" in sight.detail:
        return f"uring -e https://{where} --ca FILE doctor"
    if "wrong version" in sight.detail:
        return f"uring -e {where} doctor  # it does not speak TLS"
    if "another name" in sight.detail:
        shown = "openssl x509 -noout -ext subjectAltName"
        return f"openssl s_client -connect {where} </dev/null | {shown}"
    return f"uring -e https://{where} --ca FILE doctor  # the authority that signed its certificate"
