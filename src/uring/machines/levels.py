"""Which commands came when: an older program could not apply the newer ones.

A program that meets a command that it does not know passes over the whole entry, and has another
state than the others from then on.  So a command is let in only once every member knows it: each
has a feature level, and :mod:`uring.upgrades` sees to it that the cluster's is the lowest of all.
"""

from __future__ import annotations

from uring.machines.commands import AddToken, Command, RecoverToken, RemoveToken

LEVEL = 2
"""What this program knows.  Counted up with the first command, or the first record of the log or of
the state, that the program before it could not read; never for anything else."""

FIRST = 1
"""Of a program, or of a cluster, that says nothing of levels."""

NEEDS: dict[type, int] = {AddToken: 2, RemoveToken: 2, RecoverToken: 2}
"""The level from which there is a command; all others are of the first.

Level 2: tokens.  (To ask for tokens is of no use while there are nodes that do not.)
"""


def needed(command: Command) -> int:
    """Return the level of the cluster from which ``command`` may be in its log."""
    return NEEDS.get(type(command), FIRST)
