"""Run seeds: ``python -m tests.sim --seeds 1000``; replay one: ``--seed N --trace``."""

from __future__ import annotations

import sys

from tests.sim.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
