"""Writing the state behind, and keeping the log short.

The state is synced, then the entries that it covers are dropped from the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from uring.node import Node

HELD_FACTOR = 16
"""How many times its usual size the log may have while a follower gets a snapshot: as much may be
written meanwhile, and the follower needs it afterwards."""


@define
class Compaction:
    """One at a time, its long parts in threads of their own."""

    node: Node
    _under_way: bool = field(default=False, init=False)

    def drive(self) -> None:
        """Write the state when much has gathered, sync it when much is not, shorten the log."""
        node = self.node
        settings, log, state = node.settings, node.directory.log, node.directory.state
        if state.wants_write and not node.installing:
            job = state.write()
            node.in_thread(node.background, job, "the state could not be written", job.done)
        applied: int = state.applied_index
        kept = applied - log.first_index() + 1
        is_long = kept >= settings.log_entries_max + settings.trailing_entries or (
            log.bytes_kept >= settings.log_bytes_max and kept > 1
        )
        if self._under_way or node.installing or not (is_long or state.wants_sync):
            return
        target = applied - min(settings.trailing_entries, kept // 2) if is_long else 0
        if log.bytes_kept < HELD_FACTOR * settings.log_bytes_max:
            target = min(target, node.transfers.held_from(node.clock.seconds()))
        if state.wants_sync or target >= log.first_index():
            self._under_way = True
            self._sync(target)

    def rest(self) -> None:
        """Let go, in the quiet after a load, of what is in memory for speed alone."""
        node = self.node
        node.directory.state.forget_recent()
        node.directory.log.forget_recent()
        node.hub.history.forget_recent()
        if not self._under_way and not node.installing:
            self._under_way = True
            self._sync(0)

    def _sync(self, target: int) -> None:
        """Make the state durable, then forget the log up to ``target``."""
        node = self.node
        log, job = node.directory.log, node.directory.state.sync()

        def synced() -> None:
            job.done()
            if target < log.first_index() or node.installing:
                self._under_way = False
                return
            batch = log.compact(target, log.term(target))

            def compacted() -> None:
                batch.done()
                self._collect_garbage()

            node.in_thread(node.disk, batch, "the log could not be compacted", compacted)

        node.in_thread(node.background, job, "the state could not be synced", synced)

    def _collect_garbage(self) -> None:
        """Delete compacted entries, some at a time, between the writes of the log."""
        node = self.node
        batch = None if node.installing else node.directory.log.collect_garbage()
        if batch is None:
            self._under_way = False
            return

        def done() -> None:
            batch.done()
            self._collect_garbage()

        node.in_thread(node.disk, batch, "the log could not be compacted", done)
