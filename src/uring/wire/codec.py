"""Entries and messages as bytes: versioned, strict, and encoded once.

An entry's record is made by the leader; it is what lies in every log and what travels in every
append, byte for byte.  A frame holds all messages of one turn for one peer.
"""

from __future__ import annotations

import struct
import typing
import zlib
from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated, Any, TypeAlias

import attrs
import msgspec
from msgspec import Meta

from uring.raft import messages as raft_messages
from uring.raft.messages import Append, Message
from uring.raft.types import ConfState, Entry, EntryKind, Snapshot, SnapshotMeta
from uring.wire import envelopes

VERSION = 1
"""Of the encoding of messages; a frame of another version is refused."""

_HEAD = struct.Struct(">QQBI")
"""Term, index, kind, CRC-32 of those three and the data that follows."""
_CHECKED = struct.Struct(">QQB")

PeerMessage: TypeAlias = Message | envelopes.Envelope


class DecodeError(ValueError):
    """The bytes are not what they should be."""


# -- entries -------------------------------------------------------------------------------------


def encode_entry(term: int, index: int, kind: EntryKind, data: bytes) -> bytes:
    """Return the record of an entry: 21 bytes, then ``data`` as it is."""
    crc = zlib.crc32(data, zlib.crc32(_CHECKED.pack(term, index, kind)))
    return _HEAD.pack(term, index, kind, crc) + data


def seal(term: int, index: int, kind: EntryKind, data: bytes) -> Entry:
    """Return an entry that carries its record."""
    return Entry(term, index, kind, data, encode_entry(term, index, kind, data))


def decode_entry(record: bytes) -> Entry:
    """Return the entry of ``record``, which it keeps.  Raises :exc:`DecodeError`."""
    if len(record) < _HEAD.size:
        raise DecodeError(f"an entry of {len(record)} bytes is cut off")
    term, index, kind, crc = _HEAD.unpack_from(record)
    data = record[_HEAD.size :]
    if crc != zlib.crc32(data, zlib.crc32(_CHECKED.pack(term, index, kind))):
        raise DecodeError(f"the entry at index {index} fails its checksum")
    try:
        return Entry(term, index, EntryKind(kind), data, record)
    except ValueError:
        raise DecodeError(f"the entry at index {index} is of unknown kind {kind}") from None


# -- messages ------------------------------------------------------------------------------------
# The classes of messages know nothing of bytes.  Each gets an array-like twin with the same fields,
# by which msgspec checks types and ranges while it decodes.

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_WIRE_TYPES: dict[Any, Any] = {
    int: _Count,
    bool: bool,
    bytes: bytes,
    str: str,
    tuple[Entry, ...]: list[bytes],
    Snapshot: tuple[_Count, _Count, list[list[_Count]], bool, bytes],
}

_CLASSES: tuple[type, ...] = (
    *typing.get_args(Message),
    *typing.get_args(envelopes.Envelope),
)
"""A class's place is its tag on the wire: new ones are added at the end of the envelopes."""


def _twin(tag: int, cls: type) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(cls, vars(raft_messages))
    fields = [(each.name, _WIRE_TYPES[hints[each.name]]) for each in attrs.fields(cls)]
    return msgspec.defstruct(
        cls.__name__, fields, tag_field="_tag", tag=tag, array_like=True, frozen=True, gc=False
    )


_TWINS = {cls: _twin(tag, cls) for tag, cls in enumerate(_CLASSES)}
_NAMES = {cls: tuple(each.name for each in attrs.fields(cls)) for cls in _CLASSES}
_VALUES = {cls: attrgetter(*names) for cls, names in _NAMES.items()}
_BACK = {twin: cls for cls, twin in _TWINS.items()}
_SPECIAL = {
    cls: {
        each.name
        for each in attrs.fields(cls)
        if typing.get_type_hints(cls, vars(raft_messages))[each.name]
        in (tuple[Entry, ...], Snapshot)
    }
    for cls in _CLASSES
}
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    tuple[int, list[typing.Union[tuple(_TWINS.values())]]]  # type: ignore[misc]  # noqa: UP007
)


def encode_messages(messages: Iterable[PeerMessage]) -> bytes:
    """Return one frame's payload."""
    return _ENCODER.encode((VERSION, [_to_wire(message) for message in messages]))


def _to_wire(message: PeerMessage) -> msgspec.Struct:
    cls = type(message)
    special = _SPECIAL[cls]
    if not special:
        return _TWINS[cls](*_VALUES[cls](message))
    values = [
        _special_to_wire(getattr(message, name)) if name in special else getattr(message, name)
        for name in _NAMES[cls]
    ]
    return _TWINS[cls](*values)


def _special_to_wire(value: tuple[Entry, ...] | Snapshot) -> Any:
    if isinstance(value, Snapshot):
        conf = value.meta.conf_state
        ids = [conf.voters, conf.learners, conf.voters_outgoing, conf.learners_next]
        return (value.meta.index, value.meta.term, ids, conf.auto_leave, value.data)
    return [
        entry.record or encode_entry(entry.term, entry.index, entry.kind, entry.data)
        for entry in value
    ]


def decode_messages(payload: bytes) -> list[PeerMessage]:
    """Return what :func:`encode_messages` was given.  Raises only :exc:`DecodeError`."""
    try:
        version, twins = _DECODER.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise DecodeError(f"undecodable messages: {problem}") from None
    if version != VERSION:
        raise DecodeError(f"messages of version {version}; this node speaks {VERSION}")
    return [_from_wire(twin) for twin in twins]


def _from_wire(twin: msgspec.Struct) -> PeerMessage:
    cls = _BACK[type(twin)]
    values = dict(zip(_NAMES[cls], msgspec.structs.astuple(twin), strict=True))
    for name in _SPECIAL[cls]:
        values[name] = _special_from_wire(values[name])
    message: PeerMessage = cls(**values)
    if type(message) is Append:
        _check_entries(message)
    return message


def _special_from_wire(value: Any) -> tuple[Entry, ...] | Snapshot:
    if isinstance(value, list):
        return tuple([decode_entry(record) for record in value])
    index, term, ids, auto_leave, data = value
    if len(ids) != 4:
        raise DecodeError("a membership has four lists of ids")
    voters, learners, outgoing, learners_next = (tuple(each) for each in ids)
    conf = ConfState(voters, learners, outgoing, learners_next, auto_leave)
    return Snapshot(SnapshotMeta(index, term, conf), data)


def _check_entries(message: Append) -> None:
    """Entries follow each other without a gap, their terms never fall (log matching, 5.3)."""
    index, term = message.prev_index, message.prev_term
    for entry in message.entries:
        index += 1
        if entry.index != index or not term <= entry.term <= message.term:
            raise DecodeError(
                f"entry {entry.term}/{entry.index} cannot follow {term}/{index - 1} "
                f"in term {message.term}"
            )
        term = entry.term
