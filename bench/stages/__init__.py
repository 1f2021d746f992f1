"""The parts of the measurement, in the order in which they run."""

from __future__ import annotations

from bench.stages import (
    clients,
    elections,
    failover,
    generator,
    idle,
    keys,
    memory,
    rates,
    restart,
    ring,
    snapshot,
    syncs,
    timeline,
)
from bench.stages.base import QUICK, Plan, Stage, Turn

STAGES: dict[str, Stage] = {
    module.STAGE.name: module.STAGE
    for module in (
        generator,
        rates,
        clients,
        keys,
        memory,
        failover,
        timeline,
        elections,
        snapshot,
        restart,
        syncs,
        idle,
        ring,
    )
}
"""By name."""

__all__ = ["QUICK", "STAGES", "Plan", "Stage", "Turn"]
