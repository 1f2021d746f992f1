"""Key and value layout of both databases.

All integers are big-endian, so that keys sort by number.  Small records carry a CRC-32 over their
key and content; log entries carry their own (see :mod:`uring.wire.codec`); data of the machines
rely on LevelDB's block checksums, which every read here asks for.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from uring.raft.types import ConfState, HardState
from uring.store.failures import StoreDamaged

FORMAT_VERSION = 1
"""Raised when a change makes older programs misread the directory."""

# The log database.
LOG_FORMAT = b"\x00format"
IDENTITY = b"\x00identity"
HARD_STATE = b"\x01hard"
BOUNDARY = b"\x01boundary"
ENTRY = b"\x02"
ENTRY_END = b"\x03"

# The state database: what is local, what a snapshot carries, the machines' own keys.
STATE_FORMAT = b"\x00format"
OWNER = b"\x00owner"
INSTALLED = b"\x00installed"
SYNCED = b"\x00synced"
APPLIED = b"\x01applied"
CONF_STATE = b"\x01conf"
MEMBERS = b"\x01members"
LEVEL = b"\x01level"
DATA = b"\x02"
DATA_END = b"\x03"
SNAPSHOT_START = b"\x01"
SNAPSHOT_END = DATA_END

_INDEX = struct.Struct(">Q")
_PLACE = struct.Struct(">QQ")
_HARD = struct.Struct(">QQQ")
_CRC = struct.Struct(">I")
_COUNT = struct.Struct(">I")
_MEMBER = struct.Struct(">QI")


def entry_key(index: int) -> bytes:
    """Return the key of the log entry at ``index``."""
    return ENTRY + _INDEX.pack(index)


def entry_index(key: bytes) -> int:
    """Return the index in an entry's key.  Raises :exc:`StoreDamaged`."""
    if len(key) != len(ENTRY) + _INDEX.size or not key.startswith(ENTRY):
        raise StoreDamaged(f"no key of a log entry: {key!r}")
    return int(_INDEX.unpack_from(key, len(ENTRY))[0])


def protect(key: bytes, content: bytes) -> bytes:
    """Return ``content`` with its checksum before it; the key is part of the sum."""
    return _CRC.pack(zlib.crc32(key + content)) + content


def unprotect(key: bytes, value: bytes) -> bytes:
    """Return the content of a protected record.  Raises :exc:`StoreDamaged`."""
    content = value[_CRC.size :]
    if len(value) < _CRC.size or _CRC.unpack_from(value)[0] != zlib.crc32(key + content):
        raise StoreDamaged(f"checksum mismatch in record {key!r}")
    return content


def _unpack(layout: struct.Struct, key: bytes, value: bytes) -> tuple[int, ...]:
    content = unprotect(key, value)
    if len(content) != layout.size:
        raise StoreDamaged(f"record {key!r} has {len(content)} bytes, not {layout.size}")
    return layout.unpack(content)


def encode_version(key: bytes, version: int = FORMAT_VERSION) -> bytes:
    """Return the value of a format record."""
    return protect(key, _COUNT.pack(version))


def decode_version(key: bytes, value: bytes) -> int:
    """Return the version in a format record.  Raises :exc:`StoreDamaged`."""
    return _unpack(_COUNT, key, value)[0]


def encode_hard_state(hard: HardState) -> bytes:
    """Return the value of the hard state's record."""
    return protect(HARD_STATE, _HARD.pack(hard.term, hard.vote, hard.commit))


def decode_hard_state(value: bytes) -> HardState:
    """Return the hard state.  Raises :exc:`StoreDamaged`."""
    return HardState(*_unpack(_HARD, HARD_STATE, value))


def encode_place(key: bytes, index: int, term: int) -> bytes:
    """Return the value of a record that names a place in the log."""
    return protect(key, _PLACE.pack(index, term))


def decode_place(key: bytes, value: bytes) -> tuple[int, int]:
    """Return the (index, term) of a place record.  Raises :exc:`StoreDamaged`."""
    index, term = _unpack(_PLACE, key, value)
    return index, term


def encode_conf_state(conf: ConfState) -> bytes:
    """Return the value of the membership record: a flag, then four counted lists of ids."""
    parts = [b"\x01" if conf.auto_leave else b"\x00"]
    for ids in (conf.voters, conf.learners, conf.voters_outgoing, conf.learners_next):
        parts.append(_COUNT.pack(len(ids)) + struct.pack(f">{len(ids)}Q", *ids))
    return protect(CONF_STATE, b"".join(parts))


def decode_conf_state(value: bytes) -> ConfState:
    """Return the membership.  Raises :exc:`StoreDamaged`."""
    content = unprotect(CONF_STATE, value)
    try:
        lists: list[tuple[int, ...]] = []
        offset = 1
        for _ in range(4):
            (count,) = _COUNT.unpack_from(content, offset)
            lists.append(struct.unpack_from(f">{count}Q", content, offset + _COUNT.size))
            offset += _COUNT.size + count * _INDEX.size
        if offset != len(content) or content[0] > 1:
            raise StoreDamaged("membership record has a wrong length or flag")
    except (struct.error, IndexError) as error:
        raise StoreDamaged(f"membership record cannot be read: {error}") from error
    voters, learners, outgoing, learners_next = lists
    return ConfState(voters, learners, outgoing, learners_next, bool(content[0]))


def encode_members(addresses: Mapping[int, str]) -> bytes:
    """Return the value of the addresses' record: id, length, UTF-8 text, sorted by id."""
    parts = []
    for node_id, address in sorted(addresses.items()):
        text = address.encode()
        parts.append(_MEMBER.pack(node_id, len(text)) + text)
    return protect(MEMBERS, b"".join(parts))


def decode_members(value: bytes) -> dict[int, str]:
    """Return the member addresses.  Raises :exc:`StoreDamaged`."""
    content = unprotect(MEMBERS, value)
    addresses: dict[int, str] = {}
    offset = 0
    try:
        while offset < len(content):
            node_id, length = _MEMBER.unpack_from(content, offset)
            offset += _MEMBER.size + length
            if offset > len(content):
                raise StoreDamaged("member addresses end early")
            addresses[node_id] = content[offset - length : offset].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise StoreDamaged(f"member addresses cannot be read: {error}") from error
    return addresses
