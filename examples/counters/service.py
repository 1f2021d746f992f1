"""The counters at HTTP: POST /count/NAME {"client": "c1", "number": 7}, GET /count/NAME."""

from __future__ import annotations

import json
import zlib
from typing import Any

from twisted.web.http import Request
from twisted.web.resource import Resource

from examples.counters.store import Store
from uring.client.ring import RingMember

BODY_BYTES_MAX = 4096
NAME_CHARACTERS_MAX = 256


def vnode_of(name: str, size: int) -> int:
    """Return the vnode that a counter is in."""
    return zlib.crc32(name.encode()) % size


class Counters(Resource):
    """Counts what is owned here; says who owns the rest.

    421 with the owner's name: ask there.  503: nobody serves it just now, ask again.  Both mean
    that nothing was counted.
    """

    isLeaf = True

    def __init__(self, node: RingMember, store: Store, size: int) -> None:
        super().__init__()
        self._node, self._store, self._size = node, store, size

    def render_GET(self, request: Request) -> bytes:
        """Show a count."""
        name = self._name(request)
        vnode = vnode_of(name, self._size)
        if not self._node.serves(vnode):
            return self._elsewhere(request, vnode)
        return _json(request, 200, {"value": self._store.value(vnode, name)})

    def render_POST(self, request: Request) -> bytes:
        """Count one."""
        name = self._name(request)
        try:
            body = json.loads(request.content.read(BODY_BYTES_MAX))  # type: ignore[union-attr]
            client, number = str(body["client"])[:NAME_CHARACTERS_MAX], int(body["number"])
        except (ValueError, KeyError, TypeError):
            return _json(request, 400, {"error": 'send {"client": "...", "number": 1}'})
        vnode = vnode_of(name, self._size)
        if not self._node.serves(vnode):
            return self._elsewhere(request, vnode)
        try:
            value = self._store.add(vnode, name, client, number)
        except ValueError as problem:
            return _json(request, 409, {"error": str(problem)})
        return _json(request, 200, {"value": value})

    def _name(self, request: Request) -> str:
        parts: list[bytes] = getattr(request, "postpath", [])
        return b"/".join(parts).decode("utf-8", "replace")[:NAME_CHARACTERS_MAX]

    def _elsewhere(self, request: Request, vnode: int) -> bytes:
        owner = self._node.owners.get(vnode)
        if owner is None or owner == self._node.name:
            return _json(request, 503, {"error": "nobody serves it just now; ask again"})
        return _json(request, 421, {"owner": owner})


def _json(request: Any, code: int, value: Any) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"Content-Type", b"application/json")
    return json.dumps(value).encode() + b"\n"
