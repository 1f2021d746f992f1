"""Clients that write, read, retry, hang up and come back; all they were told is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from tests.sim.linearizable import Operation
from uring.errors import UringError
from uring.machines.commands import Cas, Command, Delete, Get, Old, Put, Swapped

if TYPE_CHECKING:
    from tests.sim.world import Life, World

KEYS = ("a", "b", "c")
PATIENCE = 3.0
"""Seconds after which a client hangs up; the node's own time-out is shorter."""


@define(eq=False)
class Asked:
    """One call under way."""

    operation: Operation
    life: Life
    settled: bool = False
    hung_up: bool = False


@define(eq=False)
class Client:
    """One after the other: it does something only when it knows how the last thing ended."""

    world: World
    id: int
    asked: Asked | None = field(default=None, init=False)
    random: Any = field(init=False)
    _count: int = field(default=0, init=False)
    _finishing: bool = field(default=False, init=False)
    _finals: list[int] = field(factory=list, init=False)
    _known: dict[str, Any] = field(factory=dict, init=False)
    """What it believes that a key holds."""

    def __attrs_post_init__(self) -> None:
        self.random = self.world.random(f"client {self.id}")

    def begin(self) -> None:
        self._again(self.random.random() * 0.3)

    def finish(self) -> None:
        """From now on only write and read once through every node that is a member."""
        self._finishing = True
        self._finals = sorted(self.world.properties.members())
        if self.asked is None:
            self._again(0.0)

    @property
    def finished(self) -> bool:
        """True when the last calls were all answered as they should be."""
        return self._finishing and not self._finals and self.asked is None

    def _again(self, seconds: float) -> None:
        self.world.schedule(seconds, "", self._act)

    def _act(self) -> None:
        if self.asked is not None or (self._finishing and not self._finals):
            return
        hosts = sorted(self.world.hosts)
        node = self._finals[0] if self._finishing else self.random.choice(hosts)
        life = self.world.hosts[node].life
        if life is None:
            self._again(0.1)
            return
        operation = self._operation()
        self.world.history.append(operation)
        asked = self.asked = Asked(operation, life)
        life.later(self.random.random() * 0.005, "", lambda: self._call(asked))
        self.world.schedule(PATIENCE, "", lambda: self._hang_up(asked))

    def _operation(self) -> Operation:
        key = self.random.choice(KEYS)
        kinds: tuple[Any, ...] = ("put", "put", "get", "get", "get", "cas", "cas", "delete")
        kind = self.random.choice(kinds)
        if self._finishing:
            kind = "put" if self._count % 2 else "get"
        self._count += 1
        value = f"{self.id}.{self._count}" if kind in ("put", "cas") else None
        check = self._known.get(key) if kind == "cas" else None
        return Operation(self.id, key, kind, self.world.steps, value, check)

    def _call(self, asked: Asked) -> None:
        operation, node = asked.operation, asked.life.node
        if self.world.options.trace:
            self.world.note(asked.life, f"is asked: {operation}")

        def done(answer: Any) -> None:
            self._answered(asked, answer)

        if operation.kind == "get":
            node.query(Get(operation.key), done)
        else:
            node.submit(self._command(operation), done)

    def _command(self, operation: Operation) -> Command:
        if operation.kind == "put":
            return Put(operation.key, operation.argument or "")
        if operation.kind == "delete":
            return Delete(operation.key)
        return Cas(operation.key, operation.check, operation.argument or "")

    def _answered(self, asked: Asked, answer: Any) -> None:
        operation = asked.operation
        if asked.settled:
            self.world.properties.violated(f"{operation} was answered twice")
        asked.settled = True
        if asked.hung_up:
            return
        if isinstance(answer, UringError):
            if answer.definite:
                self._withdraw(operation)
            self._next(asked, f"{type(answer).__name__}: {answer}", 0.05)
            return
        operation.known, operation.returned = True, self.world.steps
        if isinstance(answer, Swapped):
            operation.answer = (answer.stored, answer.current)
            self._known[operation.key] = operation.argument if answer.stored else answer.current
        elif isinstance(answer, Old):
            operation.answer = answer.value
            self._known[operation.key] = operation.argument
        else:
            operation.answer = self._known[operation.key] = answer
        if self._finishing and self._finals and asked.life.id == self._finals[0]:
            self._finals.pop(0)
        self._next(asked, "", 0.0)

    def _withdraw(self, operation: Operation) -> None:
        """It was said for certain that nothing happened: no order may need it."""
        self.world.history.remove(operation)

    def _next(self, asked: Asked, problem: str, pause: float) -> None:
        if self.world.options.trace:
            self.world.note(asked.life, f"answers: {problem or asked.operation}")
        self.asked = None
        self._again(pause + self.random.expovariate(1 / 0.08))

    def _hang_up(self, asked: Asked) -> None:
        """It waited for too long, or has other plans: what becomes of it is not known."""
        if self.asked is asked:
            asked.hung_up = True
            self._next(asked, "the client has hung up", 0.0)

    def lost(self, life: Life) -> None:
        """The connection is gone with the process."""
        if self.asked is not None and self.asked.life is life:
            self._next(self.asked, "the connection is lost", 0.05)
