"""Counting the synced writes of a process from outside, by strace."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

from bench.systems import SystemFailed

CALLS = ("fsync", "fdatasync", "msync", "sync_file_range")
ATTACH_SECONDS = 10.0


def missing_strace() -> str | None:
    """Return what to do where strace is not installed, or None."""
    if shutil.which("strace"):
        return None
    return "strace is not on the PATH: install it (Debian: apt-get install strace)"


def parse_counts(table: str) -> dict[str, int]:
    """Return how often each system call occurred, from what ``strace -c`` wrote."""
    counts = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[-1] in CALLS:
            counts[fields[-1]] = int(fields[3])
    return counts


class SyncCounter:
    """Counts the synced writes of one process, all its threads together, until it is stopped."""

    def __init__(self, pid: int, output: Path) -> None:
        self._output = output
        self._process = subprocess.Popen(
            ["strace", "-f", "-c", "-e", f"trace={','.join(CALLS)}", "-o", output, "-p", str(pid)],
            stderr=subprocess.PIPE,
        )
        self._wait_for_all(pid)

    def _wait_for_all(self, pid: int) -> None:
        """Return once every thread is traced.  Raises :exc:`SystemFailed`."""
        end = time.monotonic() + ATTACH_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                said = self._process.stderr.read().decode().strip()
                raise SystemFailed(f"strace cannot watch process {pid}: {said}")
            states = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
            if not any("TracerPid:\t0\n" in state for state in states):
                return
            time.sleep(0.02)
        self.stop()
        raise SystemFailed(f"strace has not attached to process {pid} in {ATTACH_SECONDS:g} s")

    def stop(self) -> dict[str, int]:
        """Let go of the process; return how often it did what."""
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=ATTACH_SECONDS)
        return parse_counts(self._output.read_text())
