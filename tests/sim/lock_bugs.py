"""Bugs of locks to plant: see :mod:`tests.sim.bugs`."""

from __future__ import annotations

from typing import Any

from tests.sim.bugs import Patch, bug
from uring.client.locks import Lock
from uring.client.services import compare


@bug("a write under a lock that nothing fences")
def _() -> list[Patch]:
    def unfenced(self: Any) -> dict[str, Any]:
        return compare("no such key", "created", 0)

    return [(Lock, "fence", property(unfenced))]
