"""An operator who makes and removes tokens, through any node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from tests.sim.properties import Untouched
from uring.errors import PreconditionFailed, UringError
from uring.machines.commands import (
    AddToken,
    GetTokens,
    RecoverToken,
    RemoveToken,
    Token,
    TokenCommand,
    TokenGone,
)
from uring.machines.levels import needed

if TYPE_CHECKING:
    from tests.sim.world import Life, World

PROBE = RemoveToken("")
ROLES = ("admin", "admin", "write", "read")


@define(eq=False)
class Registrar:
    """Each request is made in the name of a token that it knows of, sometimes of one that is gone.

    A token whose removal was answered must do nothing from then on, through whatever node, as long
    as there are others (the first is never removed); there must always be an admin among tokens;
    and what the doors of a node ask must be what it has applied.  That all replicas have the same
    tokens is seen by whoever compares their states.
    """

    world: World
    random: Any = field(init=False)
    _count: int = field(default=0, init=False)
    _admins: list[str] = field(factory=list, init=False)
    _others: list[str] = field(factory=list, init=False)
    _root: str = field(default="", init=False)
    """An admin's that is never removed."""
    _gone: set[str] = field(factory=set, init=False)
    """Those whose removal was answered."""

    def __attrs_post_init__(self) -> None:
        self.random = self.world.random("tokens")

    def begin(self) -> None:
        """Ask from time to time."""
        self._later()

    def _later(self) -> None:
        self.world.schedule(self.random.expovariate(5.0), "", self._act)

    def _act(self) -> None:
        if not self.world.faults.active:
            return
        self._later()
        life = self.world.hosts[self.random.choice(sorted(self.world.hosts))].life
        if life is None or life.node is None or life.host.level < needed(PROBE):
            return  # an older program has no such commands
        if not self._root:
            life.later(0.001, "", lambda: life.node.query(GetTokens(), self._learned))
        command = self._command()
        gone = frozenset(self._gone)

        def ask() -> None:
            life.node.submit(command, lambda result: self._answered(command, gone, result))

        life.later(0.001, "", ask)

    def _learned(self, tokens: Any) -> None:
        """Take the first token: the answer to who made it may have been lost."""
        if not isinstance(tokens, UringError) and tokens and not self._root:
            self._root = next(token.id for token in tokens if token.role == "admin")
            self._admins = [self._root]

    def _command(self) -> TokenCommand:
        if self.random.random() < 0.05:
            self._count += 1
            return RecoverToken(f"{self._count:016x}", self.random.randbytes(32))
        by = self.random.choice(self._admins) if self._admins else ""
        if self._gone and self.random.random() < 0.2:
            by = self.random.choice(sorted(self._gone))
        removable = [each for each in self._admins + self._others if each != self._root]
        if removable and self.random.random() < 0.45:
            return RemoveToken(self.random.choice(removable), by)
        self._count += 1
        name = f"{self._count:016x}"
        return AddToken(name, self.random.randbytes(32), self.random.choice(ROLES), (), "", by)

    def _answered(self, command: TokenCommand, gone: frozenset[str], result: Any) -> None:
        counts = self.world.faults.counts
        if isinstance(result, PreconditionFailed):
            counts["tokens refused for the level"] += 1
        if isinstance(result, UringError):
            return
        done = isinstance(result, Token | TokenGone)
        if done and not isinstance(command, RecoverToken) and command.by in gone:
            self.world.properties.violated(f"{command} was done: {command.by} was removed before")
        if isinstance(result, Token):
            counts["tokens made"] += 1
        if isinstance(result, Token) and self._root:
            (self._admins if result.role == "admin" else self._others).append(result.id)
        elif isinstance(result, TokenGone):
            counts["tokens removed"] += 1
            self._gone.add(result.id)
            for some in (self._admins, self._others):
                if result.id in some:
                    some.remove(result.id)

    def look(self, life: Life) -> None:
        """See what a process lets in, and whether that is what it has applied."""
        node = life.node
        if node.installing or not life.alive:
            return
        tokens = node.machines.query(Untouched(life.directory.state), GetTokens())
        if {token.id: token for token in tokens} != node.access._tokens:
            self.world.properties.violated(
                f"node {life.id} asks for other tokens than it has applied: {node.access._tokens}"
            )
        if tokens and not any(token.role == "admin" for token in tokens):
            self.world.properties.violated(f"there are tokens, and none is an admin's: {tokens}")
