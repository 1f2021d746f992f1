"""Clients of a running cluster: REST by treq, WebSocket by autobahn, both in Twisted's reactor::

    client = Client("127.0.0.1:8081")
    await client.put("beep", "boop")
    socket = await client.connect_websocket()
    async for event in socket.subscribe("kv"):
        ...

What goes wrong is raised as one of :mod:`uring.errors`; its ``definite`` says whether the request
may still take effect.
"""

from uring.client.answers import Reply, RingNode, Swap
from uring.client.elections import Election, Leader, Leadership
from uring.client.locks import Lock, LockLost, LockTimeout
from uring.client.rest import Client
from uring.client.services import Item, Page, TxnResult, compare, delete_op, get_op, put_op
from uring.client.watch import Change, Snapshot, Watch
from uring.client.websocket import Subscription, WebSocketSession

__all__ = [
    "Change",
    "Client",
    "Election",
    "Item",
    "Leader",
    "Leadership",
    "Lock",
    "LockLost",
    "LockTimeout",
    "Page",
    "Reply",
    "RingNode",
    "Snapshot",
    "Subscription",
    "Swap",
    "TxnResult",
    "Watch",
    "WebSocketSession",
    "compare",
    "delete_op",
    "get_op",
    "put_op",
]
