"""A check that LevelDB does not make: was the end of a write-ahead file torn, or damaged?

LevelDB takes a last record that is longer than its file for a write that a crash cut short, and
drops it without an error, paranoid or not.  A damaged length field looks the same and would take
up to 32 KiB of acknowledged records with it.  The two differ: after damage the record is still
whole, so some shorter length fits its checksum.

Layout (LevelDB's doc/log_format.md): blocks of 32 KiB; each record has a masked CRC-32C over type
and content (4 bytes), a length (2) and a type (1), all little-endian.
"""

from __future__ import annotations

import struct
from pathlib import Path

from uring.store.failures import StoreDamaged

BLOCK = 32 * 1024
_HEADER = struct.Struct("<IHB")
_LAST_TYPE = 4


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def _unmask(masked: int) -> int:
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _is_whole_at_another_length(crc: int, kind: int, rest: bytes) -> bool:
    """Whether some prefix of ``rest`` fits the checksum and what follows it looks like a log."""
    wanted = _unmask(crc) ^ 0xFFFFFFFF
    value = _TABLE[(0xFFFFFFFF ^ kind) & 0xFF] ^ 0x00FFFFFF
    for position, byte in enumerate(rest):
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
        if value == wanted:
            following = rest[position + 1 : position + 1 + _HEADER.size]
            if len(following) < _HEADER.size or following[-1] <= _LAST_TYPE:
                return True
    return False


def check_tail(path: Path) -> None:
    """Raise :exc:`StoreDamaged` if the last block of a log file ends in a damaged record."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(size - size % BLOCK)
        block = file.read(BLOCK)
    offset = 0
    while offset + _HEADER.size <= len(block):
        crc, length, kind = _HEADER.unpack_from(block, offset)
        offset += _HEADER.size
        if offset + length > len(block):
            if _is_whole_at_another_length(crc, kind, block[offset:]):
                raise StoreDamaged(f"damaged record length at the end of {path.name}")
            return
        offset += length


def check_tails(database: Path) -> None:
    """Check every write-ahead log and manifest of a LevelDB directory that is not open."""
    for path in sorted(database.iterdir()):
        if path.suffix == ".log" or path.name.startswith("MANIFEST-"):
            check_tail(path)
