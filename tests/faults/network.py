"""Where the nodes listen: each in a network namespace on a bridge, or all on loopback."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from shutil import which
from typing import Protocol

from attrs import define, field

from contrib.cluster import PortTaken
from tests.faults.sandbox import run, works
from tests.integration.base import free_ports

HUB = "10.77.0.254"
"""The clients' address on the bridge; the namespaces lead nowhere else."""
PORT = 8080


class Network(Protocol):
    """What the faults need of a network."""

    cuts: bool
    """Whether packets can be dropped."""
    delays: bool
    """Whether packets can be delayed and reordered (tc netem)."""
    throttles: bool
    """Whether a link can be made slow (tc tbf)."""

    def add(self, slot: int) -> tuple[str, int, list[str]]:
        """Make a place for a node; return host, port, and the words to start a command with."""
        ...

    def drop(self, source: int, target: int) -> None:
        """Drop every packet from one node to another."""
        ...

    def lose(self, slots: Iterable[int], share: float) -> None:
        """Drop this share of the packets that reach these nodes from other nodes."""
        ...

    def delay(self, slots: Iterable[int], milliseconds: int, reordered: int) -> None:
        """Delay what these nodes send, and let ``reordered`` percent overtake the rest."""
        ...

    def throttle(self, slots: Iterable[int], kilobits: int) -> None:
        """Let these nodes send no more than so much a second; what waits too long is dropped."""
        ...

    def plug(self, slot: int, connected: bool) -> None:
        """Connect or disconnect a node, from its clients as well."""
        ...

    def seal(self, slot: int) -> None:
        """Cut a node off from all others, until ``unseal``; ``heal`` leaves it as it is."""
        ...

    def unseal(self, slot: int) -> None:
        """Undo ``seal``."""
        ...

    def heal(self) -> None:
        """Undo every drop, loss, delay and disconnection."""
        ...


def _bucket(kilobits: int) -> tuple[str, ...]:
    """Return the parameters of a token bucket; a packet waits for half a second at the most."""
    return "rate", f"{kilobits}kbit", "burst", "4kb", "latency", "500ms"


@define
class Loopback:
    """All nodes on 127.0.0.1; nothing can be done to the packets."""

    cuts: bool = field(default=False, init=False)
    delays: bool = field(default=False, init=False)
    throttles: bool = field(default=False, init=False)

    def add(self, slot: int) -> tuple[str, int, list[str]]:
        # In a sandbox no node can outlive the run; here the kernel must be asked for that.
        ends = ["setpriv", "--pdeathsig", "KILL"] if which("setpriv") else []
        return "127.0.0.1", free_ports(1)[0], ends

    def drop(self, source: int, target: int) -> None:
        raise NotImplementedError

    def lose(self, slots: Iterable[int], share: float) -> None:
        raise NotImplementedError

    def delay(self, slots: Iterable[int], milliseconds: int, reordered: int) -> None:
        raise NotImplementedError

    def throttle(self, slots: Iterable[int], kilobits: int) -> None:
        raise NotImplementedError

    def plug(self, slot: int, connected: bool) -> None:
        raise NotImplementedError

    def seal(self, slot: int) -> None:
        raise NotImplementedError

    def unseal(self, slot: int) -> None:
        raise NotImplementedError

    def heal(self) -> None:
        """Do nothing: nothing was done."""


@define
class Namespaces:
    """A bridge, and each node behind a pair of interfaces in a namespace of its own.

    To be made inside the namespaces of :mod:`tests.faults.sandbox`, with which everything ends.
    """

    cuts: bool = field(default=True, init=False)
    delays: bool = field(default=False, init=False)
    throttles: bool = field(default=False, init=False)
    _slots: list[int] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        # Names of network namespaces are mounts below /run: this one is nobody else's.
        run("mount", "-t", "tmpfs", "none", "/run")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "hub", "type", "bridge")
        run("ip", "link", "set", "hub", "up")
        run("ip", "address", "add", f"{HUB}/24", "dev", "hub")
        run("iptables", "--list")
        self.delays = self._shapes("netem", "delay", "1ms")
        self.throttles = self._shapes("tbf", *_bucket(1000))

    def _shapes(self, *discipline: str) -> bool:
        """Tell whether this kernel has a queueing discipline."""
        if not works("tc", "qdisc", "add", "dev", "lo", "root", *discipline):
            return False
        run("tc", "qdisc", "del", "dev", "lo", "root")
        return True

    def add(self, slot: int) -> tuple[str, int, list[str]]:
        name, host = f"n{slot}", f"10.77.0.{slot}"
        if slot in self._slots:
            raise PortTaken(f"{host} is taken")
        run("ip", "netns", "add", name)
        peer = ("type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "add", f"v{slot}", *peer)
        run("ip", "link", "set", f"v{slot}", "master", "hub", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "address", "add", f"{host}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        for chain in ("faults", "sealed"):
            self._iptables(slot, "--new-chain", chain)
            self._iptables(slot, "--append", "INPUT", "--jump", chain)
        self._slots.append(slot)
        # Unlike "ip netns exec" this makes no copy of the mounts, which would keep disks mounted.
        return host, PORT, ["nsenter", f"--net=/run/netns/{name}"]

    def _iptables(self, slot: int, *words: str) -> None:
        run("nsenter", f"--net=/run/netns/n{slot}", "iptables", "--wait", *words)

    def drop(self, source: int, target: int) -> None:
        self._drop("faults", source, target)

    def _drop(self, chain: str, source: int, target: int, *conditions: str) -> None:
        words = ("--append", chain, "--source", f"10.77.0.{source}", *conditions, "--jump", "DROP")
        self._iptables(target, *words)

    def lose(self, slots: Iterable[int], share: float) -> None:
        chance = ("--match", "statistic", "--mode", "random", "--probability", f"{share:.3f}")
        for target, source in itertools.product(list(slots), self._slots):
            if source != target:
                self._drop("faults", source, target, *chance)

    def delay(self, slots: Iterable[int], milliseconds: int, reordered: int) -> None:
        spread = f"{max(1, milliseconds // 3)}ms"
        shape = ("delay", f"{milliseconds}ms", spread, "reorder", f"{reordered}%", "50%")
        for slot in slots:
            words = ("qdisc", "replace", "dev", "eth0", "root", "netem", *shape)
            run("tc", "-n", f"n{slot}", *words)

    def throttle(self, slots: Iterable[int], kilobits: int) -> None:
        for slot in slots:
            words = ("qdisc", "replace", "dev", "eth0", "root", "tbf", *_bucket(kilobits))
            run("tc", "-n", f"n{slot}", *words)

    def plug(self, slot: int, connected: bool) -> None:
        run("ip", "link", "set", f"v{slot}", "up" if connected else "down")

    def seal(self, slot: int) -> None:
        for other in self._slots:
            if other != slot:
                self._drop("sealed", other, slot)
                self._drop("sealed", slot, other)

    def unseal(self, slot: int) -> None:
        for other in self._slots:
            if other != slot:
                self._iptables(slot, "--delete", "sealed", *self._rule(other))
                self._iptables(other, "--delete", "sealed", *self._rule(slot))

    def _rule(self, source: int) -> tuple[str, ...]:
        return "--source", f"10.77.0.{source}", "--jump", "DROP"

    def heal(self) -> None:
        for slot in self._slots:
            self._iptables(slot, "--flush", "faults")
            self.plug(slot, True)
            if self.delays or self.throttles:
                works("tc", "-n", f"n{slot}", "qdisc", "del", "dev", "eth0", "root")
