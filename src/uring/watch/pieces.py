"""Everything that a channel speaks of, read from a view of the state a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field

from uring.machines import kv, mring
from uring.machines.commands import List
from uring.watch.history import PIECE_BYTES
from uring.watch.subscription import Watch

PIECE_KEYS = 1000
PIECE_VNODES = 16_384
"""A node of a large ring comes in several items of so many vnodes."""


@define(eq=False)
class Pieces:
    """A snapshot of one channel; ``view`` stays as it was when it was opened."""

    watch: Watch
    revision: int
    view: Any
    began: float
    _after: str = field(default="", init=False)
    _ring: Iterator[tuple[Sequence[Any], bool]] | None = field(default=None, init=False)

    def read(self) -> tuple[Sequence[Any], bool]:
        """Return the next items, and whether they are the last; for a thread."""
        if self.watch.channel == "mring":
            if self._ring is None:
                self._ring = _ring_pieces(self.view)
            return next(self._ring)
        query = List(self.watch.prefix, self._after, PIECE_KEYS, PIECE_BYTES)
        page = kv.page(self.view, query, self.revision)
        if page.items:
            self._after = page.items[-1].key
        return page.items, not page.more

    def close(self) -> None:
        """Let go of the view."""
        self.view.close()


def _ring_pieces(view: Any) -> Iterator[tuple[Sequence[Any], bool]]:
    size = mring.size(view)
    items: list[Any] = [] if size is None else [{"size": size}]
    for node in mring.nodes(view).nodes:
        for start in range(0, max(1, len(node.vnodes)), PIECE_VNODES):
            vnodes = list(node.vnodes[start : start + PIECE_VNODES])
            if len(items) > 1 and sum(len(each.get("vnodes", ())) for each in items) > PIECE_VNODES:
                yield items, False
                items = []
            items.append({"id": node.id, "vnodes": vnodes})
    yield items, True
