"""What nodes tell each other beside Raft: forwarded work, administration, snapshots' chunks."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen


@frozen(kw_only=True)
class _Addressed:
    to: int
    from_: int


@frozen(kw_only=True)
class Forward(_Addressed):
    """A batch of commands for the leader to propose; ``sequence`` is its proposer's."""

    sequence: int
    batch: bytes


@frozen(kw_only=True)
class ForwardRefused(_Addressed):
    """The batch was not proposed: not the leader, or (``overloaded``) too much is waiting."""

    sequence: int
    overloaded: bool
    reason: str


@frozen(kw_only=True)
class AdminRequest(_Addressed):
    """A membership goal for the leader to pursue; repeated until it is reached."""

    request_id: int
    action: str
    node_id: int
    address: str


@frozen(kw_only=True)
class AdminReply(_Addressed):
    """Why a goal will not be reached; ``code`` as in :mod:`uring.errors`."""

    request_id: int
    action: str
    node_id: int
    code: int
    detail: str


@frozen(kw_only=True)
class Announce(_Addressed):
    """Where a node can be reached that said hello to the sender."""

    node_id: int
    address: str
    instance: bytes


@frozen(kw_only=True)
class SnapshotChunk(_Addressed):
    """One piece of a snapshot up to log ``index``, sent by the leader of ``term``.

    ``position`` names where it begins (empty: at the start).  ``header`` is the core's message, in
    the first and the last piece; the last one also says what everything amounts to: ``count``
    records, ``length`` bytes, their ``digest``.
    """

    term: int
    index: int
    position: bytes
    data: bytes
    last: bool
    header: bytes
    count: int
    length: int
    digest: bytes


@frozen(kw_only=True)
class SnapshotAck(_Addressed):
    """``status`` is "next" (send what begins at ``position``), "done", or "refused"."""

    index: int
    position: bytes
    status: str
    detail: str = ""


@frozen(kw_only=True)
class Report(_Addressed):
    """How the sender is (``body``, as :mod:`uring.reports` has it), and what time it is there.

    ``stamp`` is the sender's clock; ``echo`` the newest stamp that it has of the receiver, and
    ``held`` how long ago that came, all in microseconds: so each side knows the round trip.
    """

    stamp: int
    echo: int
    held: int
    body: bytes


@frozen(kw_only=True)
class SpaceReport(_Addressed):
    """Whether the sender's disk has less than its reserve left."""

    is_low: bool


Envelope: TypeAlias = (
    Forward
    | ForwardRefused
    | AdminRequest
    | AdminReply
    | Announce
    | SnapshotChunk
    | SnapshotAck
    | Report
    | SpaceReport
)
