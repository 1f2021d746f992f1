"""Asking nodes: what came of it, and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve, field, frozen
from twisted.internet import defer
from twisted.internet import error as network
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from uring.client import Client
from uring.client.answers import ProtocolError
from uring.client.tls import SECURE
from uring.errors import BadRequest, Forbidden, NotFound, TooManyFailures, Unauthorized, UringError

Connect = Callable[[str], Client]
T = TypeVar("T")

ANSWERED = "answered"
REFUSED = "refused"
"""Nobody listens there."""
SILENT = "silent"
"""The connection, or the answer, did not come in time."""
UNAUTHORIZED = "unauthorized"
TLS = "tls"
FOREIGN = "foreign"
"""Who answers is no node."""
UNREACHABLE = "unreachable"

RECENT_SECONDS = 5.0
"""Nodes try to connect again every two seconds: what was not met since is over."""
ADDRESSES_MAX = 200
"""More are not asked: a cluster has some members, and lists come from strangers."""

_OF_CLUSTER = re.compile(r"\]member ok: node (\d+) of cluster ([0-9a-f]{32})")


@frozen
class Sight:
    """What one address answered."""

    address: str
    named: bool
    """Whether the operator named it; others are looked at because a node did."""
    outcome: str = ANSWERED
    detail: str = ""
    status: Mapping[str, Any] = field(factory=dict)
    lines: tuple[Mapping[str, Any], ...] = ()
    """Of GET /cluster."""
    clock: tuple[float, float] | None = None
    """By how much its wall clock is ahead of ours, and how sure that is, in seconds."""
    served: str | None = None
    """Why it could not answer a linearizable read; empty if it could, None if it was not asked."""
    writes_ms: tuple[float, ...] = ()
    """What synced writes to its disk took,"""
    no_write: str = ""
    """or why none could be made."""
    checks: tuple[str, ...] = ()
    """Of GET /readyz, those that failed, where that is all that it tells us."""
    hint: tuple[int, str] | None = None
    """Node and cluster, where it told them without knowing who asks."""

    @property
    def answered(self) -> bool:
        """Whether it told how it is."""
        return self.outcome == ANSWERED

    @property
    def id(self) -> int:
        """Who it is, 0 if unknown."""
        return int(self.status.get("id") or (self.hint[0] if self.hint else 0))

    @property
    def cluster(self) -> str:
        """The cluster that it belongs to, empty if none or unknown."""
        return str(self.status.get("cluster") or (self.hint[1] if self.hint else ""))

    @property
    def instance(self) -> str:
        """The instance of its data directory, empty if unknown."""
        return str(self.status.get("instance") or "")

    @property
    def own(self) -> Mapping[str, Any]:
        """What it says of itself."""
        return next((line for line in self.lines if line.get("id") == self.id), {})

    @property
    def problems(self) -> list[Mapping[str, Any]]:
        """Why others are not connected to it, at this moment."""
        told = [each for each in self.status.get("peer_problems") or () if isinstance(each, dict)]
        return [each for each in told if float(each.get("age", 0)) <= RECENT_SECONDS]


async def look(connect: Connect, address: str, named: bool, probe: bool = True) -> Sight:
    """Ask one address all there is to know; ``probe`` its disk, too."""
    client = connect(address)
    sight = Sight(address, named)
    try:
        status = await client.status()
        if not isinstance(status, dict) or "role" not in status:
            return evolve(sight, outcome=FOREIGN, detail="its answer is not that of a node")
        sight = evolve(sight, status=status)
        before = time.time()
        lines = await client.cluster()
        after = time.time()
        sight = evolve(sight, lines=tuple(line for line in lines if isinstance(line, dict)))
        sight = evolve(sight, clock=_clock(sight, before, after))
        served, measured = await together(
            _tried(client.ring_size()), _tried(client.probe_disk() if probe else _nothing())
        )
        writes_ms = tuple(measured[0] or ())
        return evolve(sight, served=served[1], writes_ms=writes_ms, no_write=measured[1])
    except UringError as error:
        outcome, detail = classified(error)
        sight = evolve(sight, outcome=outcome, detail=detail)
        return await _without_token(client, sight) if outcome == UNAUTHORIZED else sight
    finally:
        await client.close()


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Return what all of ``work`` comes to, done at the same time."""
    started: list[Deferred[Any]] = [Deferred.fromCoroutine(each) for each in work]
    return await gatherResults(started, consumeErrors=True)


