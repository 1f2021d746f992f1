"""What a node of the ring must be able to do with what it owns: the user's side."""

from __future__ import annotations

from typing import Protocol


class Vnodes(Protocol):
    """All methods are coroutines and may raise: the hand-off is then tried again later.

    A transfer is named by the revision at which it began.  What one transfer brought counts for
    nothing once another one of the same vnode has begun.
    """

    async def opened(self, vnode: int) -> None:
        """This node owns ``vnode``: it may be served as soon as this returns.

        Called after a start for each vnode that is owned, and after one was received.
        """

    async def frozen(self, vnode: int) -> None:
        """``vnode`` is about to be sent and not served any more; what is under way must end."""

    async def chunk(self, vnode: int, number: int) -> bytes | None:
        """Return a part of a frozen vnode, None after the last; the same whenever it is asked."""

    async def closed(self, vnode: int) -> None:
        """``vnode`` is owned by somebody else now, who has all of it."""

    async def begin(self, vnode: int, source: str, began: int) -> int:
        """A transfer begins or goes on; return the number of the first chunk that is missing."""

    async def store(self, vnode: int, began: int, number: int, data: bytes) -> None:
        """Keep a chunk; it must be durable before :meth:`complete` returns."""

    async def complete(self, vnode: int, began: int) -> None:
        """All chunks were sent.  When this returns, a crash must lose none of it."""
