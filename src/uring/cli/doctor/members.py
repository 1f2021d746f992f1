"""What is wrong with single members: down, behind, a slow disk, a full one."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from attrs import define

from uring.cli.doctor import findings as kinds
from uring.cli.doctor import look
from uring.cli.doctor.addresses import start_again
from uring.cli.doctor.findings import Finding
from uring.cli.doctor.picture import Cluster, Member, Scene
from uring.cli.doctor.quorum import has_quorum, reach, why_missing

SLOW_MS = 25.0
"""A synced write that takes longer, in the middle of some, makes a whole cluster slow."""
SLOW_MEAN_MS = 100.0
"""In the mean of a minute or two, where the disk is quick at the moment."""
MIB = 2**20
FREE_MIN = 64 * MIB
FREE_SHARE = 0.05
FREE_ENOUGH = 2**30
"""So much is enough, however small a share of the disk it is."""
BEHIND_MAX = 10_000
"""Entries: who is so far behind will not serve its clients well soon."""


@define
class Members:
    """The members of one cluster; ``before`` is how it was a moment earlier."""

    scene: Scene
    cluster: Cluster
    before: Cluster | None
    wiped: set[int]

    def examine(self) -> Iterator[Finding]:
        """Yield what is wrong with each member."""
        for member in self.cluster.members.values():
            if member.id in self.wiped:
                continue
            if not member.is_alive:
                yield from self._down(member)
            else:
                yield from list(self._behind(member)) or self._cut_off(member)
                yield from self._slow(member)
            yield from self._full(member)

    # -- down, or behind -------------------------------------------------------------------------

    def _down(self, member: Member) -> Iterator[Finding]:
        behind = self._distance(member)
        why = why_missing(self.scene, member, self.wiped)
        process = self.scene.process(member.address)
        is_stopped = process is not None and process.is_stopped
        outcome = member.asked.outcome if member.asked is not None else look.UNREACHABLE
        if outcome == look.FOREIGN:
            return  # the port is taken, and that is spoken of
        gone = outcome == look.REFUSED
        evidence = [f"{member.address}: {why}"]
        if member.words and member.age < 1e9:
            evidence.append(f"the others heard of it {member.age:.0f} s ago")
        if behind:
            evidence.append(self._far(member))
        if is_stopped and process is not None:
            advice = f"kill -CONT {process.pid}"
        elif gone:
            advice = start_again(member.address, member.id)
        else:
            advice = reach(self.cluster, member)
        if behind and not gone:
            text = f"it is {behind} entries behind, and does not answer"
            yield Finding(kinds.LAGGING, member.name, text, tuple(evidence), (advice,))
        elif has_quorum(self.cluster) or not member.is_voter:  # else it is spoken of there
            text = "it does not run" if gone else "it does not answer"
            yield Finding(kinds.MEMBER_DOWN, member.name, text, tuple(evidence), (advice,))

    def _behind(self, member: Member) -> Iterator[Finding]:
        """Whoever has not applied by now what was committed a moment ago is behind."""
        behind = self._distance(member)
        before = self.before
        is_late = before is not None and self._applied(member) < before.commit
        if not behind or not (is_late or behind > BEHIND_MAX):
            return
        evidence = [self._far(member)]
        alone = self._is_alone(member)
        if alone:
            evidence.append("it runs, but the others do not reach it")
            for problem in member.sight.problems if member.sight else ():
                evidence.append(f"it says of {problem.get('address')}: {problem.get('reason')}")
        if before is not None:
            then = before.members.get(member.id)
            if then is not None:
                moved = self._applied(member) - self._applied(then)
                evidence.append(f"{moved} entries were applied since a moment ago")
        name = f"http://{member.address}"
        advice = reach(self.cluster, member) if alone else f"curl -s {name}/readyz?verbose"
        text = f"it is {behind} entries behind"
        yield Finding(kinds.LAGGING, member.name, text, tuple(evidence), (advice, "uring doctor"))

    def _cut_off(self, member: Member) -> Iterator[Finding]:
        """Whoever runs and reaches nobody will be behind with the next write."""
        if self._is_alone(member) and has_quorum(self.cluster):
            problems = member.sight.problems if member.sight else []
            told = (f"it says of {each.get('address')}: {each.get('reason')}" for each in problems)
            text = "it runs, but the others do not reach it"
            advice = (reach(self.cluster, member),)
            yield Finding(kinds.MEMBER_DOWN, member.name, text, tuple(told), advice)

    def _is_alone(self, member: Member) -> bool:
        """Tell whether the others do not hear a member that answers us."""
        heard = {each.id for each in self.cluster.together()}
        others = [word for word in member.words if word.by.id in heard - {member.id}]
        if member.id in heard:
            return False
        return bool(others) and not any(word.line.get("connected") for word in others)

    def _applied(self, member: Member) -> int:
        return int(member.line.get("applied_index", 0))

    def _distance(self, member: Member) -> int:
        """Return by how many entries a member is behind, as far as anybody knows; 0 if unknown."""
        known = self._applied(member) if member.is_alive else member.reached
        return max(0, self.cluster.commit - known) if known else 0

    def _far(self, member: Member) -> str:
        known = self._applied(member) if member.is_alive else member.reached
        return f"it is at {known}, the cluster at {self.cluster.commit}"

    # -- disks -----------------------------------------------------------------------------------

    def _slow(self, member: Member) -> Iterator[Finding]:
        line, sight = member.line, member.sight
        evidence = []
        if sight is not None and sight.writes_ms and median(sight.writes_ms) >= SLOW_MS:
            taken = ", ".join(f"{each:.0f}" for each in sight.writes_ms)
            evidence.append(f"synced writes of 4 KiB take {taken} ms")
        mean, count = float(line.get("log_write_mean_ms", 0)), int(line.get("log_writes", 0))
        if mean >= (SLOW_MEAN_MS if sight is not None and sight.writes_ms else SLOW_MS):
            evidence.append(f"its last {count} writes of the log took {mean:.0f} ms in the mean")
        if "disk" in (line.get("fault_codes") or ()):
            evidence += [str(each) for each in line.get("faults", ())]
        if sight is not None and sight.no_write and not self._is_full(member):
            evidence.append(sight.no_write)
        if evidence:
            advice = ["dd if=/dev/zero of=DATA-DIR/x bs=4k count=100 oflag=dsync", "iostat -x 1"]
            leader = self.cluster.leader
            others = [m.id for m in self.cluster.voters if m.id != member.id and m.is_alive]
            if leader is not None and leader.id == member.id and others:
                advice.insert(0, f"uring members transfer {others[0]}  # it leads: let another")
            text = "its disk is slow"
            yield Finding(kinds.SLOW_DISK, member.name, text, tuple(evidence), tuple(advice))

    def _full(self, member: Member) -> Iterator[Finding]:
        if self._is_full(member):
            line = member.line
            free, total = int(line.get("disk_free", -1)), int(line.get("disk_total", -1))
            yield disk_full(member.name, free, total, int(line.get("disk_reserve", 0)))

    def _is_full(self, member: Member) -> bool:
        line = member.line
        return "space" in (line.get("fault_codes") or ()) or is_nearly_full(
            int(line.get("disk_free", -1)),
            int(line.get("disk_total", -1)),
            int(line.get("disk_reserve", 0)),
        )


def is_nearly_full(free: int, total: int, reserve: int) -> bool:
    """Tell whether so few bytes are free that something should be done."""
    if free < 0:
        return False
    share = min(FREE_ENOUGH, FREE_SHARE * total) if total > 0 else 0
    return free < max(FREE_MIN, 2 * reserve, share)


def disk_full(who: str, free: int, total: int, reserve: int, where: str = "DATA-DIR") -> Finding:
    """Say that a disk is nearly full."""
    evidence = f"{free / MIB:.0f} MiB of {total / MIB:.0f} MiB are free"
    rest = f"; with less than {reserve / MIB:.0f} MiB no new data is taken (--disk-reserve-mb)"
    return Finding(
        kinds.DISK_FULL,
        who,
        f"only {free / MIB:.0f} MiB are left where its data is",
        (evidence + (rest if reserve else ""),),
        (
            f"df -h {where}",
            f"du -xh --max-depth=1 {where}",
            "add space, or remove what is not uring's",
        ),
    )
