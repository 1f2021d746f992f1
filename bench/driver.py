"""Running the load generator, beside a system, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from bench.systems import ROOT, System, SystemFailed

Figures = dict[str, Any]

WARM_SECONDS = 0.5


class Generator:
    """A load under way; ``words`` are those of ``python -m bench.load``."""

    def __init__(self, *words: object) -> None:
        self._words = [str(word) for word in words]
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load", *self._words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def wait(self, seconds: float | None = None) -> Figures:
        """Return its figures once it has ended.  Raises :exc:`SystemFailed` with what it said."""
        try:
            said, problem = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise SystemFailed(f"{' '.join(self._words)}: not done in {seconds:g} s") from None
        if self._process.returncode:
            raise SystemFailed(f"{' '.join(self._words)}: {problem.strip()[-500:]}")
        figures: Figures = json.loads(said)
        return figures

    def stop(self) -> Figures:
        """Let it send nothing more; return its figures.  Raises :exc:`SystemFailed`."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait(60)


def load(*words: object) -> Figures:
    """Run the load generator to its end.  Raises :exc:`SystemFailed` with what it said."""
    return Generator(*words).wait()


def measure(system: System, words: list[object], nodes: list[int] | None = None) -> Figures:
    """Run a load at ``nodes`` (default: the leader); add the processor time per 10 000 operations.

    ``words`` begin with the protocol.
    """
    protocol, *options = words
    chosen = [system.leader()] if nodes is None else nodes
    before = system.cpu_seconds()
    figures = load(protocol, *map(system.address, chosen), *options, "--warm", WARM_SECONDS)
    used = system.cpu_seconds() - before
    figures["cpu"] = used / max(1, figures["sent"]) * 10_000
    return figures


def fill(system: System, keys: int, value: int = 256) -> Figures:
    """Write ``keys`` different keys through the leader, with as many under way as it takes well."""
    window = max(1, min(16, 32_768 // value))
    return load(
        *(system.protocol, system.address(system.leader()), "--once", "--warm", 0),
        *("--connections", 64 if keys >= 1024 else 1, "--window", window if keys >= 1024 else 1),
        *("--seconds", 1800, "--keys", keys, "--count", keys, "--value", value),
    )
