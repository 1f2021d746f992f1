"""Elections: a lock whose holder says something to everybody, such as where it can be reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from attrs import define, frozen

from uring.client.locks import (
    TTL_SECONDS,
    Home,
    Lock,
    calls_for,
    check_name,
    is_ours,
    queue_of,
)
from uring.client.services import Item, Value, put_op, value_of
from uring.client.watch import Snapshot


@frozen
class Leader:
    """Who leads: its value, its fencing token, and the revision of what it proclaimed last."""

    value: Value
    token: int
    revision: int
    key: str


class Leadership(Lock):
    """One candidacy, and what comes of it: a :class:`uring.client.Lock` that proclaims."""

    async def proclaim(self, value: Value) -> int:
        """Tell everybody another ``value``; return its revision.  Raises LockLost."""
        self.value = value
        return (await self.txn(then=[put_op(self.key, value, self.lease)])).revision

    async def resign(self) -> None:
        """Let the next candidate lead, as ``release`` does."""
        await self.release()


@define(eq=False)
class Election:
    """The election ``name``, by :meth:`uring.client.Client.election`; ``ttl`` as of a lock."""

    _home: Home
    _reactor: Any
    name: str
    ttl: float = TTL_SECONDS

    def __attrs_post_init__(self) -> None:
        check_name(self.name)

    def campaign(self, value: Value, wait: float | None = None) -> Leadership:
        """Stand as a candidate: ``async with election.campaign("me") as leadership``."""
        return Leadership(self._home, self._reactor, self.name, self.ttl, wait, value)

    async def leader(self) -> Leader | None:
        """Return who leads, None if nobody does."""
        queue, _ = await queue_of(calls_for(self._home, self.ttl), self.name)
        return _leader(queue[0]) if queue else None

    async def observe(self) -> AsyncIterator[Leader | None]:
        """Iterate over who leads, and what is proclaimed, from now on; None while nobody does.

        What was followed by something else at once may be left out.
        """
        watch = self._home.watch("kv", prefix=f"{self.name}/", snapshot=True)
        there: dict[str, Item] = {}
        whole, shown = False, False
        last: Leader | None = None
        try:
            async for news in watch:
                if isinstance(news, Snapshot):
                    there = {} if news.begins else there
                    whole = news.ends
                    for item in news.items:
                        self._note(there, item["key"], item["value"], item, item["revision"])
                else:
                    self._follow(there, news.event, news.revision)
                first = min(there.values(), key=lambda item: item.created, default=None)
                now = None if first is None else _leader(first)
                if whole and (now != last or not shown):
                    last, shown = now, True
                    yield now
        finally:
            await watch.close()

    def _follow(self, there: dict[str, Item], event: dict[str, Any], revision: int) -> None:
        for kind, body in event.items():
            if kind == "Delete":
                there.pop(body["key"], None)
            elif kind in ("Put", "Cas"):
                self._note(there, body["key"], body["new"], {}, revision)

    def _note(
        self, there: dict[str, Item], key: str, value: Any, item: dict[str, Any], revision: int
    ) -> None:
        if is_ours(self.name, key):
            before = there.get(key)
            created = before.created if before is not None else item.get("created", revision)
            there[key] = Item(key, value_of(value), created, revision)


def _leader(item: Item) -> Leader:
    return Leader(item.value, item.created, item.revision, item.key)
