"""Entries and messages, and bytes that are neither."""

from __future__ import annotations

import contextlib
import typing
from typing import Any

import attrs
import msgspec
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.raft.messages import Append, Message
from uring.raft.types import ConfState, Entry, EntryKind, Snapshot, SnapshotMeta
from uring.wire.codec import (
    DecodeError,
    decode_entry,
    decode_messages,
    encode_entry,
    encode_messages,
    seal,
)
from uring.wire.envelopes import Envelope

counts = st.integers(0, 2**63 - 1)
ids = st.lists(counts, max_size=3).map(tuple)
kinds = st.sampled_from(EntryKind)
entries = st.builds(seal, counts, counts, kinds, st.binary(max_size=20))
snapshots = st.builds(
    Snapshot,
    st.builds(
        SnapshotMeta, counts, counts, st.builds(ConfState, ids, ids, ids, ids, st.booleans())
    ),
    st.binary(max_size=20),
)
CLASSES = (*typing.get_args(Message), *typing.get_args(Envelope))
FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    "int": counts,
    "bool": st.booleans(),
    "bytes": st.binary(max_size=20),
    "str": st.text(max_size=20),
    "tuple[Entry, ...]": st.lists(entries, max_size=3).map(tuple),
    "Snapshot": snapshots,
}


def message_of(cls: type) -> st.SearchStrategy[Any]:
    """Return a strategy for messages of one class."""
    if cls is Append:
        return appends()
    return st.builds(cls, **{each.name: FIELDS[each.type] for each in attrs.fields(cls)})


@st.composite
def appends(draw: st.DrawFn) -> Append:
    """Draw an Append whose entries follow each other, as a leader's do."""
    prev_index, prev_term = draw(st.integers(0, 1000)), draw(st.integers(0, 10))
    terms = sorted(draw(st.lists(st.integers(prev_term, 20), max_size=4)))
    following = [
        seal(term, prev_index + 1 + i, EntryKind.NORMAL, b"x") for i, term in enumerate(terms)
    ]
    return Append(
        to=1,
        from_=2,
        term=20,
        prev_index=prev_index,
        prev_term=prev_term,
        entries=tuple(following),
        commit=draw(counts),
    )


messages = st.sampled_from(CLASSES).flatmap(message_of)


class EntryTests(SynchronousTestCase):
    """Records."""

    @given(counts, counts, kinds, st.binary(max_size=100))
    def test_round_trip(self, term: int, index: int, kind: EntryKind, data: bytes) -> None:
        """An entry comes back with the record that it was read from."""
        record = encode_entry(term, index, kind, data)
        entry = decode_entry(record)
        self.assertEqual(entry, Entry(term, index, kind, data))
        self.assertIs(entry.record, record)
        self.assertEqual(seal(term, index, kind, data).record, record)

    @given(st.binary(max_size=60), st.data())
    def test_one_flipped_bit(self, payload: bytes, data: st.DataObject) -> None:
        """No single flipped bit goes unnoticed, wherever it is."""
        record = bytearray(encode_entry(3, 7, EntryKind.NORMAL, payload))
        bit = data.draw(st.integers(0, len(record) * 8 - 1))
        record[bit // 8] ^= 1 << bit % 8
        with self.assertRaises(DecodeError):
            decode_entry(bytes(record))

    @given(st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        """Bytes that are no record are refused, by that error and no other."""
        with self.assertRaises(DecodeError):
            decode_entry(data)


class MessageTests(SynchronousTestCase):
    """Frames of messages."""

    @given(st.lists(messages, max_size=4))
    def test_round_trip(self, sent: list[Any]) -> None:
        """Every kind of message comes back as it was, several in one frame, in order."""
        self.assertEqual(decode_messages(encode_messages(sent)), sent)

    def test_every_kind(self) -> None:
        """Each class has a tag of its own."""
        for cls in CLASSES:
            fields = {each.name: message_value(each.type) for each in attrs.fields(cls)}
            message = cls(**fields)
            self.assertEqual(decode_messages(encode_messages([message])), [message])

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """Bytes that are no frame are refused by DecodeError."""
        try:
            decode_messages(data)
        except DecodeError:
            return
        self.assertEqual(msgspec.msgpack.decode(data), [1, []])

    @given(st.lists(messages, min_size=1, max_size=2), st.data())
    def test_mutations(self, sent: list[Any], data: st.DataObject) -> None:
        """A frame with a changed or missing byte is a frame or refused; there is no other error."""
        frame = bytearray(encode_messages(sent))
        place = data.draw(st.integers(0, len(frame) - 1))
        if data.draw(st.booleans()):
            frame[place] = data.draw(st.integers(0, 255))
        else:
            del frame[place:]
        with contextlib.suppress(DecodeError):
            decode_messages(bytes(frame))

    def test_numbers_out_of_range(self) -> None:
        """Terms are whole numbers from 0 to 2**63 - 1."""
        frame = msgspec.msgpack.decode(encode_messages([append()]))
        for term in (-1, 2**63, 2**64 - 1, 1.5, "1", None, True):
            frame[1][0][3] = term
            with self.assertRaises(DecodeError):
                decode_messages(msgspec.msgpack.encode(frame))

    def test_entries_that_do_not_follow(self) -> None:
        """Gaps, falling terms and terms of the future are refused before the core sees them."""
        for wrong in (
            (seal(3, 6, EntryKind.NORMAL, b""),),
            (seal(2, 5, EntryKind.NORMAL, b""),),
            (seal(4, 5, EntryKind.NORMAL, b""), seal(3, 6, EntryKind.NORMAL, b"")),
            (seal(9, 5, EntryKind.NORMAL, b""),),
        ):
            with self.assertRaises(DecodeError):
                decode_messages(encode_messages([evolve(append(), entries=wrong)]))

    def test_other_version(self) -> None:
        """A frame of another version is refused as such."""
        with self.assertRaisesRegex(DecodeError, "version 2"):
            decode_messages(msgspec.msgpack.encode((2, [])))


def append() -> Append:
    """Return an Append after entry 4 of term 3, in term 5."""
    return Append(to=1, from_=2, term=5, prev_index=4, prev_term=3)


def message_value(kind: Any) -> Any:
    """Return some value of a field's type."""
    return {
        "int": 7,
        "bool": True,
        "bytes": b"b",
        "str": "s",
        "tuple[Entry, ...]": (),
        "Snapshot": Snapshot(SnapshotMeta(5, 3, ConfState((1, 2), (3,))), b"d"),
    }[kind]
