"""Run scripts from the command line: one line for each, and why it disagrees."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.conformance.scripts import first_disagreement, scripts_below


def main(arguments: list[str] | None = None) -> int:
    """Run every script below the directories given; return 1 if any disagrees, 2 if none."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("directory", nargs="+", type=Path)
    parser.add_argument("--logs", action="store_true", help="compare the log lines as well")
    options = parser.parse_args(arguments)
    total = failed = 0
    for directory in options.directory:
        for path in scripts_below(directory):
            total += 1
            try:
                disagreement: object = first_disagreement(path, options.logs)
            except Exception as error:  # a core that raises disagrees too
                disagreement = f"{type(error).__name__}: {error}"
            failed += disagreement is not None
            print(f"FAIL {path}: {disagreement}" if disagreement else f"ok   {path}")
    print(f"{total - failed} of {total} scripts agree")
    return 2 if not total else int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
