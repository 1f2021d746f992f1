"""Who a data directory belongs to."""

from __future__ import annotations

import hashlib
import struct

from attrs import frozen

from uring.store.failures import StoreDamaged
from uring.store.records import IDENTITY, protect, unprotect

ID_BYTES = 16
"""Length of a cluster id and of an instance id."""

_LAYOUT = struct.Struct(f">B{ID_BYTES}sQ{ID_BYTES}sQ")


@frozen
class Identity:
    """What a node says of itself in every hello.

    ``cluster_id`` is empty until the node belongs to a cluster.  ``instance_id`` is made with the
    directory: a node that comes back with another one has lost its disk.  ``incarnation`` counts
    the openings of the directory, from 1.
    """

    cluster_id: bytes
    node_id: int
    instance_id: bytes
    incarnation: int

    @property
    def life(self) -> int:
        """The name of this opening of this directory, from 1 to 2**63 - 1.

        A node that lost its disk counts its incarnations from 1 again; what it proposed before may
        still be on its way, and must not be taken for what it proposes now.  So the upper 31 bits
        are those of a hash of the instance, the lower 32 count.
        """
        instance = int.from_bytes(hashlib.blake2b(self.instance_id, digest_size=4).digest()) >> 1
        return instance << 32 | self.incarnation


def encode_identity(identity: Identity) -> bytes:
    """Return the value of the identity's record."""
    content = _LAYOUT.pack(
        len(identity.cluster_id),
        identity.cluster_id,
        identity.node_id,
        identity.instance_id,
        identity.incarnation,
    )
    return protect(IDENTITY, content)


def decode_identity(value: bytes) -> Identity:
    """Return the identity.  Raises :exc:`StoreDamaged`."""
    content = unprotect(IDENTITY, value)
    if len(content) != _LAYOUT.size or content[0] not in (0, ID_BYTES):
        raise StoreDamaged("identity record has a wrong length")
    length, cluster_id, node_id, instance_id, incarnation = _LAYOUT.unpack(content)
    return Identity(cluster_id[:length], node_id, instance_id, incarnation)
