"""Bugs of watches to plant: see :mod:`tests.sim.bugs`."""

from __future__ import annotations

from typing import Any

from tests.sim.bugs import Patch, bug
from uring.watch.history import History
from uring.watch.hub import Hub
from uring.watch.pieces import Pieces
from uring.watch.subscription import Mode


@bug("up to date a change too early")
def _() -> list[Patch]:
    go_on = Hub._go_on

    def hasty(self: Any, subscription: Any) -> None:
        if subscription.mode is Mode.BEHIND and subscription.next == self.history.next - 1:
            self._go_live(subscription)
        else:
            go_on(self, subscription)

    return [(Hub, "_go_on", hasty)]


@bug("slow watcher loses a turn")
def _() -> list[Patch]:
    tell = Hub._tell_live

    def forgetful(self: Any, subscription: Any, batch: Any, before: int, now: float) -> None:
        tell(self, subscription, batch, self.history.next - 1, now)

    return [(Hub, "_tell_live", forgetful)]


@bug("snapshot for a watcher read from the state as it goes on")
def _() -> list[Patch]:
    read = Pieces.read

    def moving(self: Any) -> Any:
        self.revision += 1
        return read(self)

    return [(Pieces, "read", moving)]


@bug("history kept over a snapshot of the state")
def _() -> list[Patch]:
    def reset(self: Any, revision: int) -> None:
        self.store.last = revision

    return [(History, "reset", reset)]


@bug("progress claimed while behind")
def _() -> list[Patch]:
    sweep = Hub.sweep

    def boastful(self: Any) -> None:
        for subscription in list(self._all):
            if subscription.mode is Mode.BEHIND and not subscription.is_fresh:
                subscription.sink.progress(self.history.next - 1)
        sweep(self)

    return [(Hub, "sweep", boastful)]
