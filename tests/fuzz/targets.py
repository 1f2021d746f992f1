"""Every decoder that reads bytes of others: from the network, from clients, from the disk.

A target takes any bytes.  It decodes them, or the decoder raises the error that its contract names;
anything else is a fault.  What decodes and has an encoder must survive the way there and back.
``good`` are encodings to begin with: from bytes that mean nothing a fuzzer hardly gets anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import frozen

from tests.support.gateway import FakeGateway
from uring.api import decode as json_decode
from uring.api.frames import parse_text_frames, text_frames, unmask
from uring.api.limits import Limits
from uring.api.session import Session
from uring.errors import BadRequest
from uring.machines import events
from uring.machines.base import MemoryState
from uring.machines.commands import (
    Cas,
    Command,
    Compare,
    Delete,
    GetOp,
    Grant,
    Once,
    Put,
    PutOp,
    Txn,
)
from uring.machines.proposal import Proposal, ProposalError
from uring.machines.proposal import decode as decode_proposal
from uring.machines.proposal import encode as encode_proposal
from uring.machines.table import Machines
from uring.members import Member, decode_member, encode_member
from uring.peers.address import parse as parse_address
from uring.raft import messages as raft
from uring.raft.membership import decode_conf_change, encode_conf_change
from uring.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfState,
    EntryKind,
    HardState,
    Snapshot,
    SnapshotMeta,
)
from uring.store import records
from uring.store.failures import StoreDamaged
from uring.store.identity import Identity, decode_identity, encode_identity
from uring.store.snapshots import SnapshotRejected, _split
from uring.wire import codec, envelopes
from uring.wire.framing import FrameDecoder, FrameError, encode_frame
from uring.wire.hello import OLDEST, Hello, HelloRefused, decode_hello, encode_hello

T = TypeVar("T")
LIMIT = 4096


@frozen
class Target:
    """A decoder.  ``run`` raises whatever must not happen."""

    run: Callable[[bytes], None]
    good: Sequence[bytes]


def _round_trip(
    decode: Callable[[bytes], T],
    encode: Callable[[T], bytes],
    refusal: type[Exception] | tuple[type[Exception], ...],
) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            found = decode(data)
        except refusal:
            return
        again = decode(encode(found))
        assert again == found, f"{found} comes back as {again}"

    return run


def _protected(
    key: bytes, decode: Callable[[bytes], T], encode: Callable[[T], bytes]
) -> Callable[[bytes], None]:
    """Try ``data`` as it is, and with the checksum that a fuzzer would never find."""
    run = _round_trip(decode, encode, StoreDamaged)

    def both(data: bytes) -> None:
        run(data)
        run(records.protect(key, data))

    return both


def _frames(data: bytes) -> None:
    """The first byte says how the rest is cut: the frames must not depend on it."""
    size, stream = data[0] + 1 if data else 1, data[1:]

    def cut(step: int) -> tuple[list[bytes], bool]:
        decoder = FrameDecoder(LIMIT)
        found: list[bytes] = []
        try:
            for start in range(0, len(stream), step):
                found.extend(decoder.feed(stream[start : start + step]))
        except FrameError:
            return found, False
        return found, True

    whole, pieces = cut(max(1, len(stream))), cut(size)
    assert whole == pieces
    assert stream.startswith(b"".join(encode_frame(frame, LIMIT) for frame in whole[0]))


def _text_frames(data: bytes) -> None:
    position, texts = parse_text_frames(data, LIMIT)
    assert 0 <= position <= len(data)
    assert sum(len(text) + 6 for text in texts) <= position
    for text in texts:
        text.decode()
    again, none = parse_text_frames(data[position:], LIMIT)
    assert (again, none) == (0, []), "it stopped before the first frame that is not plain"


def _masked(text: bytes) -> bytes:
    frame = text_frames([text])
    head = len(frame) - len(text)
    return bytes((frame[0], frame[1] | 0x80)) + frame[2:head] + b"mask" + unmask(text, b"mask")


def _json(data: bytes) -> None:
    limits = Limits()
    try:
        json_decode.parse(data, limits.json_depth, limits.batch_commands)
    except BadRequest as refused:
        assert str(refused)


def _ignore(busy: bool) -> None:
    pass


def _conversation(data: bytes) -> None:
    """Each line is a message; each is answered, and none with an internal error."""
    sent: list[Any] = []
    gateway = FakeGateway()
    session = Session(gateway, Limits(), "0", lambda text: sent.append(json.loads(text)), _ignore)
    for protocol in ("KV", "MRing", "URing"):
        session.received(b'{"Select":{"rid":0,"protocol":"%b"}}' % protocol.encode())
        for line in data.split(b"\n"):
            session.received(line)
    for reply in sent:
        for each in reply if isinstance(reply, list) else [reply]:
            assert each.get("code") != 500, reply
    assert session.in_flight == 0


def _entry(data: bytes) -> None:
    """Whatever is in the log, every replica applies it, to the same end."""
    states = [MemoryState(), MemoryState()]
    digests = []
    for state in states:
        Machines().apply(state, 1, data)
        digests.append(Machines().digest(state))
    assert digests[0] == digests[1]


def _chunk(data: bytes) -> None:
    try:
        found = _split(data)
    except SnapshotRejected:
        return
    assert b"".join(record for record, key, value in found) == data


def _address(data: bytes) -> None:
    try:
        host, port = parse_address(data.decode("utf-8", "replace"))
    except ValueError as refused:
        assert str(refused)
        return
    assert host
    assert 0 <= port <= 65535


_COMMANDS: list[Command] = [
    Put("k", "v"),
    Delete("k"),
    Cas("k", None, "v"),
    Txn([Compare("k", "revision", ">", 0)], [PutOp("k", b"\xff", 1), GetOp("k")]),
    Grant(1000),
    Once("once", Put("k", "w")),
]
_PROPOSAL = encode_proposal(Proposal(1, 1 << 32, 1, 1, _COMMANDS))
_ENTRY = codec.seal(3, 5, EntryKind.NORMAL, _PROPOSAL)
_CONF = ConfState((1, 2, 3), (4,), (1, 2), (2,), True)
_MESSAGES = codec.encode_messages(
    [
        raft.Append(to=1, from_=2, term=3, prev_index=4, prev_term=3, entries=(_ENTRY,), commit=4),
        raft.InstallSnapshot(
            to=1, from_=2, term=3, snapshot=Snapshot(SnapshotMeta(4, 3, _CONF), b"data")
        ),
        raft.Vote(to=1, from_=2, term=3, last_index=4, last_term=3),
        envelopes.Forward(to=1, from_=2, sequence=7, batch=_PROPOSAL),
    ]
)
_HELLO = Hello(
    version=OLDEST,
    cluster_id=bytes(16),
    node_id=1,
    instance_id=bytes(16),
    address="127.0.0.1:1",
    applied=7,
    newest=3,
    level=2,
)
_CHANGE = ConfChange(
    changes=(ConfChangeSingle(ConfChangeKind.ADD_NODE, 1),),
    context=encode_member(1, Member("127.0.0.1:1", bytes(16)), 2),
)
_LINES = b"\n".join(
    (
        b'{"Put":{"rid":1,"key":"k","store":"v"}}',
        b'[{"Get":{"rid":2,"key":"k"}},{"Cas":{"rid":3,"key":"k","check":null,"store":"w"}}]',
        b'{"As":{"protocol":"MRing","cmd":{"SetSize":{"rid":4,"size":64}}}}',
        b'{"AddNode":{"rid":5,"node":"n"}}',
        b'{"Subscribe":{"rid":6,"channel":"kv"}}',
        b'{"Members":{"rid":7}}',
    )
)

TARGETS: dict[str, Target] = {
    "log entries": Target(
        _round_trip(
            codec.decode_entry,
            lambda entry: codec.encode_entry(entry.term, entry.index, entry.kind, entry.data),
            codec.DecodeError,
        ),
        [_ENTRY.record],
    ),
    "peer messages": Target(
        _round_trip(codec.decode_messages, codec.encode_messages, codec.DecodeError), [_MESSAGES]
    ),
    "hellos": Target(
        _round_trip(decode_hello, encode_hello, codec.DecodeError),
        [encode_hello(_HELLO), encode_hello(HelloRefused(code="id", reason="taken"))],
    ),
    "frames": Target(
        _frames, [b"\x03" + encode_frame(b"one", LIMIT) + encode_frame(b"two", LIMIT)]
    ),
    "WebSocket frames": Target(_text_frames, [_masked(b"{}") + _masked(b"x" * 200)]),
    "JSON": Target(_json, [_LINES.replace(b"\n", b" "), b'[1.5e3, true, null, "\\ud83d\\ude00"]']),
    "WebSocket messages": Target(_conversation, [_LINES]),
    "membership changes": Target(
        _round_trip(decode_conf_change, encode_conf_change, ValueError),
        [encode_conf_change(_CHANGE)],
    ),
    "members": Target(
        _round_trip(decode_member, lambda found: encode_member(*found), ValueError),
        [_CHANGE.context],
    ),
    "proposals": Target(_round_trip(decode_proposal, encode_proposal, ProposalError), [_PROPOSAL]),
    "entries applied": Target(_entry, [_PROPOSAL]),
    "events": Target(
        _round_trip(events.decode, events.encode, ValueError),
        [events.encode([events.RingSized(64, "continuous")])],
    ),
    "hard state": Target(
        _protected(records.HARD_STATE, records.decode_hard_state, records.encode_hard_state),
        [records.encode_hard_state(HardState(1, 2, 3))[4:]],
    ),
    "places in the log": Target(
        _protected(
            records.APPLIED,
            lambda value: records.decode_place(records.APPLIED, value),
            lambda place: records.encode_place(records.APPLIED, *place),
        ),
        [records.encode_place(records.APPLIED, 1, 2)[4:]],
    ),
    "configuration": Target(
        _protected(records.CONF_STATE, records.decode_conf_state, records.encode_conf_state),
        [records.encode_conf_state(_CONF)[4:]],
    ),
    "member addresses": Target(
        _protected(records.MEMBERS, records.decode_members, records.encode_members),
        [records.encode_members({1: "a:1", 2: "b:2"})[4:]],
    ),
    "identity": Target(
        _protected(records.IDENTITY, decode_identity, encode_identity),
        [encode_identity(Identity(bytes(16), 1, bytes(16), 1))[4:]],
    ),
    "snapshot chunks": Target(_chunk, [bytes((0, 0, 0, 1, 0, 0, 0, 2)) + b"kvv"]),
    "addresses": Target(_address, [b"127.0.0.1:8080", b"[::1]:1"]),
}
"""By name."""
