"""Sights of clusters that exist on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from uring.cli.doctor.diagnosis import diagnose
from uring.cli.doctor.findings import Finding
from uring.cli.doctor.look import REFUSED, SILENT, Sight
from uring.cli.doctor.picture import Picture, Scene
from uring.cli.doctor.procfs import Process

GIB = 2**30
ONE, TWO = "a" * 32, "b" * 32
NOW = 1_700_000_000.0


def address(node_id: int) -> str:
    return f"10.0.0.{node_id}:8080"


def line(node_id: int, **changed: Any) -> dict[str, Any]:
    """Return what is told of a member that is well."""
    return {
        "id": node_id,
        "address": address(node_id),
        "member": True,
        "voter": True,
        "instance": f"{node_id:032x}",
        "connected": True,
        "age": 0.5,
        "role": "Leader" if node_id == 1 else "Follower",
        "applied_index": 100,
        "commit_index": 100,
        "last_index": 100,
        "wall_time": NOW,
        "disk_free": 50 * GIB,
        "disk_total": 100 * GIB,
        "disk_reserve": 128 << 20,
        "fault_codes": [],
        "faults": [],
        "log_writes": 10,
        "log_write_mean_ms": 1.0,
        **changed,
    }


def sight(node_id: int, *lines: dict[str, Any], **changed: Any) -> Sight:
    """Return what a member says that is well, with ``changed`` in its status."""
    told = lines or tuple(line(each, age=0.0 if each == node_id else 0.5) for each in (1, 2, 3))
    return Sight(
        address(node_id),
        named=True,
        status={
            "id": node_id,
            "role": "Leader" if node_id == 1 else "Follower",
            "term": 2,
            "leader": 1,
            "applied_index": 100,
            "commit_index": 100,
            "cluster": ONE,
            "instance": f"{node_id:032x}",
            "peer_problems": [],
            **changed,
        },
        lines=told,
        clock=(0.0, 0.01),
        served="",
        writes_ms=(1.0, 1.0, 2.0),
    )


def dead(node_id: int, outcome: str = REFUSED, named: bool = True) -> Sight:
    """Return what comes of asking a member that is not there."""
    return Sight(address(node_id), named, outcome, "no answer")


def silent(node_id: int) -> Sight:
    """Return what comes of asking a member that hangs."""
    return dead(node_id, SILENT)


def gone(node_id: int, **changed: Any) -> dict[str, Any]:
    """Return what is told of a member that nobody hears any more."""
    return line(node_id, **{"connected": False, "age": 60.0, **changed})


def without_leader(seen: Sight, refusal: str = "no leader at the moment") -> Sight:
    """Return a sight of somebody who knows no leader."""
    return evolve(seen, status={**seen.status, "leader": None}, served=refusal)


def problem(code: str, node_id: int, by: str = "here", where: str = "") -> dict[str, Any]:
    """Return one of /status' peer_problems."""
    return {
        "address": where or address(node_id),
        "node": node_id if by == "here" else None,
        "code": code,
        "by": by,
        "reason": f"because of the {code}",
        "age": 1.0,
    }


def findings(
    sights: Sequence[Sight],
    earlier: Sequence[Sight] | None = None,
    processes: dict[str, Process] | None = None,
) -> list[Finding]:
    """Return what is concluded from ``sights``."""
    before = None if earlier is None else Picture(list(earlier))
    return diagnose(Scene(Picture(list(sights)), before, (processes or {}).get))


def kinds(*sights: Sight, **more: Any) -> list[str]:
    """Return the kinds of findings, the most urgent first."""
    return [each.kind for each in findings(sights, **more)]
