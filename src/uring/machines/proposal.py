"""What one entry of the log holds: the commands that one node gathered in one turn."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from uring.machines.commands import Command


class ProposalError(ValueError):
    """The bytes are no proposal, or a command cannot be put into one."""


class Proposal(Struct, array_like=True, forbid_unknown_fields=True):
    """A batch of commands, and the name under which it applies at most once.

    ``sequence`` counts the batches of one ``incarnation`` of node ``proposer``; all below ``floor``
    are settled and will not be proposed again.
    """

    proposer: int
    incarnation: int
    sequence: int
    floor: int
    commands: list[Command]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Proposal)


def encode(proposal: Proposal) -> bytes:
    """Return the data of the entry that carries ``proposal``.

    Raises :exc:`ProposalError` for text that is no Unicode and for integers beyond 64 bits.
    """
    try:
        return _ENCODER.encode(proposal)
    except (ValueError, OverflowError) as problem:
        raise ProposalError(f"cannot be encoded: {problem}") from None


def encode_commands(commands: Sequence[Command]) -> bytes:
    """Return ``commands`` as :func:`join` takes them.  Raises :exc:`ProposalError` as encode does.

    Commands are encoded when they arrive, so that one that cannot be is refused alone, and the
    bytes that wait are known to the byte.
    """
    try:
        if len(commands) == 1:
            return _ENCODER.encode(commands[0])
        return _ENCODER.encode(commands)[len(_head(len(commands))) :]
    except (ValueError, OverflowError) as problem:
        raise ProposalError(f"cannot be encoded: {problem}") from None


def join(
    proposer: int,
    incarnation: int,
    sequence: int,
    floor: int,
    count: int,
    commands: Sequence[bytes],
) -> bytes:
    """Return what :func:`encode` would make of a proposal with these encoded commands, ``count`` in
    all."""
    name = _ENCODER.encode((proposer, incarnation, sequence, floor))
    return b"".join((b"\x95", name[1:], _head(count), *commands))  # 0x95: an array of five


def _head(count: int) -> bytes:
    """Return what an array of ``count`` begins with in MessagePack."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2)
    return b"\xdd" + count.to_bytes(4)


def decode(data: bytes) -> Proposal:
    """Return what :func:`encode` was given.  Raises :exc:`ProposalError`."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise ProposalError(f"undecodable proposal: {problem}") from None
