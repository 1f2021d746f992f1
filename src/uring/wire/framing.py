"""Length-prefixed frames: four bytes, big-endian, then that many bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from attrs import define, field

_LENGTH = struct.Struct(">I")
HEAD_BYTES = _LENGTH.size


class FrameError(ValueError):
    """The stream announces a frame that is empty or larger than the limit."""


def encode_frame(payload: bytes, limit: int) -> bytes:
    """Return ``payload`` with its length before it.  Raises FrameError beyond ``limit`` bytes."""
    _check(len(payload), limit)
    return _LENGTH.pack(len(payload)) + payload


def _check(length: int, limit: int) -> None:
    if not 0 < length <= limit:
        raise FrameError(f"a frame of {length} bytes; 1 to {limit} are allowed")


@define
class FrameDecoder:
    """Cuts a stream into frames.

    A length beyond the limit is refused as soon as its four bytes are there: nothing of such a
    frame is ever buffered.  Pieces are kept apart until a frame is complete, so a large frame that
    arrives in small pieces costs no more than one copy.
    """

    limit: int
    """May be changed between two frames: what comes after one is judged by what it led to."""
    _pieces: list[bytes] = field(factory=list, init=False)
    _held: int = field(default=0, init=False)
    _wanted: int = field(default=HEAD_BYTES, init=False)
    """Bytes that must be there before it is worth looking again."""

    @property
    def is_empty(self) -> bool:
        """True between two frames: nothing of a next one has arrived."""
        return self._held == 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that ``data`` completes.  Raises :exc:`FrameError`.

        What is not asked for is lost: go through all of it, or drop the decoder.
        """
        self._pieces.append(data)
        self._held += len(data)
        if self._held < self._wanted:
            return
        stream = b"".join(self._pieces) if len(self._pieces) > 1 else data
        position, end = 0, len(stream)
        self._wanted = HEAD_BYTES
        while end - position >= HEAD_BYTES:
            (length,) = _LENGTH.unpack_from(stream, position)
            _check(length, self.limit)
            after = position + HEAD_BYTES + length
            if after > end:
                self._wanted = HEAD_BYTES + length
                break
            yield stream[position + HEAD_BYTES : after]
            position = after
        rest = stream[position:]
        self._pieces = [rest] if rest else []
        self._held = len(rest)
