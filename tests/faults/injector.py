"""What every fault needs: whom to do it to, how long, and that it is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, TypeAlias

from attrs import define, frozen
from twisted.internet.defer import Deferred, FirstError, gatherResults

from tests.faults.history import Fault, History, now
from tests.faults.nodes import Cluster, Slot
from uring.errors import UringError


@define(eq=False)
class Injector:
    """Does one fault after the other to a cluster; another one may be at work beside it."""

    cluster: Cluster
    history: History
    random: Random
    lane: int

    @contextmanager
    def doing(
        self, kind: str, detail: str, slots: Iterable[Slot], down: int | None = None
    ) -> Iterator[Fault]:
        """Write a fault down; it counts as undone at the end of the block.

        ``down`` says how many of the slots' nodes are missed at a time, if not all of them.
        """
        slots, leader = list(slots), self.cluster.leader()
        members = self.cluster.inhabited()
        hit = [slot for slot in slots if slot in members]
        fault = Fault(kind, detail, now(), self.lane, leader=leader in hit)
        fault.down = len(hit) if down is None else down
        fault.members = len(members)
        names = ", ".join(
            f"{slot.number} (leader)" if slot is leader else str(slot.number) for slot in slots
        )
        self.history.note(f"{kind} {detail} [{names}]")
        self.history.faults.append(fault)
        try:
            yield fault
        finally:
            fault.ended = now()

    def victims(self, *whom: str) -> list[Slot]:
        """Return members chosen by one of the words: one, leader, few, most, all."""
        members, leader = self.cluster.inhabited(), self.cluster.leader()
        word, count = self.random.choice(whom), len(members)
        chosen = self.random.sample(members, count)
        if leader is not None and word != "one":
            chosen.remove(leader)
            chosen.insert(0, leader)
        minority = (count - 1) // 2
        sizes = {"one": 1, "leader": 1, "few": max(1, minority), "most": minority + 1, "all": count}
        return chosen[: sizes[word]]

    async def pause(self, low: float, high: float) -> None:
        """Let some time pass."""
        await self.cluster.sleep(self.random.uniform(low, high))

    async def each(self, slots: Iterable[Slot], do: Callable[[Slot], Awaitable[Any]]) -> None:
        """Do something to several at the same time."""
        work = [Deferred.fromCoroutine(_awaited(do(slot))) for slot in slots]
        try:
            await gatherResults(work, consumeErrors=True)
        except FirstError as first:
            first.subFailure.raiseException()

    async def serving(self, slot: Slot) -> None:
        """Wait until a node that was started answers."""

        async def answers() -> bool:
            if slot.server is not None and not slot.server.running and slot.excused:
                return True
            try:
                return bool(await slot.admin.status())
            except UringError:
                return False

        await self.cluster.until(f"the start of node {slot.node_id}", answers)


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


Inject: TypeAlias = Callable[[Injector], Awaitable[None]]


@frozen
class Kind:
    """One kind of fault."""

    name: str
    lane: int
    """Faults of one lane come one after the other, those of two lanes at the same time."""
    needs: str
    """What must be possible for it: "", cuts, delays, throttles, power, space."""
    weight: float
    inject: Inject


KINDS: dict[str, Kind] = {}
PROCESSES, SURROUNDINGS = 0, 1
"""The lanes."""


def kind(name: str, lane: int, needs: str = "", weight: float = 1.0) -> Callable[[Inject], Inject]:
    """Enter a function in :data:`KINDS`."""

    def enter(inject: Inject) -> Inject:
        KINDS[name] = Kind(name, lane, needs, weight, inject)
        return inject

    return enter
