"""What a stage of the measurement is, and what one turn of it is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from bench.systems import SYSTEMS, System

Figures = dict[str, Any]
Found = dict[str, Figures]
"""What one turn found, by case."""


@frozen
class Plan:
    """How much is to be done, in every stage; the full measurement unless said otherwise."""

    quick: bool = False
    rounds: int | None = None
    seconds: float | None = None
    kills: int = 20
    """Leaders killed of each system, in all rounds together."""
    keys: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)
    clients: tuple[int, ...] = (1, 4, 16, 64, 256, 1000)
    puts: int = 200_000
    """Before the memory is looked at."""
    state_mb: int = 1000
    """State that a snapshot carries, in 10^6 bytes."""
    entries: int = 1_000_000
    """On the disk of a node that is started again."""
    loaded_seconds: float = 600.0
    """How long elections without a fault are looked for."""
    idle: int = 10_000
    """Connections that do nothing."""
    vnodes: int = 1_000_000
    ring_nodes: int = 1000


QUICK = Plan(
    quick=True,
    kills=2,
    keys=(1000, 30_000),
    clients=(1, 16, 64),
    puts=30_000,
    state_mb=30,
    entries=30_000,
    loaded_seconds=5.0,
    idle=500,
)
"""Enough to see that everything works; its figures are no measurement."""


@frozen
class Turn:
    """One system's turn in one round of a stage."""

    kind: type[System]
    place: Path
    """A directory on the disk to use; the system's own is below it."""
    plan: Plan
    seconds: float
    """How long each load lasts."""
    rounds: int
    number: int
    """Of this round, from 0 on."""
    note: Callable[[str], None] = field(default=lambda text: print(text, file=sys.stderr))

    def system(self) -> System:
        """Return the system, not started."""
        return self.kind(self.place / self.kind.name)


@frozen
class Stage:
    """A part of the measurement that can be run alone."""

    name: str
    about: str
    turn: Callable[[Turn], Found]
    systems: tuple[str, ...] = tuple(SYSTEMS)
    rounds: tuple[int, int] = (3, 1)
    """In the full and in the quick measurement."""
    seconds: tuple[float, float] = (4.0, 1.0)

    def rounds_of(self, plan: Plan) -> int:
        """Return how many rounds there are."""
        return plan.rounds or self.rounds[plan.quick]

    def seconds_of(self, plan: Plan) -> float:
        """Return how long each load lasts."""
        return plan.seconds or self.seconds[plan.quick]
