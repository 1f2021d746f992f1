"""Clients that read and write a few hot keys: by REST, by WebSocket, and with repetitions."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.task import deferLater

from tests.faults.history import Call, History, answered, now
from tests.sim.linearizable import UNTOLD, Kind
from uring.client import Client, WebSocketSession
from uring.errors import UringError

PATIENCE = 4.0
"""Seconds after which a client hangs up.  Nodes that hang are the reason, not slow ones."""
BACK_OFF = 0.1
"""Mean seconds that a client waits after a call that was not answered."""
KINDS: tuple[Kind, ...] = ("get",) * 8 + ("put",) * 6 + ("cas",) * 5 + ("delete",)


class Door(Protocol):
    """One way to ask one node."""

    async def ask(self, call: Call) -> Any:
        """Return the answer as :class:`Operation` wants it; raise UringError if there is none."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


@define(eq=False)
class RestDoor:
    """HTTP requests over kept connections, to one node or to whichever serves."""

    client: Client

    async def ask(self, call: Call) -> Any:
        if call.kind == "get":
            return await self.client.get(call.key)
        if call.kind == "put":
            await self.client.put(call.key, call.argument or "")
            return UNTOLD
        if call.kind == "delete":
            return await self.client.delete(call.key)
        swap = await self.client.cas(call.key, call.check, call.argument or "")
        return swap.stored, swap.current

    async def close(self) -> None:
        await self.client.close()


@define(eq=False)
class SocketDoor:
    """Commands over one WebSocket, opened again when it is lost."""

    client: Client
    _session: WebSocketSession | None = field(default=None, init=False)

    async def ask(self, call: Call) -> Any:
        session = self._session
        if session is None or session.closed.called:
            session = self._session = await self.client.connect_websocket()
        if call.kind == "get":
            return await session.get(call.key)
        if call.kind == "put":
            return await session.put(call.key, call.argument or "")
        if call.kind == "delete":
            return await session.delete(call.key)
        fields = {"key": call.key, "check": call.check, "store": call.argument}
        reply = await session.request_as("KV", "Cas", **fields)
        return reply.code == 201, reply.expect(201, 409).data

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self.client.close()


@define(eq=False)
class HistoryClient:
    """Does one thing after the other, and remembers what it was told."""

    id: int
    history: History
    addresses: Callable[[], dict[int, str]]
    """Slots of the nodes that may be asked, and where they listen."""
    random: Random
    reactor: Any
    pause: float
    """Mean seconds between an answer and the next call."""
    stopping: bool = False
    _doors: dict[str, Door] = field(factory=dict, init=False)
    _avoid: dict[int, int] = field(factory=dict, init=False)
    """Nodes that did not answer, and until when to go elsewhere."""
    _seen: dict[str, str | None] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)

    async def run(self) -> None:
        """Go on until ``stopping``."""
        while not self.stopping:
            slot = self._choose()
            if slot:
                call = self._next(slot)
                slot = slot if await self.ask(call, self.door(slot, call.door)) else 0
            pause = self.random.expovariate(1 / (self.pause if slot else BACK_OFF))
            await deferLater(self.reactor, pause)
        for door in self._doors.values():
            await door.close()

    def _choose(self) -> int:
        """Return a slot, mostly one that answered lately; 0 if there is none.

        The first clients ask one node each and no other: all of them would be waiting for a node
        that hangs otherwise, and nobody would notice that the others serve.
        """
        slots = sorted(self.addresses())
        if self.id in slots:
            return self.id
        if self.random.random() < 0.9:
            at = now()
            slots = [slot for slot in slots if self._avoid.get(slot, 0) < at] or slots
        return self.random.choice(slots) if slots else 0

    def door(self, slot: int, kind: str) -> Door:
        """Return the connection of one kind to one node.

        "repeat" goes on to other nodes, with writes of unknown outcome, too: under an idempotency
        key, so that they happen once.
        """
        addresses = self.addresses()
        chosen = [addresses.pop(slot, "127.0.0.1:1")]
        options: dict[str, Any] = {"timeout": PATIENCE}
        if kind == "repeat":
            chosen += addresses.values()
            options = {"timeout": PATIENCE / 2, "patience": PATIENCE, "repeat": True}
        name = f"{kind} {' '.join(chosen)}"
        if name not in self._doors:
            client = Client(*chosen, reactor=self.reactor, **options)
            self._doors[name] = SocketDoor(client) if kind == "socket" else RestDoor(client)
        return self._doors[name]

    def _next(self, slot: int) -> Call:
        """Return the next thing to do."""
        self._count += 1
        pinned = self.id == slot
        door = self.random.choice(("rest", "socket") if pinned else ("rest", "socket", "repeat"))
        if self.random.random() < 0.04:
            return Call(self.id, self.history.old_key(), "get", 0, node=slot, door=door)
        key, kind = self.history.key(), self.random.choice(KINDS)
        value = f"{self.id}.{self._count}" if kind in ("put", "cas") else None
        check = self._seen.get(key) if kind == "cas" else None
        return Call(self.id, key, kind, 0, value, check, node=slot, door=door)

    async def ask(self, call: Call, door: Door) -> bool:
        """Make one call and note it; tell whether it was answered."""
        call.called = now()
        self.history.call(call)
        try:
            answer = await door.ask(call)
        except UringError as problem:
            self._failed(call, problem)
            return False
        except Exception as problem:
            self.history.violated(f"{call}: {type(problem).__name__}: {problem}")
            return False
        answered(call, answer)
        self.history.codes[f"{call.door} {call.kind}"] += 1
        if call.kind == "cas":
            self._seen[call.key] = call.argument if answer[0] else answer[1]
        else:
            self._seen[call.key] = answer if call.kind == "get" else call.argument
        return True

    def _failed(self, call: Call, problem: UringError) -> None:
        name = type(problem).__name__
        self.history.codes[name] += 1
        call.refused = problem.definite
        self.history.unanswered(call, f"{name}: {problem}")
        self._avoid[call.node] = now() + int(0.3e9 if problem.definite else 1.5e9)
        if problem.code not in (503, 504, 507):
            self.history.violated(f"{call} through node {call.node}: {problem.code} {problem}")
