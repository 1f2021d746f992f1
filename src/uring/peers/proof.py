"""A secret that the nodes of a cluster share, and how each proves to have it without showing it.

Both hellos carry a nonce.  The side that dialled proves first, so that a stranger who dials gets
nothing that he could try secrets against; then the other one does.  A proof is an HMAC-SHA-256 over
who speaks (the dialling or the accepting side) and both hellos, byte by byte as they were sent:
nonces, ids, cluster, protocol version and addresses.  So one that was recorded fits no other
connection, and one that is sent back is that of the wrong side.

It does not encrypt, and does not protect what follows: who can change packets on their way can let
two nodes prove themselves and then speak in their place.  TLS is for networks like that.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Literal

from attrs import field, frozen

NONCE_BYTES = 32
SECRET_BYTES_MIN = 16

Side = Literal["dialled", "accepted"]


@frozen
class Secret:
    """What all nodes of a cluster know.  Raises ValueError if it could be guessed."""

    _key: bytes = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if len(self._key) < SECRET_BYTES_MIN:
            raise ValueError(
                f"the secret of the peers has {len(self._key)} bytes; at least {SECRET_BYTES_MIN} "
                "are needed, for example those of: openssl rand -base64 32"
            )

    def nonce(self) -> bytes:
        """Return what makes one hello differ from all others."""
        return os.urandom(NONCE_BYTES)

    def prove(self, side: Side, dialled: bytes, accepted: bytes) -> bytes:
        """Return the proof of the ``side`` of a connection, given both encoded hellos."""
        said = hashlib.sha256(dialled).digest() + hashlib.sha256(accepted).digest()
        return hmac.digest(self._key, b"uring/1 " + side.encode() + b"\0" + said, "sha256")

    def is_proof(self, proof: bytes, side: Side, dialled: bytes, accepted: bytes) -> bool:
        """Tell whether ``proof`` is what :meth:`prove` returns, in constant time."""
        return hmac.compare_digest(proof, self.prove(side, dialled, accepted))
