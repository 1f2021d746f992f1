"""The client's requests without HTTP: what a REST door would make of them, and its answers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers


class Response:
    """What treq would return."""

    def __init__(self, code: int, body: bytes) -> None:
        self.code = code
        self.headers = Headers()
        self._body = body
        self.length = len(body)

    def deliverBody(self, protocol: Any) -> None:
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))


def as_command(method: str, url: str, data: bytes | None) -> tuple[str, dict[str, Any]]:
    """Return the command of the WebSocket that does the same, and its fields."""
    parts = urlsplit(url)
    _, *words = map(unquote, parts.path.split("/"))
    match method, words:
        case "GET", ["kv"]:
            given = {name: values[0] for name, values in parse_qs(parts.query).items()}
            return "List", {**given, "limit": int(given["limit"])}
        case "GET", ["kv", key]:
            return "Look", {"key": key}
        case "POST", ["txn"]:
            return "Txn", json.loads(data or b"")
        case "POST", ["lease"]:
            return "Grant", json.loads(data or b"")
        case "POST", ["lease", lease]:
            return "KeepAlive", {"lease": int(lease)}
        case "DELETE", ["lease", lease]:
            return "Revoke", {"lease": int(lease)}
    raise AssertionError(f"{method} {url}")


def as_message(name: str, fields: dict[str, Any]) -> bytes:
    """Return what a session of the WebSocket is sent for it."""
    return json.dumps({"As": {"protocol": "KV", "cmd": {name: {"rid": 1, **fields}}}}).encode()


def as_response(name: str, reply: dict[str, Any]) -> Response:
    """Return what REST answers where the session replies so."""
    code = 201 if (name, reply["code"]) == ("Grant", 200) else reply["code"]
    body = reply["data"] if code < 400 else reply.get("error") or {}
    return Response(code, json.dumps(body).encode())
