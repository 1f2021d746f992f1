"""The clock of one simulated process: it runs at its own rate from its own beginning."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import define

if TYPE_CHECKING:
    from tests.sim.world import Life

TURN_SECONDS = 0.001
"""How long a reactor's iteration may gather what arrives, at most."""


@define(eq=False)
class Call:
    """A delayed call."""

    at: float
    _pending: bool = True

    def active(self) -> bool:
        return self._pending

    def cancel(self) -> None:
        self._pending = False

    def getTime(self) -> float:
        return self.at


@define(eq=False)
class SimClock:
    """What a node uses of ``IReactorTime``."""

    life: Life
    random: Random
    rate: float
    """Its seconds in a second of the world."""
    offset: float

    def seconds(self) -> float:
        """Return the node's time: monotonic, with another beginning in each life."""
        return self.offset + self.rate * self.life.world.now

    def callLater(self, delay: float, function: Callable[..., Any], *arguments: Any) -> Call:
        """Call after ``delay`` of the node's seconds; a turn gathers for a moment."""
        call = Call(self.seconds() + delay)

        def fire() -> None:
            if call.active():
                call.cancel()
                function(*arguments)

        wait = delay / self.rate if delay else self.random.random() * TURN_SECONDS
        self.life.later(wait, "", fire)
        return call
