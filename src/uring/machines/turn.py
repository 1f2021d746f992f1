"""What the commands of one batch share while they are applied."""

from __future__ import annotations

from attrs import define, field

from uring.machines.commands import Lease
from uring.machines.events import Event


@define
class Turn:
    """The revision as it grows, and what changed, for those who watch.

    Whoever counts ``revision`` on by one appends the one event that says why.  Results never
    influence the state, so each replica spells out only those that somebody there waits for.
    """

    revision: int
    """Changes there have been, ever."""
    answered: bool = True
    """Whether somebody waits for the results."""
    events: list[Event] = field(factory=list, init=False)
    leases: list[Lease] = field(factory=list, init=False)
    """Leases as they are after this batch, where it touched them; for who measures their time."""
    tokens: bool = field(default=False, init=False)
    """Whether any token was added or removed."""