async def look_at_all(connect: Connect, addresses: Iterable[str], named: bool) -> list[Sight]:
    """Look at several addresses at the same time."""
    return await together(*(look(connect, each, named) for each in addresses))


async def look_again(connect: Connect, sights: Sequence[Sight]) -> list[Sight]:
    """Ask those that answered once more; what their disks take is known."""

    async def again(sight: Sight) -> Sight:
        if not sight.answered:
            return sight
        newer = await look(connect, sight.address, sight.named, probe=False)
        if not newer.answered:
            return sight
        return evolve(newer, writes_ms=sight.writes_ms, no_write=sight.no_write)

    return await together(*map(again, sights))


def others(sights: Sequence[Sight]) -> list[str]:
    """Return the addresses that nodes speak of and that were not looked at yet."""
    known = {plain(sight.address) for sight in sights}
    found: dict[str, str] = {}
    for sight in sights:
        scheme = SECURE if sight.address.startswith(SECURE) else ""
        spoken_of = [each.get("address") for each in (*sight.lines, *sight.problems)]
        for address in spoken_of:
            if isinstance(address, str) and _ADDRESS.fullmatch(address) and address not in known:
                found.setdefault(address, scheme + address)
    return list(found.values())[:ADDRESSES_MAX]


_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")


def plain(address: str) -> str:
    """Return the address without what says that it speaks TLS."""
    return address.removeprefix(SECURE)


def classified(error: UringError) -> tuple[str, str]:
    """Return what kind of failure ``error`` is, and what it says."""
    cause = error.__cause__
    reasons = [cause, *(each.value for each in getattr(cause, "reasons", ()))]
    text = str(error)
    if isinstance(error, Unauthorized | Forbidden | TooManyFailures):
        return UNAUTHORIZED, text
    if any(isinstance(each, network.ConnectionRefusedError) for each in reasons):
        return REFUSED, "connection refused: nobody listens there"
    if "TLS failed" in text or "certificate" in text or "use https://" in text:
        return TLS, text
    if any(isinstance(each, _TOO_LATE) for each in reasons):
        return SILENT, "no answer in time"
    if isinstance(error, BadRequest | NotFound | ProtocolError):
        return FOREIGN, f"its answer is not that of a node ({text[:100]})"
    if type(cause).__name__ in ("ResponseFailed", "ResponseNeverReceived"):
        return FOREIGN, f"its answer is not that of a node ({text[:100]})"
    return UNREACHABLE, text


_TOO_LATE = (defer.TimeoutError, CancelledError, network.TimeoutError, network.TCPTimedOutError)


async def _without_token(client: Client, sight: Sight) -> Sight:
    """Learn what a node tells everybody."""
    try:
        lines = (await client.checks()).splitlines()
    except UringError:
        return sight
    found = next(filter(None, map(_OF_CLUSTER.search, lines)), None)
    return evolve(
        sight,
        checks=tuple(line[3:] for line in lines if line.startswith("[-]")),
        hint=None if found is None else (int(found[1]), found[2]),
    )


async def _tried(work: Awaitable[T]) -> tuple[T | None, str]:
    """Return what ``work`` comes to, or why it fails."""
    try:
        return await work, ""
    except UringError as error:
        return None, str(error) or type(error).__name__


async def _nothing() -> list[float]:
    return []


def _clock(sight: Sight, before: float, after: float) -> tuple[float, float] | None:
    """Return how far its clock is ahead of ours, which was read before and after asking."""
    wall = sight.own.get("wall_time") or 0.0
    if not wall:
        return None
    return float(wall) - (before + after) / 2, (after - before) / 2
