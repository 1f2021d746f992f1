"""What is asked for, who is told, and how far each one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

from attrs import define, field, frozen

from uring.errors import BadRequest, UringError
from uring.store.history import Position

CHANNELS = ("kv", "mring", "uring")


def check_channel(channel: str) -> None:
    """Raise BadRequest if there is none of that name."""
    if channel not in CHANNELS:
        raise BadRequest(f"unknown channel; known are {', '.join(CHANNELS)}")


@define(eq=False)
class Told:
    """One event on its way to everybody who is up to date."""

    revision: int
    channel: str
    event: Any
    """Its ``spelled()`` returns JSON-ready builtins."""
    is_change: bool
    """False for what changed nothing: it is told now or never."""
    text: bytes = b""
    """For the doors, so that it is spelled once for all."""


@frozen
class LocalEvent:
    """Something that happened to this node alone."""

    event: dict[str, object]

    def spelled(self) -> dict[str, object]:
        """Return it."""
        return self.event


@frozen(kw_only=True)
class Watch:
    """What somebody wants to be told."""

    channel: str
    prefix: str = ""
    """For kv: only keys that begin with it."""
    start: int | None = None
    """The first revision to be told; None for whatever comes next."""
    snapshot: bool = False
    """Begin with everything that is there."""
    progress: float = 0.0
    """Seconds without an event after which to say how far things are; 0 for never."""


class Sink(Protocol):
    """Where it goes.  No method may raise."""

    @property
    def full(self) -> bool:
        """Tell whether the other side is not reading; :meth:`Subscription.resume` ends that."""

    def subscribed(self, revision: int) -> None:
        """It begins; the state is at ``revision``."""

    def told(self, batch: Sequence[Told]) -> None:
        """These happened, in this order."""

    def compacted(self, revision: int, oldest: int) -> None:
        """What was asked for is not kept any more: a snapshot of ``revision`` follows."""

    def snapshot(self, revision: int, items: Sequence[Any], last: bool) -> None:
        """A piece of what there is at ``revision``."""

    def progress(self, revision: int) -> None:
        """Everything up to ``revision`` has been told."""

    def ended(self, error: UringError, resume: int | None) -> None:
        """It is over; subscribe from ``resume`` to miss nothing."""


class Mode(Enum):
    """How a subscription gets what it is told."""

    LIVE = "in the turn in which it happens"
    BEHIND = "from the history"
    WAITING = "not yet: the revision it asks for has not been reached here"
    SNAPSHOT = "everything there is, first"
    ENDED = "not any more"


@define(eq=False)
class Subscription:
    """One watch of one client.  Only the hub changes it."""

    watch: Watch
    sink: Sink
    next: int
    """The first revision not told yet.  While live, the hub's own counts instead."""
    heard: float
    """When it was last told anything, or asked; seconds of the node's clock."""
    mode: Mode = Mode.BEHIND
    is_fresh: bool = True
    """Nothing was told yet: what is missing may still be replaced by a snapshot."""
    reading: bool = False
    """A thread reads for it."""
    queued: bool = False
    position: Position | None = None
    pieces: Any = None
    """The snapshot that it is being told."""
    on_resume: Callable[[Subscription], None] = field(default=lambda subscription: None)
    on_close: Callable[[Subscription], None] = field(default=lambda subscription: None)

    @property
    def missing(self) -> int | None:
        """The first revision not told yet, None if it is up to date."""
        return None if self.mode is Mode.LIVE else self.next

    def resume(self) -> None:
        """Go on: the other side reads again."""
        self.on_resume(self)

    def close(self) -> None:
        """Tell nothing any more."""
        self.on_close(self)
