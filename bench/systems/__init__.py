"""The systems that are measured beside each other."""

from __future__ import annotations

from bench.systems.base import ROOT, System, SystemFailed, free_ports
from bench.systems.etcd import Etcd
from bench.systems.pysyncobj import PySyncObj
from bench.systems.uring import Uring

SYSTEMS: dict[str, type[System]] = {kind.name: kind for kind in (Uring, Etcd, PySyncObj)}
"""By name, in the order in which they take turns."""

__all__ = [
    "ROOT",
    "SYSTEMS",
    "Etcd",
    "PySyncObj",
    "System",
    "SystemFailed",
    "Uring",
    "free_ports",
]
