"""Wall clocks of single processes that jump; the machine's own is never touched."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from attrs import define

from tests.faults.sandbox import works

LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)
"""Where Linux distributions keep libfaketime."""

SETTINGS = (
    "FAKETIME_CACHE_DURATION=1",
    "FAKETIME_DONT_FAKE_MONOTONIC=1",
    "DONT_FAKE_MONOTONIC=1",
    "NO_FAKE_STAT=1",
)

SHIM = '''\
"""Imported by every Python at its start: shows a wall clock that is off by what a file says."""
import os
import time

_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic
_path = os.environ["URING_FAULTS_CLOCK"]
_off, _read = 0, float("-inf")


def _offset():
    global _off, _read
    if _monotonic() > _read + 0.1:
        with open(_path) as file:
            _off = int(file.read())
        _read = _monotonic()
    return _off


time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + _offset() * 10**9
'''
"""Stands in for libfaketime, for Python's own calls; LevelDB uses the time for its notes only."""


@cache
def library() -> str | None:
    """Return the path of a libfaketime that works here, or None.

    Some releases let time.sleep() fail once they are told to leave the monotonic clock alone.
    """
    for path in LIBRARIES:
        probe = ("env", f"LD_PRELOAD={path}", "FAKETIME=+1d", *SETTINGS, sys.executable, "-c")
        if os.path.exists(path) and works(*probe, "import time; time.sleep(0.001)"):
            return path
    return None


@define
class WallClock:
    """The wall clock of one node."""

    path: Path
    """Holds the seconds by which it is off."""

    def __attrs_post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Be off by ``seconds`` from now on."""
        beside = self.path.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        beside.replace(self.path)

    def environment(self, python_path: str) -> list[str]:
        """Return the settings that let a process see this clock."""
        found = library()
        if found is not None:
            return [f"LD_PRELOAD={found}", f"FAKETIME_TIMESTAMP_FILE={self.path}", *SETTINGS]
        shim = self.path.parent / "shim"
        shim.mkdir(exist_ok=True)
        (shim / "sitecustomize.py").write_text(SHIM)
        return [f"URING_FAULTS_CLOCK={self.path}", f"PYTHONPATH={shim}{os.pathsep}{python_path}"]
