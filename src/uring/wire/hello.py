"""The first thing on a connection between nodes: who is there, and of which cluster."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

from uring.wire.codec import DecodeError

MAGIC = b"URING/1\n"
"""What a peer's connection begins with; no HTTP request does."""

OLDEST, NEWEST = 1, 1
"""The versions of the protocol between nodes that are spoken here: two nodes speak the newest that
both know.  A new version is spoken beside the one before it for at least one release, so that nodes
can be upgraded one by one."""

HELLO_BYTES_MAX = 4096
"""A hello comes from a stranger: it gets no more room than it needs."""

_Version = Annotated[int, Meta(ge=0, le=255)]
_Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Uuid = Annotated[bytes, Meta(min_length=16, max_length=16)]
_UuidOrNone = Annotated[bytes, Meta(max_length=16)]


class Hello(Struct, frozen=True, array_like=True, tag="H"):
    """Both sides send one.  New fields are added at the end; older programs pass over them.

    ``version`` is the oldest of the protocol that the sender speaks, ``newest`` the newest (0: the
    same); ``level`` the feature level that it supports (:mod:`uring.machines.levels`).
    ``cluster_id`` is empty on a node that was never added; ``instance_id`` was made with the data
    directory; ``address`` is where others may dial the sender ("host:port"); ``applied`` is how far
    its state is; ``nonce`` is empty where nodes share no secret.
    """

    version: _Version
    cluster_id: _UuidOrNone
    node_id: _Id
    instance_id: _Uuid
    address: Annotated[str, Meta(min_length=1, max_length=512)]
    applied: _Count = 0
    nonce: Annotated[bytes, Meta(max_length=32)] = b""
    newest: _Version = 0
    level: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 1


class HelloRefused(Struct, frozen=True, array_like=True, tag="R"):
    """Why the receiver of a hello does not talk to its sender.

    ``code`` is one of "version", "level", "certificate", "secret", "cluster", "id", "instance",
    "self".
    """

    code: Annotated[str, Meta(max_length=32)]
    reason: Annotated[str, Meta(max_length=1024)]


class Proof(Struct, frozen=True, array_like=True, tag="P"):
    """That the sender has the secret of the cluster, after both hellos."""

    mac: Annotated[bytes, Meta(min_length=32, max_length=32)]


Greeting: TypeAlias = Hello | HelloRefused | Proof
"""What may be said before messages."""


def common_version(hello: Hello) -> int | None:
    """Return the newest version of the protocol that both sides speak, None if there is none."""
    newest = min(NEWEST, max(hello.version, hello.newest))
    return newest if newest >= max(OLDEST, hello.version) else None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Hello | HelloRefused | Proof)


def encode_hello(hello: Greeting) -> bytes:
    """Return one frame's payload."""
    return _ENCODER.encode(hello)


def decode_hello(payload: bytes) -> Greeting:
    """Return what :func:`encode_hello` was given.  Raises only DecodeError."""
    try:
        hello: Greeting = _DECODER.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise DecodeError(f"undecodable hello: {problem}") from None
    if isinstance(hello, Hello) and len(hello.cluster_id) not in (0, 16):
        raise DecodeError("a cluster id has 16 bytes")
    return hello
