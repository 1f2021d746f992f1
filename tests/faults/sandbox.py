"""Namespaces of one run: its network, mounts and processes end with it, however it ends.

The run is the first process of a process namespace: when it is killed the kernel kills every node,
and with the last process the interfaces, rules, mounts and loop devices are gone as well.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from shutil import which

NEEDED = ("unshare", "nsenter", "setpriv", "mount", "ip", "iptables")
"""Commands of util-linux, iproute2 and iptables."""

INSIDE = "URING_FAULTS_INSIDE"
"""Set in the environment of a run that has its namespaces."""


def run(*words: str) -> str:
    """Run a command to its end; return what it printed.

    Raises RuntimeError with the command and what it said, if it failed.
    """
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise RuntimeError(f"{' '.join(words)}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def works(*words: str) -> bool:
    """Tell whether a command exists and succeeds."""
    try:
        run(*words)
    except (RuntimeError, OSError, subprocess.TimeoutExpired):
        return False
    return True


def is_inside() -> bool:
    """Tell whether this process has its namespaces."""
    return bool(os.environ.get(INSIDE))


def _words() -> list[str]:
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    # Without root a user namespace is tried, in which most is possible as well.
    return words if os.geteuid() == 0 else [*words, "--map-root-user"]


def lacking() -> str:
    """Return why there can be no namespaces, or "" if there can."""
    missing = [each for each in NEEDED if which(each) is None]
    if missing:
        return f"there is no {' and no '.join(missing)} on this system"
    try:
        run(*_words(), "true")
    except RuntimeError as problem:
        return f"no namespaces of its own ({problem})"
    return ""


def run_inside(module: str, arguments: Sequence[str]) -> int:
    """Run ``module`` in namespaces of its own; return its exit code.

    What ends this process ends the other one: SIGTERM is passed on as SIGKILL, which unshare does
    not keep to itself, and SIGINT comes from the terminal to both.
    """
    sys.stdout.flush()
    words = ["setpriv", "--pdeathsig", "KILL", *_words(), sys.executable, "-m", module, *arguments]
    child = subprocess.Popen(words, env={**os.environ, INSIDE: "1"})
    signal.signal(signal.SIGTERM, lambda *ignored: child.kill())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return child.wait()
