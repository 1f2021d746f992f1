"""What must hold at all times, checked where it could break.

A violation means that safety is already lost or about to be: the node that sees one must stop and
must not write another byte.  The checks raise, since ``assert`` vanishes under ``-O``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from uring.raft.types import Entry, HardState


class InvariantViolation(Exception):
    """Something that Raft rules out has happened; ``section`` says where it is ruled out."""

    def __init__(self, section: str, text: str) -> None:
        super().__init__(f"{text} (Raft paper, {section})")
        self.section = section
        self.text = text


def violated(section: str, text: str) -> NoReturn:
    """Raise :exc:`InvariantViolation`."""
    raise InvariantViolation(section, text)


def check_hard_state(before: HardState, after: HardState) -> None:
    """Terms never fall, a vote once given in a term stays, the commit index never falls."""
    if after.term < before.term:
        violated("figure 2", f"term fell from {before.term} to {after.term}")
    if after.term == before.term and before.vote not in (0, after.vote):
        violated("5.2", f"vote of term {after.term} changed from {before.vote} to {after.vote}")
    if after.commit < before.commit:
        violated("figure 2", f"commit index fell from {before.commit} to {after.commit}")


def check_commit(to: int, last_index: int) -> None:
    """Nothing is committed that is not in the log."""
    if to > last_index:
        violated(
            "5.3",
            f"commit index {to} is past the end of the log at {last_index}:"
            " was the log truncated, damaged or lost?",
        )


def check_append(first: int, committed: int) -> None:
    """State Machine Safety: committed entries are never replaced."""
    if first <= committed:
        violated("5.4.3", f"entry {first} would replace a committed one (commit {committed})")


def check_applied(applied: int, before: int, committed: int) -> None:
    """Applied never falls and never passes the commit index."""
    if not before <= applied <= committed:
        violated("figure 2", f"applied {applied} is outside [{before}, {committed}]")


def check_applying(applying: int, committed: int) -> None:
    """Only what is committed is handed to the state machine."""
    if applying > committed:
        violated("5.3", f"entry {applying} is to be applied past commit index {committed}")


def check_single_leader(term: int, leader: int, claimant: int) -> None:
    """Election Safety: a leader never hears of another one in its own term."""
    if leader != claimant:
        violated("5.2", f"{leader} and {claimant} both lead term {term}")


def check_contiguous(first: int, entries: Sequence[Entry]) -> None:
    """Indexes have no gaps and terms never fall along the log (both ends are looked at)."""
    last = entries[-1]
    if entries[0].index != first or last.index != first + len(entries) - 1:
        violated(
            "5.3",
            f"{len(entries)} entries, {entries[0].index} to {last.index}, do not fit at {first}",
        )
    if last.term < entries[0].term:
        violated("5.3", f"terms fall from {entries[0].term} to {last.term} along the log")


def check_logs_match(one: Sequence[Entry], other: Sequence[Entry]) -> None:
    """Log Matching: where two logs agree on a term, they agree on everything before it."""
    theirs = {entry.index: entry for entry in other}
    agreed = False
    for entry in reversed(one):
        twin = theirs.get(entry.index)
        if twin is None:
            continue
        agreed = agreed or twin.term == entry.term
        if agreed and twin != entry:
            violated("5.3", f"logs agree after index {entry.index} and differ at it")
