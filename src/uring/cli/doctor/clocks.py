"""Wall clocks that are far off: nothing in a cluster depends on them, but certificates, and people
who compare logs, do."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from uring.cli.doctor import findings as kinds
from uring.cli.doctor.findings import Finding
from uring.cli.doctor.picture import Picture

OFF_SECONDS = 2.0
HERE = "this machine"
ADVICE = ("timedatectl status", "timedatectl set-ntp true  # or: chronyc makestep")


def clocks(picture: Picture) -> dict[str, tuple[float, float]]:
    """Return by how much each clock is ahead of this machine's, and how sure that is, in seconds.

    A member that could not be asked is known by what others heard of it.
    """
    found = {HERE: (0.0, 0.0)}
    for sight in picture.sights:
        if sight.clock is not None:
            found[f"node {sight.id} ({sight.own.get('address', '?')})"] = sight.clock
    for cluster in picture.clusters:
        for member in cluster.members.values():
            for word in member.words:
                wall, observer = float(word.line.get("wall_time") or 0.0), word.by.clock
                if member.name in found or not wall or observer is None or not word.is_fresh:
                    continue
                told = wall + word.age - float(word.by.own.get("wall_time") or 0.0)
                found[member.name] = observer[0] + told, observer[1] + 1.0
    return found


def examine(picture: Picture) -> Iterator[Finding]:
    """Yield the clocks that differ from most others."""
    found = clocks(picture)
    middle = median([off for off, _ in found.values()])
    if len(found) == 2:
        middle = 0.0  # nobody can tell which is right; people set nodes' clocks, not their own
    for name, (off, unsure) in found.items():
        ahead = off - middle
        if abs(ahead) - unsure > OFF_SECONDS:
            yield Finding(
                kinds.CLOCK,
                name,
                f"its wall clock is {abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}",
                tuple(f"{other}: {apart - middle:+.1f} s" for other, (apart, _) in found.items()),
                ADVICE,
            )
