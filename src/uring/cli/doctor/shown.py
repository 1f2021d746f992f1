"""How a diagnosis is shown: to people, and to programs."""

from __future__ import annotations

from typing import Any

import click

from uring.cli.doctor.clocks import clocks
from uring.cli.doctor.findings import Finding
from uring.cli.doctor.look import Sight, plain
from uring.cli.doctor.picture import Cluster, Member, Picture
from uring.cli.run import show_json, show_table

GIB = 2**30


def as_json(picture: Picture, findings: list[Finding]) -> None:
    """Print one object."""
    show_json(
        {
            "healthy": not findings,
            "findings": [each.json() for each in findings],
            "clusters": [_cluster(each) for each in picture.clusters],
            "endpoints": [_endpoint(each) for each in picture.sights],
        }
    )


def _cluster(cluster: Cluster) -> dict[str, Any]:
    leader = cluster.leader
    return {
        "id": cluster.id,
        "leader": leader.id if leader is not None else None,
        "commit_index": cluster.commit,
        "members": [
            {
                "id": member.id,
                "address": member.address,
                "voter": member.is_voter,
                "alive": member.is_alive,
                "applied_index": member.line.get("applied_index"),
            }
            for member in cluster.members.values()
        ],
    }


def _endpoint(sight: Sight) -> dict[str, Any]:
    return {
        "address": sight.address,
        "named": sight.named,
        "outcome": sight.outcome,
        "detail": sight.detail,
        "id": sight.id or None,
        "cluster": sight.cluster or None,
    }


def as_text(picture: Picture, findings: list[Finding]) -> None:
    """Print what was seen, and what is wrong with it."""
    for cluster in picture.clusters:
        members, leader = len(cluster.members), cluster.leader
        told = f"node {leader.id} leads" if leader is not None else "no leader"
        click.echo(f"cluster {cluster.id}: {members} member{'s' * (members != 1)}, {told}")
        ahead = clocks(picture)
        rows = [_row(cluster, each, ahead.get(each.name)) for each in cluster.members.values()]
        show_table(
            rows, "id", "address", "role", "applied", "behind", "heard", "clock", "free", "sync"
        )
        click.echo()
    others = [each for each in picture.sights if not (each.answered and each.cluster)]
    for sight in (each for each in others if each.named or each.answered):
        what = f"node {sight.id}, of no cluster" if sight.answered else sight.detail
        click.echo(f"{plain(sight.address)}: {what}")
    if any(sight.named or sight.answered for sight in others):
        click.echo()
    for finding in findings:
        click.echo(click.style(f"{finding.kind}: {_printable(finding.subject)}", bold=True))
        click.echo(f"  {_printable(finding.text)}")
        for line in finding.evidence:
            click.echo(f"    {_printable(line)}")
        for line in finding.next:
            click.echo(f"  next: {_printable(line)}")
        click.echo()
    if findings:
        click.echo(f"{len(findings)} finding{'s' * (len(findings) != 1)}")
    else:
        click.echo("healthy")


def _row(cluster: Cluster, member: Member, clock: tuple[float, float] | None) -> tuple[Any, ...]:
    line, sight = member.line, member.sight
    applied, free = line.get("applied_index"), line.get("disk_free", -1)
    return (
        member.id,
        member.address,
        line.get("role", "?") if member.is_alive else "down",
        applied,
        max(0, cluster.commit - applied) if applied is not None else None,
        f"{member.age:.0f} s ago" if member.age < 1e9 else None,
        f"{clock[0]:+.1f} s" if clock is not None else None,
        f"{free / GIB:.1f} GiB" if free >= 0 else None,
        f"{sorted(sight.writes_ms)[len(sight.writes_ms) // 2]:.1f} ms"
        if sight is not None and sight.writes_ms
        else None,
    )


def _printable(text: str) -> str:
    """Return one line; what a terminal would act upon is escaped."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
