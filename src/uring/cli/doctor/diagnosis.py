"""From what was seen to what is wrong."""

from __future__ import annotations

from uring.cli.doctor import addresses, clocks, quorum
from uring.cli.doctor.findings import Finding, ordered
from uring.cli.doctor.members import Members
from uring.cli.doctor.picture import Scene
from uring.cli.doctor.strangers import Strangers


def diagnose(scene: Scene) -> list[Finding]:
    """Return all that is wrong, what is to be mended first at the top."""
    strangers = Strangers(scene)
    found = [*addresses.examine(scene), *strangers.findings()]
    found += quorum.mixture(scene, strangers.founders)
    for cluster in scene.picture.named:
        wiped = strangers.wiped.get(cluster.id, set())
        found += quorum.examine(scene, cluster, wiped)
        found += Members(scene, cluster, scene.before(cluster), wiped).examine()
    found += clocks.examine(scene.picture)
    return ordered(found)
