"""Applied changes and leadership, handed to whoever listens; one call a turn for each listener."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import define, field
from msgspec import Struct
from twisted.logger import Logger

from uring.machines.events import Event, numbered

CHANNELS = ("kv", "mring", "uring")


class Change(Struct, frozen=True):
    """One change as subscribers see it: ``event`` is what goes into ``{"Msg": {"msg": ...}}``."""

    channel: str
    revision: int
    event: dict[str, object]


Listener: TypeAlias = Callable[[list[Change]], None]


@define
class Feed:
    """Who listens to which channel."""

    log: Logger = field(factory=lambda: Logger(namespace="uring.feed"))
    _listeners: dict[str, dict[object, Listener]] = field(
        factory=lambda: {channel: {} for channel in CHANNELS}, init=False
    )

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the changes of ``channel``; call what is returned to end it.

        Raises KeyError for an unknown channel.
        """
        listeners, key = self._listeners[channel], object()
        listeners[key] = listener

        def unsubscribe() -> None:
            listeners.pop(key, None)

        return unsubscribe

    def has_listeners(self, channel: str) -> bool:
        """Tell whether it is worth making an event for ``channel``."""
        return bool(self._listeners[channel])

    def spelled(self, before: int, events: Sequence[Event]) -> list[Change]:
        """Return ``events`` of the machines for :meth:`publish`, but those nobody listens to."""
        return [
            Change(event.channel, revision, event.spelled())
            for revision, event in numbered(before, events)
            if self._listeners[event.channel]
        ]

    def publish(self, changes: list[Change]) -> None:
        """Hand on the changes of one turn, in order."""
        for channel, listeners in self._listeners.items():
            if not listeners:
                continue
            of_channel = [change for change in changes if change.channel == channel]
            if not of_channel:
                continue
            for key, listener in list(listeners.items()):
                if key not in listeners:
                    continue  # another listener ended this one meanwhile
                try:
                    listener(of_channel)
                except Exception:
                    listeners.pop(key, None)
                    self.log.failure("a subscriber failed and was dropped")
