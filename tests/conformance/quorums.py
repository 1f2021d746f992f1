"""The quorum scripts: committed index and vote result of majorities, single and joint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.conformance.datadriven import Command, Directive
from uring.raft import quorum


class Quorums:
    """Runs one quorum script; it keeps nothing from one directive to the next."""

    def run(self, directive: Directive) -> str:
        """Return what ``directive`` prints."""
        command = directive.command
        incoming = _voters(command, "cfg")
        is_joint = command.values("cfgj") is not None
        outgoing = [] if command.value("cfgj") == "zero" else _voters(command, "cfgj")
        if command.name == "committed":
            return _committed(command, incoming, outgoing, is_joint)
        if command.name == "vote":
            return _vote(command, incoming, outgoing, is_joint)
        return "unknown command"


def _voters(command: Command, key: str) -> list[int]:
    return [int(value) for value in command.values(key) or ()]


def _assigned(
    command: Command, key: str, incoming: Sequence[int], outgoing: Sequence[int]
) -> dict[int, str] | str:
    """Give each voter, in order, what was said for it; or return the complaint."""
    given = command.values(key) or ()
    voters = list(dict.fromkeys([*incoming, *outgoing]))
    if len(given) != len(voters):
        listed = " ".join(map(str, voters))
        return f"error: mismatched input (explicit or _) for voters [{listed}]: {list(given)}"
    return {voter: text for voter, text in zip(voters, given, strict=True) if text != "_"}


def _committed(command: Command, incoming: list[int], outgoing: list[int], is_joint: bool) -> str:
    assigned = _assigned(command, "idx", incoming, outgoing)
    if isinstance(assigned, str):
        return assigned
    acked = {voter: int(text) for voter, text in assigned.items()}
    if is_joint:
        index = quorum.joint_committed_index(incoming, outgoing, acked)
        others = {"symmetry": quorum.joint_committed_index(outgoing, incoming, acked)}
    else:
        index = quorum.committed_index(incoming, acked)
        others = {
            "alternative computation": _counted(incoming, acked),
            "zero-joint quorum": quorum.joint_committed_index(incoming, [], acked),
            "self-joint quorum": quorum.joint_committed_index(incoming, incoming, acked),
        }
    text = _described(sorted({*incoming, *outgoing}), acked)
    for via, other in others.items():
        if other != index:
            text += f"{_shown(other)} <-- via {via}\n"
    return text + _shown(index)


def _counted(voters: Sequence[int], acked: Mapping[int, int]) -> int:
    """Compute the committed index in the naive way: try every index."""
    if not voters:
        return quorum.EVERYTHING
    needed = len(voters) // 2 + 1
    candidates = {acked.get(voter, 0) for voter in voters} | {0}
    return max(
        index
        for index in candidates
        if index == 0 or sum(acked.get(voter, 0) >= index for voter in voters) >= needed
    )


def _shown(index: int) -> str:
    return "∞" if index == quorum.EVERYTHING else str(index)


def _described(voters: Sequence[int], acked: Mapping[int, int]) -> str:
    """Draw how far each voter is: the one with the i-th smallest index has a bar of i."""
    if not voters:
        return "<empty majority quorum>"
    count = len(voters)
    bars: dict[int, int] = {}
    last_index, bar = 0, 0
    for place, voter in enumerate(sorted(voters, key=lambda each: (acked.get(each, 0), each))):
        index = acked.get(voter, 0)
        if index > last_index:
            bar = place
        bars[voter], last_index = bar, index
    text = " " * count + "    idx\n"
    for voter in voters:
        known = voter in acked
        drawn = (
            "x" * bars[voter] + ">" + " " * (count - bars[voter]) if known else "?" + " " * count
        )
        text += f"{drawn} {acked.get(voter, 0):>5}    (id={voter})\n"
    return text


def _vote(command: Command, incoming: list[int], outgoing: list[int], is_joint: bool) -> str:
    assigned = _assigned(command, "votes", incoming, outgoing)
    if isinstance(assigned, str):
        return assigned
    votes = {voter: text == "y" for voter, text in assigned.items()}
    if not is_joint:
        return quorum.vote_result(incoming, votes).value
    result = quorum.joint_vote_result(incoming, outgoing, votes)
    mirrored = quorum.joint_vote_result(outgoing, incoming, votes)
    note = f"{mirrored.value} <-- via symmetry\n" if mirrored is not result else ""
    return note + result.value
