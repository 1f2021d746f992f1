"""Pure arithmetic of majorities, single and joint (paper, section 6)."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping

EVERYTHING = 2**64 - 1
"""What an empty majority has committed: it never holds the other half of a joint one back."""


class VoteResult(enum.Enum):
    """How a vote stands; the values are the names etcd prints."""

    PENDING = "VotePending"
    LOST = "VoteLost"
    WON = "VoteWon"


def committed_index(voters: Collection[int], acked: Mapping[int, int]) -> int:
    """Return the greatest index that a majority of ``voters`` has acknowledged."""
    if not voters:
        return EVERYTHING
    indexes = [acked.get(voter, 0) for voter in voters]
    indexes.sort()
    return indexes[(len(indexes) - 1) // 2]


def joint_committed_index(
    incoming: Collection[int], outgoing: Collection[int], acked: Mapping[int, int]
) -> int:
    """Return the greatest index that both majorities have acknowledged."""
    return min(committed_index(incoming, acked), committed_index(outgoing, acked))


def vote_result(voters: Collection[int], votes: Mapping[int, bool]) -> VoteResult:
    """Say whether a majority of ``voters`` said yes, can no longer do so, or is still to decide."""
    if not voters:
        return VoteResult.WON
    needed = len(voters) // 2 + 1
    granted = missing = 0
    for voter in voters:
        vote = votes.get(voter)
        if vote is None:
            missing += 1
        elif vote:
            granted += 1
    if granted >= needed:
        return VoteResult.WON
    return VoteResult.PENDING if granted + missing >= needed else VoteResult.LOST


def joint_vote_result(
    incoming: Collection[int], outgoing: Collection[int], votes: Mapping[int, bool]
) -> VoteResult:
    """Say how both majorities decide: won if both are, lost as soon as one is."""
    one, other = vote_result(incoming, votes), vote_result(outgoing, votes)
    if one is other:
        return one
    if VoteResult.LOST in (one, other):
        return VoteResult.LOST
    return VoteResult.PENDING
