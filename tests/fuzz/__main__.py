"""``tox -e fuzz``: coverage-guided fuzzing of every decoder by atheris, for some seconds each."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

SECONDS = 10
"""For each target, if it is not said otherwise."""


def mutated(good: bytes, random: Any) -> bytes:
    """Return ``good`` with up to four changes."""
    data = bytearray(good)
    for _ in range(random.randint(1, 4)):
        start = random.randint(0, len(data))
        end = min(len(data), start + random.choice((0, 1, 1, 2, 8)))
        kind = random.randint(0, 3)
        if kind == 0:
            del data[start:end]
        elif kind == 1:
            data[start:start] = data[start:end]
        elif kind == 2:
            data[start:start] = bytes(random.choice((0, 1, 127, 128, 255)) for _ in range(2))
        elif end > start:
            data[start] ^= 1 << random.randint(0, 7)
    return bytes(data)


def main(arguments: list[str]) -> int:
    """Return 0 if no decoder did what it must not, or atheris is not there; else 1."""
    asked = _parser().parse_args(arguments)
    try:
        atheris = import_module("atheris")
    except ImportError:
        print("SKIPPED: atheris is not installed here; hypothesis fuzzes in the tests all the same")
        return 0
    if asked.target:
        return _fuzz(atheris, asked.target, asked.seconds)
    from tests.fuzz.targets import TARGETS

    failed = []
    for name in TARGETS:
        words = ["-m", "tests.fuzz", "--target", name, "--seconds", str(asked.seconds)]
        # A process for each: libFuzzer ends its own.
        run = subprocess.run([sys.executable, *words], capture_output=True, text=True)
        said = [line for line in run.stderr.splitlines() if line.startswith("Done ")]
        print(f"{name}: {'ok' if run.returncode == 0 else 'FAILED'} {' '.join(said)}", flush=True)
        if run.returncode:
            failed.append(name)
            print(run.stdout + run.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    found.add_argument("--seconds", type=int, default=SECONDS, help="for each target")
    found.add_argument("--target", help="this one only")
    return found


def _fuzz(atheris: Any, name: str, seconds: int) -> int:
    """Fuzz one target in this process, which atheris ends."""
    with atheris.instrument_imports(include=["uring"]):
        from tests.fuzz.targets import TARGETS
    target, random = TARGETS[name], Random(1)
    with tempfile.TemporaryDirectory() as corpus:
        for number, good in enumerate(target.good):
            for copy in range(20):
                data = mutated(good, random) if copy else good
                Path(corpus, f"{number}-{copy}").write_bytes(data)
        options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024"]
        options += [f"-artifact_prefix={tempfile.gettempdir()}/uring-fuzz-", corpus]
        atheris.Setup(["fuzz", *options], target.run)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
