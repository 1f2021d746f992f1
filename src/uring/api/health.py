"""/livez and /readyz: whether to restart the node, and whether to send it requests."""

from __future__ import annotations

from typing import Any

from attrs import frozen

DISK_FREE_BYTES_MIN = 64 * 2**20
"""With less than this left a node is about to stop; clients had better use another."""
BEHIND_MAX = 10_000
"""Entries that may be committed and not yet applied here."""


@frozen
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str = ""

    def line(self) -> str:
        """Return the check as one line."""
        detail = f": {self.detail}" if self.detail else ""
        return f"[{'+' if self.ok else '-'}]{self.name} {'ok' if self.ok else 'failed'}{detail}"


def alive() -> list[Check]:
    """Return what must hold for the process to be worth keeping: that it answers at all."""
    return [Check("reactor", True)]


def ready(status: dict[str, Any], disk_free: float) -> list[Check]:
    """Return what must hold for the node to serve clients well."""
    behind = status["commit_index"] - status["applied_index"]
    voices = [member["id"] for member in status["members"]]
    return [
        Check(
            "member",
            status["id"] in voices,
            # Whoever has no token can still tell whether this is the right cluster.
            f"node {status['id']} of cluster {status['cluster']}"
            if status["id"] in voices
            else f"POST /node/{status['id']} on a member adds it",
        ),
        Check("leader", status["leader"] is not None, "" if status["leader"] else "none known"),
        Check("applied", behind <= BEHIND_MAX, f"{behind} behind" if behind > BEHIND_MAX else ""),
        Check("faults", not status["faults"], "; ".join(status["faults"])),
        Check(
            "disk",
            not 0 <= disk_free < DISK_FREE_BYTES_MIN,
            "" if not 0 <= disk_free < DISK_FREE_BYTES_MIN else f"{int(disk_free)} bytes left",
        ),
    ]


def shown(checks: list[Check], verbose: bool) -> tuple[int, bytes]:
    """Return the status code and the text: the checks that failed, or all if ``verbose``."""
    ok = all(check.ok for check in checks)
    lines = [check.line() for check in checks if verbose or not check.ok]
    lines.append("ok" if ok else "not ready")
    return (200 if ok else 503), ("\n".join(lines) + "\n").encode()
