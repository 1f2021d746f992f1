"""A library for scripts that drive test clusters: start nodes, join them, talk to them, stop them.

Needs nothing installed but the dependencies of uring: with the checkout's root on PYTHONPATH the
``src`` beside this directory is found by itself.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

_source = str(ROOT / "src")
if _source not in sys.path:
    # In front: a checkout's scripts are to run the checkout's code.
    sys.path.insert(0, _source)

from contrib.clients import RaftClient  # noqa: E402
from contrib.cluster import Cluster, Node, read_config, rotate  # noqa: E402
from contrib.servers import UringServer  # noqa: E402

__all__ = [
    "ROOT",
    "Cluster",
    "Node",
    "RaftClient",
    "UringServer",
    "read_config",
    "rotate",
]
