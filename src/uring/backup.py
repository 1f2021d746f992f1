"""Backups: the whole state at one moment as one file, made while the node serves.

The file: :data:`MAGIC`; a manifest (JSON); chunks of records as snapshots have them; an empty
block; a summary (JSON) of how many records and bytes there are and their SHA-256; and the SHA-256
of everything before it.  Manifest, chunks and summary each come after their length (4 bytes).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
from attrs import define, field
from msgspec import Struct
from twisted.python.failure import Failure

from uring.errors import Unavailable, UringError

if TYPE_CHECKING:
    from uring.node import Node

MAGIC = b"uring-backup 1\n"
CHUNK_BYTES = 256 * 1024
BLOCK_BYTES_MAX = 4 * 1024 * 1024
"""A record has at most a key and a value of the machines, and a chunk at least one record."""
BACKUPS_MAX = 2
"""At a time: each holds the values of its moment, and reads the disk."""
PATIENCE_SECONDS = 60.0
"""A receiver that takes nothing for so long is given up."""
_LENGTH = struct.Struct(">I")
_DIGEST_BYTES = 32


class Manifest(Struct, frozen=True):
    """What a backup is of."""

    cluster: str
    node: int
    index: int
    term: int
    revision: int
    taken: float
    """The node's wall clock, in seconds since 1970."""
    version: str
    level: int = 1
    """The feature level of the cluster: an older program cannot restore it."""


class Summary(Struct, frozen=True):
    """What all records amount to."""

    records: int
    bytes: int
    sha256: str


class BackupDamaged(ValueError):
    """The file is no whole backup."""


Done = Callable[[bytes | UringError], None]
"""Gets the next piece of the file, empty after the last, or why there is none."""


@define(eq=False)
class Backup:
    """One backup under way; the pieces are asked for one by one."""

    _node: Node
    manifest: Manifest
    _reader: Any
    _position: bytes | None = field(default=b"", init=False)
    _hash: Any = field(factory=hashlib.sha256, init=False)
    _begun: bool = field(default=False, init=False)
    _reading: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)
    heard: float = field(default=0.0, init=False)
    """When the receiver last asked for a piece."""
    on_abort: Callable[[], None] = field(default=lambda: None, init=False)
    """Called when the node gives the receiver up."""

    def next(self, done: Done) -> None:
        """Hand the next piece to ``done``; not to be called again before that."""
        self.heard = self._node.clock.seconds()
        if self._over:
            done(b"")
        elif not self._begun:
            self._begun = True
            done(self._hashed(MAGIC + _block(msgspec.json.encode(self.manifest))))
        else:
            self._reading = True
            self._node.background.submit(self._read, lambda result: self._read_done(result, done))

    def _read(self) -> bytes:
        """Read a chunk, and what follows the last (disk thread)."""
        chunk, self._position = self._reader.read(self._position, CHUNK_BYTES)
        piece = self._hashed(_block(chunk)) if chunk else b""
        if self._position is not None:
            return piece
        found = self._reader.summary()
        summary = Summary(found.count, found.length, found.digest.hex())
        end = self._hashed(_block(b"") + _block(msgspec.json.encode(summary)))
        self._over = True
        digest: bytes = self._hash.digest()
        return piece + end + digest

    def _read_done(self, result: Any, done: Done) -> None:
        self._reading = False
        if isinstance(result, Failure):
            # A snapshot took the state's place, or the disk failed and the node is about to stop.
            self.close()
            done(Unavailable(f"the backup cannot go on: {result.getErrorMessage()}"))
        else:
            if self._over:
                self.close()
            done(result)

    def _hashed(self, piece: bytes) -> bytes:
        self._hash.update(piece)
        return piece

    def close(self) -> None:
        """Let go of the old values.  Nothing happens the second time."""
        self._over = True
        if self in self._node.backups and not self._reading:
            self._node.backups.remove(self)
            self._reader.close()


def begin(node: Node) -> Backup:
    """Begin a backup of what ``node`` has applied.  Raises Unavailable."""
    sweep(node, node.clock.seconds())
    if len(node.backups) >= BACKUPS_MAX:
        raise Unavailable(f"{BACKUPS_MAX} backups are being taken already; try again later")
    reader = node.directory.state.snapshot_reader()
    manifest = Manifest(
        cluster=node.directory.identity.cluster_id.hex(),
        node=node.id,
        index=reader.meta.index,
        term=reader.meta.term,
        revision=node.machines.revision(node.directory.state),
        taken=node.facts().get("wall_time", 0.0),
        version=node.settings.version,
        level=node.upgrades.level,
    )
    backup = Backup(node, manifest, reader)
    backup.heard = node.clock.seconds()
    node.backups.append(backup)
    return backup


def sweep(node: Node, now: float) -> None:
    """Give up receivers that take nothing any more."""
    for backup in list(node.backups):
        if now - backup.heard > PATIENCE_SECONDS:
            backup.close()
            backup.on_abort()


def _block(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


@define
class BackupReader:
    """Reads a backup from a file, and knows at the end whether it was whole."""

    _file: BinaryIO
    manifest: Manifest = field(init=False)
    summary: Summary | None = field(default=None, init=False)
    """Known after the last chunk."""
    _hash: Any = field(factory=hashlib.sha256, init=False)

    def __attrs_post_init__(self) -> None:
        if self._take(len(MAGIC)) != MAGIC:
            raise BackupDamaged("this is no backup of uring, or one of another version")
        self.manifest = _decoded(self._next_block(), Manifest)

    def chunks(self) -> Iterator[bytes]:
        """Yield every chunk; raises BackupDamaged at the latest after the last one."""
        while chunk := self._next_block():
            yield chunk
        self.summary = _decoded(self._next_block(), Summary)
        expected = self._hash.digest()
        if self._file.read(_DIGEST_BYTES + 1) != expected:
            raise BackupDamaged("the backup's checksum is wrong, or something follows it")

    def _next_block(self) -> bytes:
        (size,) = _LENGTH.unpack(self._take(_LENGTH.size))
        if size > BLOCK_BYTES_MAX:
            raise BackupDamaged(f"a block of {size} bytes cannot be")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise BackupDamaged("the backup is cut off")
        self._hash.update(data)
        return data


def _decoded(data: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise BackupDamaged(f"the backup's head or end cannot be read: {problem}") from None
