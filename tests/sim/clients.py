"""Clients that write, read, retry, hang up and come back; all they were told is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import define, field

from tests.sim.linearizable import Operation
from uring.api.limits import Limits
from uring.api.session import Session
from uring.errors import OutcomeUnknown, Unavailable, UringError
from uring.machines.commands import Cas, Command, Delete, Get, Old, Once, Put, Reused, Swapped

if TYPE_CHECKING:
    from tests.sim.world import Life, World

KEYS = ("a", "b", "c")
PATIENCE = (3.0, 3.0, 3.0, 0.2)
"""Seconds after which a client hangs up; the node's own time-out is shorter than the longest."""
ATTEMPTS = 5
"""How often a client asks for the same thing if it is not answered."""


@define(eq=False)
class Asked:
    """One call under way."""

    operation: Operation
    life: Life
    attempt: int
    at: float
    settled: bool = False
    hung_up: bool = False


def command_of(operation: Operation) -> Put | Delete | Cas:
    """Return the command for a writing operation."""
    if operation.kind == "put":
        return Put(operation.key, operation.argument or "")
    if operation.kind == "delete":
        return Delete(operation.key)
    return Cas(operation.key, operation.check, operation.argument or "")


class JsonSession:
    """The real session of a WebSocket, without the socket: JSON in, JSON out."""

    def __init__(self, node: Any, violated: Callable[[str], NoReturn]) -> None:
        self._violated = violated
        self._asked: dict[int, tuple[Operation, Callable[[Any], None]]] = {}
        self.session = Session(node, Limits(), "sim", self._reply, lambda busy: None)
        self.session.received(b'{"Select":{"rid":0,"protocol":"KV"}}')

    def ask(self, operation: Operation, done: Callable[[Any], None]) -> None:
        """Send a request; ``done`` gets the answer as the gateway would have given it."""
        rid = len(self._asked) + 1
        self._asked[rid] = operation, done
        fields: dict[str, Any] = {"rid": rid, "key": operation.key}
        if operation.kind in ("put", "cas"):
            fields["store"] = operation.argument
        if operation.kind == "cas":
            fields["check"] = operation.check
        self.session.received(json.dumps({operation.kind.capitalize(): fields}).encode())

    def _reply(self, text: bytes) -> None:
        reply = json.loads(text)
        if "Selected" in reply:
            return
        if reply["rid"] not in self._asked:
            self._violated(f"a reply to nothing: {reply}")
        operation, done = self._asked[reply["rid"]]
        done(self._understood(operation, reply["code"], reply["data"], reply))

    def _understood(self, operation: Operation, code: int, data: Any, reply: Any) -> Any:
        if code == Unavailable.code:
            return Unavailable(reply["error"]["detail"])
        if code == OutcomeUnknown.code:
            return OutcomeUnknown(reply["error"]["detail"])
        expected = {"get": (200, 404), "put": (201,), "delete": (200, 404), "cas": (201, 409)}
        if code not in expected[operation.kind]:
            self._violated(f"{operation}: {reply}")
        if operation.kind == "cas":
            return Swapped(code == 201, None if code == 201 else data)
        return data if operation.kind == "get" else Old(data)


@define(eq=False)
class Client:
    """One after the other: it does something only when it knows how the last thing ended.

    Some clients speak JSON, as over a WebSocket.  Some write under idempotency keys: when they hear
    nothing they come back with the same request, to any node, until they are answered.
    """

    world: World
    id: int
    asked: Asked | None = field(default=None, init=False)
    random: Any = field(init=False)
    speaks_json: bool = field(init=False)
    comes_back: bool = field(init=False)
    _count: int = field(default=0, init=False)
    _finishing: bool = field(default=False, init=False)
    _finals: list[int] = field(factory=list, init=False)
    _unanswered: Asked | None = field(default=None, init=False)
    """What is asked again, as soon as there is a node to ask."""
    _session: tuple[Life, JsonSession] | None = field(default=None, init=False)
    _known: dict[str, Any] = field(factory=dict, init=False)
    """What it believes that a key holds."""

    def __attrs_post_init__(self) -> None:
        self.random = self.world.random(f"client {self.id}")
        self.speaks_json = self.random.random() < 0.4
        self.comes_back = not self.speaks_json and self.random.random() < 0.5

    def begin(self) -> None:
        self._again(self.random.random() * 0.3)

    def finish(self) -> None:
        """From now on only write and read once through every node that is a member."""
        self._finishing = True
        self._unanswered = None
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
        before, self._unanswered = self._unanswered, None
        if before is None:
            operation = self._operation()
            self.world.history.append(operation)
            asked = Asked(operation, life, 1, self.world.now)
        else:
            asked = Asked(before.operation, life, before.attempt + 1, self.world.now)
            self.world.faults.counts["requests repeated"] += 1
        self.asked = asked
        life.later(self.random.random() * 0.005, "", lambda: self._call(asked))
        patience = PATIENCE[0] if self._finishing else self.random.choice(PATIENCE)
        self.world.schedule(patience, "", lambda: self._hang_up(asked, patience))

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

        if self.speaks_json:
            self._talk(asked.life).ask(operation, done)
        elif operation.kind == "get":
            node.query(Get(operation.key), done)
        else:
            node.submit(self._command(operation), done)

    def _talk(self, life: Life) -> JsonSession:
        """Return the session with a process, a new one if there is none."""
        if self._session is None or self._session[0] is not life:
            self._leave()
            self._session = life, JsonSession(life.node, self.world.properties.violated)
        return self._session[1]

    def _leave(self) -> None:
        if self._session is not None:
            self._session[1].session.close()
            self._session = None

    def _command(self, operation: Operation) -> Command:
        command = command_of(operation)
        if self.comes_back:
            # The name of an operation is when it was called: a client does one at a time.
            return Once(f"{self.id} {operation.called}", command)
        return command

    def _answered(self, asked: Asked, answer: Any) -> None:
        operation = asked.operation
        if asked.settled:
            self.world.properties.violated(f"{operation} was answered twice")
        asked.settled = True
        if asked.hung_up:
            return
        if isinstance(answer, UringError):
            if answer.definite and asked.attempt == 1:
                self._withdraw(operation)
                self._next(asked, f"{type(answer).__name__}: {answer}", 0.05)
            else:
                self._not_known(asked, f"{type(answer).__name__}: {answer}", 0.05)
            return
        if isinstance(answer, Reused):
            self.world.properties.violated(f"{operation}: its key is said to be another command's")
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

    def _not_known(self, asked: Asked, problem: str, pause: float) -> None:
        """Come back with the same request, or live with not knowing."""
        repeats = self.comes_back and asked.operation.kind != "get" and asked.attempt < ATTEMPTS
        if repeats and not self._finishing:
            self._unanswered = asked
        self._next(asked, problem, pause)

    def _hang_up(self, asked: Asked, patience: float) -> None:
        """It waited for too long, or has other plans: what becomes of it is not known."""
        if self.asked is asked:
            life = asked.life
            if patience == PATIENCE[0] and life.alive and life.paused_until < asked.at:
                self.world.properties.violated(
                    f"node {life.id} has not answered {asked.operation} in {patience} s, not even"
                    " that it does not know"
                )
            asked.hung_up = True
            self._leave()
            self._not_known(asked, "the client has hung up", 0.0)

    def lost(self, life: Life) -> None:
        """The connection is gone with the process."""
        if self.asked is not None and self.asked.life is life:
            self._not_known(self.asked, "the connection is lost", 0.05)
