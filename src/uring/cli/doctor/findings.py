"""What can be found, and how a finding is put."""

from __future__ import annotations

from typing import Any

from attrs import frozen

CONFIGURATION = "configuration"
DIRECTORY = "data directory"
PORT_TAKEN = "port taken"
UNREACHABLE = "unreachable"
NOT_RUNNING = "not running"
UNAUTHORIZED = "no token"
TLS = "tls"
WRONG_CLUSTER = "wrong cluster"
NO_QUORUM = "no quorum"
NO_LEADER = "no leader"
WIPED = "wiped member"
ID_TAKEN = "id taken"
NOT_A_MEMBER = "not a member"
REFUSED = "peers refused"
MEMBER_DOWN = "member down"
LAGGING = "lagging member"
SLOW_DISK = "slow disk"
DISK_FULL = "disk nearly full"
CLOCK = "clock far off"

ORDER = (
    CONFIGURATION,
    DIRECTORY,
    PORT_TAKEN,
    WRONG_CLUSTER,
    NO_QUORUM,
    NO_LEADER,
    WIPED,
    ID_TAKEN,
    NOT_A_MEMBER,
    REFUSED,
    SLOW_DISK,
    DISK_FULL,
    LAGGING,
    MEMBER_DOWN,
    NOT_RUNNING,
    CLOCK,
    TLS,
    UNAUTHORIZED,
    UNREACHABLE,
)
"""What is to be mended first comes first."""


@frozen
class Finding:
    """One thing that is wrong, with what shows it and what to type next."""

    kind: str
    subject: str
    text: str
    evidence: tuple[str, ...] = ()
    next: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return it as a program gets it."""
        return {
            "name": self.kind.replace(" ", "-"),
            "title": self.kind,
            "subject": self.subject,
            "text": self.text,
            "evidence": list(self.evidence),
            "next": list(self.next),
        }


def ordered(findings: list[Finding]) -> list[Finding]:
    """Return each finding once, what is to be mended first at the top."""
    once = {(each.kind, each.subject): each for each in reversed(findings)}
    return sorted(once.values(), key=lambda each: (ORDER.index(each.kind), each.subject))
