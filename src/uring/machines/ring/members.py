"""Nodes of the ring that take part in hand-offs, each with a lease that it renews.

Kept under ``mn`` and the name: lease, instance and address; under ``ml`` and the lease, while that
lasts: the name.  A node whose lease is over still takes part: what it owns stays its own until it
comes back or is given up.
"""

from __future__ import annotations

import struct

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from uring.machines import leases
from uring.machines.base import Readable, Transaction
from uring.machines.commands import Invalid
from uring.machines.limits import ADDRESS_BYTES_MAX, INSTANCE_BYTES_MAX
from uring.machines.ring.commands import JoinRing, Refused
from uring.machines.ring.record import Node, State
from uring.machines.turn import Turn

_MEMBER, _LEASE = b"mn", b"ml"
_ID = struct.Struct(">Q")


class Member(Struct, array_like=True, frozen=True):
    """A node that takes part."""

    lease: int
    instance: str
    address: str


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Member)


def member(state: Readable, name: str) -> Member | None:
    """Return what is known of a node that takes part, None if it does not."""
    record = state.get(_MEMBER + name.encode())
    return None if record is None else _DECODER.decode(record)


def alive(state: Readable, name: str) -> Member | None:
    """Return the same, but only while it renews its lease."""
    found = member(state, name)
    return found if found is not None and leases.load(state, found.lease).alive else None


def named(state: Readable, lease: int) -> str | None:
    """Return the node that holds ``lease``, None if none does or it is over."""
    if not 0 < lease < leases.ID_MAX or not leases.load(state, lease).alive:
        return None
    name = state.get(_LEASE + _ID.pack(lease))
    return None if name is None else name.decode()


def refusal(state: Readable, command: JoinRing) -> Refused | Invalid | None:
    """Return why a node cannot join as it says; nothing if it can."""
    for text, most, what in (
        (command.instance, INSTANCE_BYTES_MAX, "an instance"),
        (command.address, ADDRESS_BYTES_MAX, "an address"),
    ):
        try:
            length = len(text.encode())
        except UnicodeEncodeError:
            return Invalid("text must be encodable as UTF-8")
        if not 0 < length <= most:
            return Invalid(f"{what} has 1 to {most} bytes")
    other = alive(state, command.node)
    if other is not None and other.instance != command.instance:
        where = f"{command.node!r} has joined already, at {other.address}"
        return Refused("conflict", f"{where}; wait for its lease to end")
    return None


def enter(transaction: Transaction, name: str, entered: Member) -> None:
    """Let ``name`` take part as ``entered``."""
    transaction.put(_MEMBER + name.encode(), _ENCODER.encode(entered))
    transaction.put(_LEASE + _ID.pack(entered.lease), name.encode())


def ended(transaction: Transaction, lease: int) -> str | None:
    """Note that a lease is over; return the node that held it, None if none did."""
    key = _LEASE + _ID.pack(lease)
    name = transaction.get(key)
    if name is None:
        return None
    transaction.delete(key)
    return name.decode()


def forget(transaction: Transaction, ring: State, node: Node, turn: Turn) -> State:
    """Let a node that has left and owns nothing any more be gone."""
    found = member(transaction, node.name)
    leaving = tuple(each for each in ring.leaving if each.slot != node.slot)
    if found is None:
        return replace(ring, leaving=leaving)
    transaction.delete(_MEMBER + node.name.encode())
    transaction.delete(_LEASE + _ID.pack(found.lease))
    lease = leases.load(transaction, found.lease)
    if lease.alive:
        leases.end(transaction, lease, turn)
    return replace(ring, leaving=leaving, sessions=max(0, ring.sessions - 1))
