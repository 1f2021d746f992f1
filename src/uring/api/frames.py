"""The common case of RFC 6455, fast: whole, final, masked text frames; and replies to them."""

from __future__ import annotations

import struct

from autobahn.websocket import USES_NVX
from autobahn.websocket.xormasker import create_xor_masker  # type: ignore[attr-defined]

NATIVE_BYTES_MIN = 2048
"""From here on autobahn's native masking is faster than ours, which is ten times as fast as its
other one in Python."""
COUNT_MAX = 1 << 30
_LENGTH16 = struct.Struct(">H")
_LENGTH64 = struct.Struct(">Q")
_HEAD16 = struct.Struct(">BBH")
_HEAD64 = struct.Struct(">BBQ")

_FINAL_TEXT = 0x81
_MASKED = 0x80


def text_frame(payload: bytes) -> bytes:
    """Return an unmasked final text frame, as servers send them (section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((_FINAL_TEXT, size)) + payload
    if size < 65536:
        return _HEAD16.pack(_FINAL_TEXT, 126, size) + payload
    return _HEAD64.pack(_FINAL_TEXT, 127, size) + payload


def parse_text_frames(
    data: bytes, limit: int, position: int = 0, count: int = COUNT_MAX
) -> tuple[int, list[bytes]]:
    """Return where the first frame begins that is not plain, and the texts from ``position`` to it.

    No more than ``count`` of them: the first frame after these is then where it ends.

    Plain is a complete, final, masked text frame without reserved bits, of at most ``limit`` bytes
    of valid UTF-8, its length in the shortest form.  Anything else is left for a full parser, which
    also knows how to refuse it.
    """
    texts: list[bytes] = []
    end = len(data)
    while end - position >= 6 and len(texts) < count:
        if data[position] != _FINAL_TEXT:
            break
        size = data[position + 1] - _MASKED
        start = position + 2
        if size == 126:
            if end - start < 6:
                break
            (size,) = _LENGTH16.unpack_from(data, start)
            start += 2
            if size < 126:
                break
        elif size == 127:
            if end - start < 12:
                break
            (size,) = _LENGTH64.unpack_from(data, start)
            start += 8
            if size < 65536:
                break
        if not 0 <= size <= limit or end - start - 4 < size:
            break
        text = unmask(data[start + 4 : start + 4 + size], data[start : start + 4])
        if not text.isascii():
            try:
                text.decode()
            except UnicodeDecodeError:
                break
        texts.append(text)
        position = start + 4 + size
    return position, texts


def unmask(payload: bytes, key: bytes) -> bytes:
    """Return ``payload`` with the four bytes of ``key`` laid over it again and again.

    As one exclusive or of two large integers: a loop over bytes would take a hundred times longer.
    Where autobahn's native extension is there, it is faster still, but takes long to be begun.
    """
    size = len(payload)
    if size >= NATIVE_BYTES_MIN and USES_NVX:
        unmasked: bytes = create_xor_masker(key, size).process(payload)
        return unmasked
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(size)
