"""What the load generator says on one connection: requests made beforehand, replies counted.

Each speaker knows one protocol.  Replies are only looked at as far as counting and timing them
needs, so that the generator takes little of the processors that it shares with the servers.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from random import Random

from bench.speakers.base import LoadFailed, Sample, Speaker, key_of
from bench.speakers.grpc import GrpcSpeaker, call
from bench.speakers.http import HttpSpeaker, gateway_request, rest_request
from bench.speakers.lines import LinesSpeaker, line
from bench.speakers.websocket import WebSocketSpeaker, command, messages

__all__ = [
    "PROTOCOLS",
    "LoadFailed",
    "Sample",
    "Speaker",
    "WebSocketSpeaker",
    "key_of",
    "make_requests",
    "make_speaker",
]

_SPEAKERS: dict[str, Callable[[socket.socket, Sequence[bytes]], Speaker]] = {
    "websocket": WebSocketSpeaker,
    "rest": HttpSpeaker,
    "grpc": GrpcSpeaker,
    "gateway": HttpSpeaker,
    "lines": LinesSpeaker,
}
PROTOCOLS = tuple(_SPEAKERS)
"""uring's two, etcd's two, and that of bench/pysyncobj_node.py, which has puts alone."""


def make_requests(
    protocol: str,
    keys: Sequence[str],
    value: str,
    writes: float,
    chance: Random,
    bundle: int = 1,
) -> list[bytes]:
    """Return a request for each key: a put of ``value`` for the share ``writes`` of them, or a get.

    ``bundle`` of them make one request, over WebSocket.  Raises :exc:`ValueError` where the
    protocol has no such request.
    """
    if bundle > 1 and protocol != "websocket":
        raise ValueError("only WebSocket has requests of many operations")
    if protocol == "lines":
        if writes < 1:
            raise ValueError("pysyncobj has no linearizable reads")
        return [line(key, value) for key in keys]
    makers = {"rest": rest_request, "gateway": gateway_request, "grpc": call}
    requests = []
    for rid, key in enumerate(keys):
        content = value if writes >= 1 or chance.random() < writes else None
        if protocol == "websocket":
            requests.append(command(rid, key, content))
        else:
            requests.append(makers[protocol](key, content))
    return messages(requests, bundle) if protocol == "websocket" else requests


def make_speaker(protocol: str, sock: socket.socket, requests: Sequence[bytes]) -> Speaker:
    """Return the speaker of one of :data:`PROTOCOLS`."""
    return _SPEAKERS[protocol](sock, requests)
