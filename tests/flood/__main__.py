"""``tox -e flood -- --minutes 10``: three nodes, one of them flooded; how are the others served?

First the well-behaved use the cluster alone, then under the flood, through the nodes that are not
flooded.  Afterwards: no election, their 99th percentile within three times what it was, and the
resident memory of the flooded node back within ten percent of what it was, once the attackers are
gone, although all three keep some of what the well-behaved have written meanwhile.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ProcessProtocol, connectionDone
from twisted.internet.task import deferLater, react
from twisted.python import usage
from twisted.python.failure import Failure

from contrib import Cluster, RaftClient, UringServer
from contrib.cluster import Node
from tests.flood.attackers import Attack
from tests.integration.base import free_ports
from uring.errors import UringError

ROOT = Path(__file__).parents[2]
PAUSE_SECONDS = 0.05
"""Between two requests of one well-behaved client."""
CLIENTS = 4
"""Well-behaved ones at each node that is not flooded."""
QUIET_SECONDS = 30.0
REST_SECONDS = 100.0
"""After the flood, for idle connections to be closed."""
FACTOR_MAX = 3.0
GROWTH_MAX = 1.10


class Options(usage.Options):
    """The command line."""

    optParameters = [
        ["minutes", "m", 10.0, "How long to flood", float],
        ["target", "t", "follower", "Whom: leader or follower"],
    ]


class Attacker(ProcessProtocol):
    """One process of attackers."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def processEnded(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


@define
class Flood:
    """One run."""

    reactor: Any
    cluster: Cluster
    minutes: float
    times: list[float] = field(factory=list)
    errors: list[str] = field(factory=list)

    async def use(self, clients: list[RaftClient], seconds: float) -> list[float]:
        """Let the well-behaved work; return what each request took, in seconds, sorted."""
        self.times = []
        end = self.reactor.seconds() + seconds
        work = [
            Deferred.fromCoroutine(self._work(RaftClient(_port(client)), number, end))
            for client in clients
            for number in range(CLIENTS)
        ]
        await DeferredList(work, consumeErrors=True)
        return sorted(self.times)

    async def _work(self, client: RaftClient, number: int, end: float) -> None:
        turn = 0
        while self.reactor.seconds() < end:
            began = self.reactor.seconds()
            turn += 1
            try:
                if turn % 2:
                    await client.put(f"good-{client.address}-{number}", str(turn))
                else:
                    await client.get(f"good-{client.address}-{number}")
            except UringError as error:
                self.errors.append(f"{type(error).__name__}: {error}")
            self.times.append(self.reactor.seconds() - began)
            await deferLater(self.reactor, PAUSE_SECONDS, lambda: None)
        await client.close()

    def attack(self, port: int, seconds: float) -> list[Attacker]:
        """Start the attackers; they end by themselves."""
        attackers = []
        for kind, _ in Attack.KINDS:
            attacker = Attacker()
            words = [sys.executable, "-m", "tests.flood.attackers", kind, str(port)]
            self.reactor.spawnProcess(
                attacker,
                sys.executable,
                [*words, str(seconds)],
                env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin"},
                path=str(ROOT),
            )
            attackers.append(attacker)
        return attackers

    async def terms(self) -> list[tuple[int, int]]:
        """Return term and leader as every node sees them."""
        found = [await client.status() for client in self.cluster.clients]
        return [(each["term"], each["leader"]) for each in found]


def _port(client: RaftClient) -> int:
    return int(client.address.rpartition(":")[2])


def p99(times: list[float]) -> float:
    """Return the 99th percentile of sorted ``times``, in milliseconds."""
    return 1000 * times[int(len(times) * 0.99)] if times else float("nan")


def memory(servers: list[UringServer]) -> list[int]:
    """Return the resident bytes of each process."""
    pages = [Path(f"/proc/{each.pid()}/statm").read_text().split()[1] for each in servers]
    return [int(each) * resource.getpagesize() for each in pages]


async def run(reactor: Any, words: list[str]) -> None:
    """Run it, print what came of it, and exit with 1 if it is not good enough."""
    options = Options()
    options.parseOptions(words)
    with tempfile.TemporaryDirectory() as directory:
        nodes = [Node(port, n, n == 1) for n, port in enumerate(free_ports(3), 1)]
        cluster = Cluster(nodes, directory, reactor=reactor)
        await cluster.start()
        await cluster.join()
        try:
            flood = Flood(reactor, cluster, options["minutes"])
            outcome = await measure(flood, options["target"])
        finally:
            await cluster.stop()
    print(f"flooded: the {options['target']}, for {flood.minutes:g} minutes")
    outcome.show()
    if not all(outcome.checks().values()):
        raise SystemExit(1)


@frozen
class Outcome:
    """What one run found: times in ms, memory in bytes."""

    quiet: float
    flooded: float
    later: float
    held: list[int]
    """Of each node before, the flooded one first; meanwhile; and after."""
    peak: list[int]
    kept: list[int]
    before: list[tuple[int, int]]
    after: list[tuple[int, int]]
    errors: list[str]

    def checks(self) -> dict[str, bool]:
        """Return what must hold, and whether it does."""
        return {
            "no election": self.before == self.after,
            f"p99 within {FACTOR_MAX:g} x": self.flooded <= FACTOR_MAX * self.quiet,
            "memory back within 10 %": self.kept[0] <= GROWTH_MAX * self.held[0],
            "no errors": not self.errors,
        }

    def show(self) -> None:
        """Print everything."""
        print(
            f"p99 of others, ms: {self.quiet:.1f} before, {self.flooded:.1f} meanwhile, "
            f"{self.later:.1f} after"
        )
        for name, sizes in (("before", self.held), ("meanwhile", self.peak), ("after", self.kept)):
            print(f"memory {name}, MiB:", *(f"{each / (1 << 20):.1f}" for each in sizes))
        print(f"terms and leaders: {self.before} before, {self.after} after")
        print(f"errors of others: {len(self.errors)}", *sorted(set(self.errors))[:5], sep="\n  ")
        for name, is_met in self.checks().items():
            print(f"{'ok  ' if is_met else 'FAIL'} {name}")


async def measure(flood: Flood, target: str) -> Outcome:
    """Let others use the cluster: alone, while a node is flooded, and afterwards."""
    cluster = flood.cluster
    await cluster.clients[0].put("flood", "v" * 100)
    await cluster.clients[0].put("flood-large", "v" * 500_000)
    ((_, leader), *_) = await flood.terms()
    leads = [client.node_id == leader for client in cluster.clients]
    victim = leads.index(target == "leader")
    port = _port(cluster.clients[victim])
    servers = [cluster.servers[victim], *(s for s in cluster.servers if s.port != port)]
    good = [client for n, client in enumerate(cluster.clients) if n != victim]
    quiet = p99(await flood.use(good, QUIET_SECONDS))
    before, held = await flood.terms(), memory(servers)  # of a node that knows no flood yet
    flood.errors.clear()
    attackers = flood.attack(port, flood.minutes * 60)
    flooded = p99(await flood.use(good, flood.minutes * 60))
    errors, peak = list(flood.errors), memory(servers)
    await DeferredList([each.ended for each in attackers])
    later = p99(await flood.use(good, REST_SECONDS))
    after, kept = await flood.terms(), memory(servers)
    return Outcome(quiet, flooded, later, held, peak, kept, before, after, errors)


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, sys.argv[1:])))
