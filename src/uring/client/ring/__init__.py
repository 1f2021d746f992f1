"""Nodes of the ring: programs that own vnodes, and hand them over to each other.

    node = RingMember(reactor, ["127.0.0.1:8081"], "n1", "127.0.0.1", 9001, "life-1", vnodes)
    await node.start()
    if node.serves(vnode): ...

``vnodes`` is yours: what a vnode holds, sent and received in chunks (:class:`Vnodes`).
"""

from uring.client.ring.member import RingMember
from uring.client.ring.vnodes import Vnodes

__all__ = ["RingMember", "Vnodes"]
