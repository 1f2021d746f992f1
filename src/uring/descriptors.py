"""File descriptors: as many as there may be, and some of them kept from clients.

LevelDB opens files while it works, and one that it cannot open ends the process.  So clients get
what is left when the store, the other nodes and the log have enough.
"""

from __future__ import annotations

import resource

from twisted.logger import Logger

KEPT = 256
"""For the store, other nodes, the log and listening, or half of all if there are few."""

_log = Logger(namespace="uring")


def raise_limit() -> int:
    """Let this process open as many files as it is allowed to; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def left_for_clients(descriptors: int, wanted: int) -> int:
    """Return how many connections clients may have, ``wanted`` at the most."""
    left = max(1, descriptors - min(KEPT, descriptors // 2))
    if left < wanted:
        _log.warn(
            "clients may have {left} connections, not {wanted}: this process may open no more than "
            "{descriptors} files (ulimit -n, or LimitNOFILE of systemd)",
            left=left,
            wanted=wanted,
            descriptors=descriptors,
        )
    return min(left, wanted)
