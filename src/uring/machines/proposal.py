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


def encode_command(command: Command) -> bytes:
    """Return ``command`` as :func:`join` takes it.  Raises :exc:`ProposalError` as encode does.

    A command is encoded when it arrives, so that one that cannot be is refused alone, and the bytes
    that wait are known to the byte.
    """
    try:
        return _ENCODER.encode(command)
    except (ValueError, OverflowError) as problem:
        raise ProposalError(f"cannot be encoded: {problem}") from None


def join(
    proposer: int, incarnation: int, sequence: int, floor: int, commands: Sequence[bytes]
) -> bytes:
    """Return what :func:`encode` would make of a proposal with these encoded commands."""
    name = _ENCODER.encode((proposer, incarnation, sequence, floor))
    count = len(commands)
    # The heads of arrays in MessagePack: of five fields, then of the commands.
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 1 << 16:
        head = b"\xdc" + count.to_bytes(2)
    else:
        head = b"\xdd" + count.to_bytes(4)
    return b"".join((b"\x95", name[1:], head, *commands))


def decode(data: bytes) -> Proposal:
    """Return what :func:`encode` was given.  Raises :exc:`ProposalError`."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise ProposalError(f"undecodable proposal: {problem}") from None
