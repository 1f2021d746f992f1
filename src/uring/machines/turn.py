"""What the commands of one batch share while they are applied."""

from __future__ import annotations

from attrs import define, field

from uring.machines.commands import Change, Lease


@define
class Turn:
    """The revision as it grows, and the changes for those who listen.

    Results and events never influence the state, so each replica spells out only what somebody
    there wants: a ring of a million vnodes is a record of some bytes, but an event of megabytes.
    """

    revision: int
    """Changes there have been, ever."""
    answered: bool = True
    """Whether somebody waits for the results."""
    kv_heard: bool = True
    """Whether somebody listens to changes of keys,"""
    mring_heard: bool = True
    """or of the ring."""
    changes: list[Change] = field(factory=list, init=False)
    leases: list[Lease] = field(factory=list, init=False)
    """Leases as they are after this batch, where it touched them; for who measures their time."""
