"""What was measured, on disk: one JSON file for each stage, so that stages can be run in pieces."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import define, field

Round = dict[str, dict[str, dict[str, Any]]]
"""Figures by system, by case, by name."""


@define
class StageResult:
    """What one stage found, round by round."""

    stage: str
    measured: str
    """When it ended, ISO 8601."""
    machine: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]
    rounds: list[Round] = field(factory=list)

    def systems(self) -> list[str]:
        """Return the systems that took part, in the order of the first that did."""
        return list(dict.fromkeys(name for found in self.rounds for name in found))

    def cases(self) -> list[str]:
        """Return the cases of all systems, in the order in which they came first."""
        return list(
            dict.fromkeys(
                case for found in self.rounds for cases in found.values() for case in cases
            )
        )

    def figures(self, system: str, case: str, name: str) -> list[Any]:
        """Return one figure of each round that has it."""
        return [
            found[system][case][name]
            for found in self.rounds
            if found.get(system, {}).get(case, {}).get(name) is not None
        ]

    def pairs(self, case: str, name: str, own: str, other: str) -> list[tuple[Any, Any]]:
        """Return one figure of two systems, from the rounds in which both have it."""
        return [
            (found[own][case][name], found[other][case][name])
            for found in self.rounds
            if all(found.get(each, {}).get(case, {}).get(name) is not None for each in (own, other))
        ]


def machine() -> dict[str, Any]:
    """Return what figures depend on."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": os.cpu_count(),
        "model": found[1] if found else platform.machine(),
        "memory_gb": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def path_of(directory: Path, stage: str) -> Path:
    """Return the file of a stage."""
    return directory / f"{stage}.json"


def save(directory: Path, result: StageResult) -> None:
    """Write one stage's file; whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {name: getattr(result, name) for name in StageResult.__annotations__}
    aside = directory / f".{result.stage}.json"
    aside.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    aside.replace(path_of(directory, result.stage))


def read(directory: Path, stage: str) -> StageResult | None:
    """Return what is stored of a stage, or None.  Raises :exc:`ValueError` for another file."""
    path = path_of(directory, stage)
    if not path.exists():
        return None
    try:
        return StageResult(**json.loads(path.read_text()))
    except (TypeError, ValueError) as problem:
        raise ValueError(f"{path} is no result of a stage: {problem}") from None


def read_all(directory: Path, stages: Iterable[str]) -> dict[str, StageResult]:
    """Return what is stored, by stage.  Raises :exc:`ValueError`."""
    found = {stage: read(directory, stage) for stage in stages}
    return {stage: result for stage, result in found.items() if result is not None}
