"""Namespaces of one run: its network, mounts and processes end with it, however it ends.

The run is the first process of a process namespace: when it is killed the kernel kills every node,
and with the last process the interfaces, rules, mounts and loop devices are gone as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from shutil import which

NEEDED = ("unshare", "nsenter", "mount", "ip", "iptables")
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


def enter(module: str, arguments: Sequence[str]) -> str:
    """Run ``module`` again in namespaces of its own, in place of this process.

    Returns only inside them (with "") or where they cannot be had (with the reason).  Without root
    a user namespace is tried, in which most is possible as well.
    """
    if os.environ.get(INSIDE):
        return ""
    missing = [each for each in NEEDED if which(each) is None]
    if missing:
        return f"there is no {' and no '.join(missing)} on this system"
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        words.insert(1, "--map-root-user")
    try:
        run(*words, "true")
    except RuntimeError as problem:
        return f"no namespaces of its own ({problem})"
    os.environ[INSIDE] = "1"
    sys.stdout.flush()
    return os.execvp(words[0], [*words, sys.executable, "-m", module, *arguments])
