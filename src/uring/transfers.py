"""Snapshots on their way: streamed in bounded chunks, resumed, checked before they are installed.

The state is its own snapshot: a reader over a LevelDB snapshot, opened when the core decides that
a follower needs one, holds what was applied then while writing goes on.  One chunk is in flight to
each follower; its acknowledgement asks for the next, so a slow follower costs one chunk of memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure

from uring.raft.messages import InstallSnapshot
from uring.raft.types import SnapshotMeta
from uring.store.snapshots import SnapshotSummary
from uring.store.state import InstallJob
from uring.wire.codec import decode_messages, encode_messages
from uring.wire.envelopes import SnapshotAck, SnapshotChunk

if TYPE_CHECKING:
    from uring.node import Node

CHUNK_BYTES = 256 * 1024
PATIENCE_SECONDS = 30.0
"""A transfer without any progress for so long is given up; the core then begins another."""


HOLD_SECONDS = 30.0
"""How long the log is kept for a follower that has just got a snapshot."""


@define
class Outgoing:
    """One snapshot on its way to one follower."""

    message: InstallSnapshot
    reader: Any
    chunk: SnapshotChunk | None = None
    reading: bool = False
    heard: float = 0.0
    """When the follower last asked for something."""
    sent: float = 0.0


@define
class Incoming:
    """One snapshot that arrives."""

    message: InstallSnapshot
    writer: Any
    busy: bool = False
    heard: float = 0.0


@define
class Transfers:
    """All snapshots that this node sends, and the one that it receives."""

    node: Node
    log: Logger = field(factory=lambda: Logger(namespace="uring.snapshots"), init=False)
    _outgoing: dict[int, Outgoing] = field(factory=dict, init=False)
    _held: dict[int, tuple[int, float]] = field(factory=dict, init=False)
    """By follower: the index of the snapshot that it has got, and until when this is remembered."""
    _incoming: Incoming | None = field(default=None, init=False)
    _complete: Incoming | None = field(default=None, init=False)

    # -- sending ---------------------------------------------------------------------------------

    def send(self, message: InstallSnapshot) -> None:
        """Begin to stream what the core wants ``message.to`` to have."""
        now = self.node.clock.seconds()
        self._drop(message.to)
        reader = self.node.directory.state.snapshot_reader()
        if reader.meta != message.snapshot.meta:
            # Something was applied since the core decided; it decides again at once.
            reader.close()
            self.node.raft.report_snapshot(message.to, False)
            return
        outgoing = Outgoing(message, reader, heard=now)
        self._outgoing[message.to] = outgoing
        self.log.info(
            "sending a snapshot up to index {index} to node {to}",
            index=message.snapshot.meta.index,
            to=message.to,
        )
        self._read(outgoing, b"")

    def _read(self, outgoing: Outgoing, position: bytes) -> None:
        """Read the chunk at ``position`` in the background, then send it."""
        if outgoing.reading:
            return
        outgoing.reading = True

        def done(result: Any) -> None:
            outgoing.reading = False
            if self._outgoing.get(outgoing.message.to) is not outgoing:
                return
            if self._disk_failed(result, "a snapshot could not be read"):
                return
            if isinstance(result, Failure):
                self.log.failure("a snapshot could not be read", failure=result)
                self._give_up(outgoing)
                return
            outgoing.chunk = self._chunk(outgoing.message, position, *result)
            self._send_chunk(outgoing)

        def read() -> tuple[bytes, SnapshotSummary | None]:
            data, following = outgoing.reader.read(position, CHUNK_BYTES)
            return data, outgoing.reader.summary() if following is None else None

        self.node.background.submit(read, done)

    def _chunk(
        self,
        message: InstallSnapshot,
        position: bytes,
        data: bytes,
        summary: SnapshotSummary | None,
    ) -> SnapshotChunk:
        with_header = not position or summary is not None
        return SnapshotChunk(
            to=message.to,
            from_=self.node.id,
            term=message.term,
            index=message.snapshot.meta.index,
            position=position,
            data=data,
            last=summary is not None,
            header=encode_messages([message]) if with_header else b"",
            count=summary.count if summary else 0,
            length=summary.length if summary else 0,
            digest=summary.digest if summary else b"",
        )

    def _send_chunk(self, outgoing: Outgoing) -> None:
        assert outgoing.chunk is not None
        outgoing.sent = self.node.clock.seconds()
        self.node.mesh.send(outgoing.message.to, [outgoing.chunk])

    def acknowledged(self, ack: SnapshotAck) -> None:
        """Send the chunk that the follower asks for, again if need be."""
        outgoing = self._outgoing.get(ack.from_)
        if outgoing is None or ack.index != outgoing.message.snapshot.meta.index:
            return
        outgoing.heard = self.node.clock.seconds()
        if ack.status == "refused":
            self.log.warn(
                "node {node} refused a snapshot: {detail}", node=ack.from_, detail=ack.detail
            )
            self._give_up(outgoing)
        elif ack.status == "done":
            self._drop(ack.from_)
            # When the log was compacted past the snapshot meanwhile, the follower's answer alone
            # does not end the waiting: only this makes the core probe, and send another.
            self.node.raft.report_snapshot(ack.from_, True)
            self.node.wake()
            self._held[ack.from_] = (ack.index, self.node.clock.seconds() + HOLD_SECONDS)
            self.node.raft.report_snapshot(ack.from_, True)
            self.node.wake()
        elif outgoing.chunk is not None and ack.position == outgoing.chunk.position:
            self._send_chunk(outgoing)
        else:
            self._read(outgoing, ack.position)

    def _give_up(self, outgoing: Outgoing) -> None:
        self._drop(outgoing.message.to)
        self.node.raft.report_snapshot(outgoing.message.to, False)
        self.node.wake()

    def _drop(self, to: int) -> None:
        outgoing = self._outgoing.pop(to, None)
        if outgoing is not None:
            # Behind a read that may be under way in the same thread.
            self.node.background.submit(outgoing.reader.close, lambda result: None)

    def peer_down(self, peer: int) -> None:
        """Nothing to do: the transfer goes on where it stood once the peer is back."""

    def sweep(self, now: float) -> None:
        """Repeat what was lost; give up what has stood still for too long."""
        election = self.node.settings.election
        for outgoing in list(self._outgoing.values()):
            if now - outgoing.heard > PATIENCE_SECONDS or not self.node.raft.is_leader:
                self._give_up(outgoing)
            elif outgoing.chunk and not outgoing.reading and now - outgoing.sent > 2 * election:
                self._send_chunk(outgoing)
        incoming = self._incoming
        if incoming and not incoming.busy and now - incoming.heard > 2 * PATIENCE_SECONDS:
            self._abandon()

    def held_from(self, now: float) -> int:
        """Return the index after which the log must be kept for followers that get a snapshot.

        It is kept for some time after the last chunk, until the follower has asked for the rest.
        """
        self._held = {to: held for to, held in self._held.items() if held[1] > now}
        under_way = [each.message.snapshot.meta.index for each in self._outgoing.values()]
        return min([*under_way, *(index for index, _ in self._held.values())], default=1 << 63)

    # -- receiving -------------------------------------------------------------------------------

    def chunk(self, chunk: SnapshotChunk) -> None:
        """Take the next piece; answer what is wanted after it."""
        now = self.node.clock.seconds()
        if self._complete is not None or chunk.term < self.node.raft.term:
            return
        incoming = self._incoming
        if incoming is None or incoming.message.snapshot.meta.index != chunk.index:
            if chunk.position:
                self._ack(chunk, b"")  # begin at the beginning: this node was restarted
                return
            if incoming is not None and incoming.busy:
                return
            self._abandon()
            message = _header(chunk)
            if message is None:
                return
            if message.snapshot.meta.index <= self.node.raft.commit:
                # Nothing to install; the core's answer says how far this node is.
                self.node.raft.step(message)
                self._ack(chunk, b"", status="done")
                return
            writer = self.node.directory.state.snapshot_writer()
            incoming = self._incoming = Incoming(message, writer)
        incoming.heard = now
        if incoming.busy:
            return
        if chunk.position != incoming.writer.position:
            self._ack(chunk, incoming.writer.position)
            return
        self._write(incoming, chunk)

    def _write(self, incoming: Incoming, chunk: SnapshotChunk) -> None:
        incoming.busy = True

        def write() -> None:
            incoming.writer.write(chunk.data)
            if chunk.last:
                summary = SnapshotSummary(chunk.count, chunk.length, chunk.digest)
                incoming.writer.finish(summary, incoming.message.snapshot.meta)

        def done(result: object) -> None:
            incoming.busy = False
            if self._incoming is not incoming:
                return
            if self._disk_failed(result, "a snapshot could not be written"):
                return
            if isinstance(result, Failure):
                self.log.failure("a snapshot could not be received", failure=result)
                self._abandon()
                self._ack(chunk, b"", status="refused", detail=result.getErrorMessage())
                return
            if not chunk.last:
                self._ack(chunk, incoming.writer.position)
                return
            self._ack(chunk, incoming.writer.position, status="done")
            self._incoming, self._complete = None, incoming
            # The sender's term may have moved on since the first chunk.
            self.node.raft.step(_header(chunk) or incoming.message)
            if not self.node.raft.installing_snapshot:
                self._forget()
            self.node.wake()

        self.node.background.submit(write, done)

    def _disk_failed(self, result: object, what: str) -> bool:
        """Stop the node if it was the store that failed, and not only this snapshot."""
        if self.node.directory.log.health.failure is None:
            return False
        return not self.node.survived(result, what)

    def _ack(
        self, chunk: SnapshotChunk, position: bytes, status: str = "next", detail: str = ""
    ) -> None:
        ack = SnapshotAck(
            to=chunk.from_,
            from_=self.node.id,
            index=chunk.index,
            position=position,
            status=status,
            detail=detail,
        )
        self.node.mesh.send(chunk.from_, [ack])

    def _abandon(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            self.node.background.submit(incoming.writer.abort, lambda result: None)

    def _forget(self) -> None:
        """The core had no use for what arrived: it has caught up by the log meanwhile."""
        complete, self._complete = self._complete, None
        if complete is not None:
            self.node.background.submit(complete.writer.abort, lambda result: None)

    # -- installing ------------------------------------------------------------------------------

    def install(self, meta: SnapshotMeta) -> InstallJob:
        """Return the job that puts the received state into place."""
        complete = self._complete
        if complete is None or complete.message.snapshot.meta.index != meta.index:
            raise RuntimeError(f"no snapshot up to index {meta.index} has been received")
        job: InstallJob = self.node.directory.state.install(complete.writer)
        return job

    def installed(self) -> None:
        """The received state is the state."""
        self._complete = None


def _header(chunk: SnapshotChunk) -> InstallSnapshot | None:
    """Return the core's message that a chunk carries, None if it is nothing of the kind."""
    try:
        (message,) = decode_messages(chunk.header)
    except ValueError:  # undecodable, or not one message
        return None
    return message if isinstance(message, InstallSnapshot) else None
