"""What one entry of the log holds: the commands that one node gathered in one turn."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from uring.machines.commands import Command


class ProposalError(ValueError):
    """The bytes are no proposal."""


class Proposal(Struct, array_like=True):
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
    """Return the data of the entry that carries ``proposal``."""
    return _ENCODER.encode(proposal)


def decode(data: bytes) -> Proposal:
    """Return what :func:`encode` was given.  Raises :exc:`ProposalError`."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise ProposalError(f"undecodable proposal: {problem}") from None
