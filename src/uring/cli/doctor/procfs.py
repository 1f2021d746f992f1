"""Which process listens at a port or holds a lock, as far as /proc tells this user."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from attrs import define, frozen

LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""
WORDS_MAX = 120
"""Of a command line, as shown."""
STOPPED = frozenset("Tt")


@frozen
class Process:
    """One process; ``pid`` is 0 where all that is known is ``uid``, whose it is."""

    pid: int
    command: str = ""
    state: str = ""
    uid: int | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped by a signal, or by a debugger."""
        return self.state in STOPPED

    @property
    def is_node(self) -> bool:
        """Whether it looks like a node of uring."""
        return "uring" in self.command

    @property
    def name(self) -> str:
        """The process in words."""
        if not self.pid:
            return f"a process of user {self.uid} (ask as root which one)"
        state = ", stopped" if self.is_stopped else ""
        return f"process {self.pid} ({self.command or '?'}{state})"


@define
class Machine:
    """The processes of this machine."""

    proc: Path = Path("/proc")

    def listener(self, host: str, port: int) -> Process | None:
        """Return the process that takes connections to ``host`` at ``port``."""
        for name in ("tcp", "tcp6"):
            for fields in self._table(self.proc / "net" / name):
                address, _, number = fields[1].rpartition(":")
                if fields[3] == LISTEN and int(number, 16) == port and _serves(address, host):
                    return self._owner(fields[9]) or Process(0, uid=int(fields[7]))
        return None

    def lock_holder(self, path: Path) -> Process | None:
        """Return the process that holds a lock on the file at ``path``."""
        try:
            found = path.stat()
            lines = (self.proc / "locks").read_text().splitlines()
        except OSError:
            return None
        device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for fields in map(str.split, lines):
            if "->" not in fields and len(fields) > 5 and fields[5] == device:
                return self.process(int(fields[4])) or Process(0, uid=found.st_uid)
        return None

    def process(self, pid: int) -> Process | None:
        """Return the process ``pid``, None if there is none that this user can see."""
        directory = self.proc / str(pid)
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
            # The name in parentheses may hold spaces and parentheses itself.
            state = (directory / "stat").read_text().rpartition(") ")[2][:1]
        except OSError:
            return None
        command = b" ".join(words).decode("utf-8", "replace").strip()
        shown = "".join(each if each.isprintable() else "?" for each in command)
        return Process(pid, shown[:WORDS_MAX], state)

    def _owner(self, inode: str) -> Process | None:
        target = f"socket:[{inode}]"
        for entry in self.proc.iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                handles = list((entry / "fd").iterdir())
            except OSError:  # another user's, or gone
                continue
            for handle in handles:
                try:
                    if os.readlink(handle) == target:
                        return self.process(int(entry.name))
                except OSError:
                    continue
        return None

    def _table(self, path: Path) -> Iterator[list[str]]:
        try:
            lines = path.read_text().splitlines()[1:]
        except OSError:
            return
        yield from (line.split() for line in lines)


def is_here(host: str) -> bool:
    """Tell whether ``host`` is an address of this machine.  Asks no name server."""
    if host in ("localhost", socket.gethostname()):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def _serves(address: str, host: str) -> bool:
    """Tell whether a socket at ``address``, as /proc/net/tcp has it, is reached by ``host``."""
    groups = [address[start : start + 8] for start in range(0, len(address), 8)]
    # Each group of four bytes is a number of this machine's byte order.
    found = ip_address(b"".join(int(group, 16).to_bytes(4, "little") for group in groups))
    if found.is_unspecified:
        return True
    mapped = getattr(found, "ipv4_mapped", None)
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host) in (found, mapped)
    except ValueError:
        return host == socket.gethostname()
