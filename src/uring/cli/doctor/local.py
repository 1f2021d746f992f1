"""What stands in the way of a node on this machine, running or not: port, directory, disk, files
of certificates and secrets."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define
from twisted.python.usage import UsageError

from uring.cli.doctor import findings as kinds
from uring.cli.doctor.addresses import port_taken
from uring.cli.doctor.findings import Finding
from uring.cli.doctor.members import MIB, SLOW_MS, disk_full, is_nearly_full
from uring.cli.doctor.picture import Picture
from uring.cli.doctor.procfs import Machine, Process, is_here
from uring.client.tls import SECURE
from uring.diskprobe import measure
from uring.options import Options, Settings, split_host_port
from uring.peers.address import advertised
from uring.security import secure

LOCK = "LOCK"
LOG = "log"
INODES_MIN = 100
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def settings_of(words: Sequence[str]) -> Settings:
    """Return what a node's command line says, whatever stands before its options.

    Raises ValueError.
    """
    given = list(words)
    if "uring" in given:
        given = given[given.index("uring") + 1 :]
    options = Options()
    try:
        options.parseOptions(given)
    except UsageError as problem:
        raise ValueError(str(problem)) from None
    return options.settings


def endpoints(settings: Settings) -> list[str]:
    """Return the addresses at which the node, and those that it is to know, can be asked."""
    found = []
    scheme = ""
    for endpoint in (settings.endpoint, settings.http):
        where = None if endpoint is None else listening(endpoint)
        if endpoint is not None and where is not None:
            scheme = SECURE if endpoint.startswith("ssl:") else ""
            found.append(scheme + _join(*where))
    found += [scheme + peer for peer in settings.peers if split_host_port(peer) is not None]
    return found


def listening(endpoint: str) -> tuple[str, int] | None:
    """Return host and port of what a node listens on, None if that is no TCP port."""
    plain = split_host_port(endpoint)
    if plain is not None and not endpoint.startswith(("tcp:", "ssl:")):
        return _WILDCARDS.get(plain[0], plain[0]), plain[1]
    try:
        host, _, port = advertised(endpoint).rpartition(":")
    except ValueError:
        parts = endpoint.split(":")
        if (
            parts[0] not in ("tcp", "tcp4", "tcp6", "ssl")
            or not parts[1:2]
            or not parts[1].isdecimal()
        ):
            return None
        host, port = "127.0.0.1", parts[1]
    host = host.strip("[]")
    return _WILDCARDS.get(host, host), int(port)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@define
class Local:
    """One node's place on this machine."""

    settings: Settings
    machine: Machine
    reactor: Any

    @property
    def path(self) -> Path:
        """The data directory."""
        return Path(self.settings.data_dir).absolute()

    @property
    def name(self) -> str:
        """The node and where it is kept."""
        return f"node {self.settings.node_id} ({self.path})"

    @property
    def runs(self) -> Process | None:
        """The process that has the data directory open."""
        return self.machine.lock_holder(self.path / LOCK)

    def examine(self, picture: Picture, others: Sequence[Finding]) -> list[Finding]:
        """Return what is wrong, here and (``others``) with the cluster.  May block for a second."""
        found = [
            *self._configuration(),
            *self._ports(picture),
            *self._wiped(picture),
            *self._directory(),
        ]
        known = {each.kind for each in found}
        itself = f"node {self.settings.node_id} ("
        own = endpoints(self.settings)[:1]
        for finding in others:
            is_same = finding.kind in known and finding.subject.startswith(itself)
            if not is_same and not (finding.kind == kinds.UNREACHABLE and finding.subject in own):
                found.append(finding)
        if self.runs is None and not any(each.kind == kinds.MEMBER_DOWN for each in found):
            found += self._not_running(in_the_way=known)
        return found

    def _not_running(self, in_the_way: set[str]) -> Iterator[Finding]:
        text = "no process has its data directory open"
        if not in_the_way:
            text += ", and nothing here stands in the way of its start"
        start = f"twistd -n uring -e {self.settings.endpoint} -i {self.settings.node_id}"
        advice = f"{start} -d {self.path}  # and its other options; or: systemctl start uring"
        yield Finding(kinds.NOT_RUNNING, self.name, text, next=(advice,))

    def _configuration(self) -> Iterator[Finding]:
        try:
            secure(self.settings, self.reactor)
            advertised(self.settings.advertise or self.settings.endpoint)
        except (ValueError, OSError) as problem:
            advice = ("twist uring --check-config  # with the node's options",)
            yield Finding(kinds.CONFIGURATION, self.name, str(problem), next=advice)

    # -- ports -----------------------------------------------------------------------------------

    def _ports(self, picture: Picture) -> Iterator[Finding]:
        for endpoint in (self.settings.endpoint, self.settings.http):
            where = None if endpoint is None else listening(endpoint)
            if where is not None:
                yield from self._port(picture, *where)

    def _port(self, picture: Picture, host: str, port: int) -> Iterator[Finding]:
        address, problem = _join(host, port), cannot_listen(host, port)
        if problem is None:
            return
        if problem.errno != errno.EADDRINUSE:
            advice = {
                errno.EADDRNOTAVAIL: "ip -brief address",
                errno.EACCES: "sysctl net.ipv4.ip_unprivileged_port_start  # or a higher port",
            }
            yield Finding(
                kinds.CONFIGURATION,
                address,
                f"nobody can listen there: {problem.strerror}",
                next=(advice.get(problem.errno or 0, "ip -brief address"),),
            )
            return
        listener, runs = self.machine.listener(host, port), self.runs
        if listener is not None and runs is not None and listener.pid == runs.pid:
            return  # it is the node itself
        there = picture.at(address)
        detail = ""
        if there is not None and there.answered:
            is_itself = there.id == self.settings.node_id and runs is not None
            if is_itself and listener is not None and not listener.pid:
                return  # whose processes we may not see; the node has said who it is
            detail = f"node {there.id} of cluster {there.cluster or '(none)'} answers"
        yield port_taken(address, listener, detail)

    # -- the directory ---------------------------------------------------------------------------

    def _wiped(self, picture: Picture) -> Iterator[Finding]:
        """Before the start: the directory is empty, and the cluster knows the node with another."""
        if (self.path / LOG).exists():
            return
        for cluster in picture.clusters:
            member = cluster.members.get(self.settings.node_id)
            if member is None or not member.instance or member.is_alive:
                continue
            at = cluster.witness()
            yield Finding(
                kinds.WIPED,
                member.name,
                "its data directory is empty, and the cluster knows it with data",
                (
                    f"{self.path} holds no log",
                    f"{cluster.name} knows it with the data directory {member.instance[:8]}",
                    "if the disk is only not mounted: mount it first",
                ),
                (
                    f"uring -e {at.address} members remove {member.id}",
                    "start it with --peer, without --bootstrap",
                    f"uring -e {at.address} members add {member.id}",
                ),
            )
            return

    def _directory(self) -> Iterator[Finding]:
        place = next(each for each in (self.path, *self.path.parents) if each.exists())
        if not place.is_dir():
            text = f"{place} is no directory"
            yield Finding(kinds.DIRECTORY, self.name, text, next=(f"ls -l {place}",))
            return
        full = list(self._space(place))
        yield from full
        try:
            taken = [1000 * each for each in measure(place, time.perf_counter)]
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                advice = (f"ls -ld {place}; findmnt -T {place}",)
                text = f"nothing can be written to {place}: {problem.strerror}"
                yield Finding(kinds.DIRECTORY, self.name, text, next=advice)
            elif not full:
                yield self._full(place)
            return
        if median(taken) >= SLOW_MS:
            shown = ", ".join(f"{each:.0f}" for each in taken)
            yield Finding(
                kinds.SLOW_DISK,
                self.name,
                "its disk is slow",
                (f"synced writes of 4 KiB to {place} take {shown} ms",),
                (f"dd if=/dev/zero of={place}/x bs=4k count=100 oflag=dsync", "iostat -x 1"),
            )

    def _space(self, place: Path) -> Iterator[Finding]:
        found, inodes = shutil.disk_usage(place), os.statvfs(place)
        if is_nearly_full(found.free, found.total, self.settings.disk_reserve_mb * MIB):
            yield self._full(place)
        elif inodes.f_files and inodes.f_favail < INODES_MIN:
            yield Finding(
                kinds.DISK_FULL,
                self.name,
                "hardly any file can be made where its data is",
                (f"{inodes.f_favail} of {inodes.f_files} inodes are free",),
                (f"df -i {place}",),
            )

    def _full(self, place: Path) -> Finding:
        found, reserve = shutil.disk_usage(place), self.settings.disk_reserve_mb * MIB
        return disk_full(self.name, found.free, found.total, reserve, str(place))


def cannot_listen(host: str, port: int) -> OSError | None:
    """Return why nobody could listen there, None if somebody could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As a node's own listener does: a port that only waits for old packets is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror as problem:
            return OSError(errno.EADDRNOTAVAIL, str(problem))
        except OSError as problem:
            return problem
    return None


def listener_of(machine: Machine, address: str) -> Process | None:
    """Return who listens at ``address``, if it is one of this machine."""
    parts = split_host_port(address)
    if parts is None or not is_here(parts[0]):
        return None
    return machine.listener(*parts)
