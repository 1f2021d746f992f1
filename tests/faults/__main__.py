"""Run it: ``python -m tests.faults --minutes 5``; ``--seed N`` chooses the same faults again."""

from __future__ import annotations

import sys

from tests.faults.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
