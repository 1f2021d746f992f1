"""Commit indexes that followers need not be told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

from uring.raft.messages import Append, Message

HOLD_SECONDS = 0.002


@define
class CommitNotices:
    """Holds back Appends that say nothing but a new commit index, for two milliseconds at most.

    Under load the next Append follows sooner, and says the same: without this each round costs two
    more messages for each follower, the notice and its answer, which is half of all there are.
    Followers may learn of a commit late (Raft paper, 5.3); what waits for it there is what they
    forwarded, so such notices are not held, nor is one when anything else goes the same way.
    """

    _clock: Any
    _send: Callable[[int, list[Message]], None]
    _guarded: Callable[[Callable[[], None]], None]
    _held: dict[int, Append] = field(factory=dict, init=False)
    _told: dict[int, int] = field(factory=dict, init=False)
    """The commit index in the last Append to each."""
    _awaited: dict[int, int] = field(factory=dict, init=False)
    """The last index that each has proposed by way of this leader."""
    _call: IDelayedCall | None = field(default=None, init=False)

    def awaited(self, by: int, index: int) -> None:
        """Take note that ``by`` waits for the entry at ``index`` to be applied."""
        self._awaited[by] = index

    def outgoing(self, messages: Sequence[Message]) -> dict[int, list[Message]]:
        """Return what is to be sent now, by receiver."""
        frames: dict[int, list[Message]] = {}
        if not messages:
            return frames
        for message in messages:
            frames.setdefault(message.to, []).append(message)
        for to, batch in list(frames.items()):
            held = self._held.pop(to, None)
            appends = [message for message in batch if type(message) is Append]
            if len(batch) == len(appends) == 1 and self._can_wait(appends[0]):
                self._hold(appends[0])
                del frames[to]
            elif held is not None and not any(each.commit >= held.commit for each in appends):
                batch.insert(0, held)
            if appends:
                self._told[to] = appends[-1].commit
        return frames

    def _can_wait(self, append: Append) -> bool:
        told = self._told.get(append.to, 0)
        return not append.entries and not told < self._awaited.get(append.to, 0)

    def _hold(self, append: Append) -> None:
        self._held[append.to] = append
        if self._call is None:
            self._call = self._clock.callLater(HOLD_SECONDS, self._guarded, self._release)

    def _release(self) -> None:
        self._call = None
        held, self._held = self._held, {}
        for to, append in held.items():
            self._send(to, [append])

    def stop(self) -> None:
        """Hold nothing any more."""
        self._held.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None
