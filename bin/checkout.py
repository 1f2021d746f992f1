"""Imported first by the scripts beside it: puts the checkout on sys.path.

Where Twisted is not installed, the script goes on in the environment that bin/start made.
"""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def prepare(*needed: str) -> None:
    """Make ``contrib`` importable, and see that the modules ``needed`` are there."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    python = ROOT / ".venv" / "bin" / "python"
    if missing and python.exists() and Path(sys.prefix) != ROOT / ".venv":
        os.execv(python, [str(python), *sys.argv])
    if missing:
        sys.exit(
            f"{', '.join(missing)} not installed: run pip3 install -r {ROOT / 'requirements.txt'}"
        )
    sys.path.insert(0, str(ROOT))
