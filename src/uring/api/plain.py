"""The common case of HTTP/1.1, fast: requests about a key, with headers that change nothing.

What is not plain is left for twisted.web, which also knows how to refuse it.  So nothing is decided
here that is not decided there in the same way: a request is plain only if there is nothing about it
that could be objected to.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

_LINE = re.compile(rb"(GET|POST|DELETE) (/(?:kv|data)/[!-~]*) HTTP/1\.1\r\n")
_FIELD = re.compile(
    rb"(host|content-length|connection|user-agent|accept|accept-encoding|accept-language"
    rb"|content-type|authorization): *([!-~](?:[ -~]*[!-~])?)\r\n",
    re.IGNORECASE,
)
"""Names with a meaning for us, and names without one that nearly every client sends.  A value has
printable ASCII only, so no line can be hidden in it."""
_LENGTH = re.compile(rb"[0-9]{1,9}")
_HEAD_BYTES_MAX = 16 * 1024


class PlainRequest(Struct, frozen=True, gc=False):
    """One request.  ``end`` is where the next one begins: its body is whole if that is there."""

    method: bytes
    uri: bytes
    body: bytes
    end: int
    authorization: bytes = b""


class PlainParser:
    """Finds the plain requests of one connection.

    Plain is a GET, POST or DELETE of /kv/... or /data/... in origin form, each header at most once
    and of a known name, one Host that is ours, no other Connection than keep-alive, at most
    ``uri_bytes`` and ``body_bytes`` long.
    """

    __slots__ = ("_authorization", "_body_bytes", "_headers", "_length", "_uri_bytes")

    def __init__(self, uri_bytes: int, body_bytes: int) -> None:
        self._uri_bytes = uri_bytes
        self._body_bytes = body_bytes
        self._headers = b"\r\n\r\n"  # which none are
        self._length = 0
        self._authorization = b""

    def parse(self, data: bytes, start: int, is_ours: Callable[[str], bool]) -> PlainRequest | None:
        """Return the request that begins at ``start`` of ``data``; None if it is not plain, or its
        headers are not complete.

        ``is_ours`` tells whether a Host names this node.
        """
        line = _LINE.match(data, start)
        if line is None or len(line[2]) > self._uri_bytes:
            return None
        begin = line.end()
        # A client sends the same headers again and again.
        if data.startswith(self._headers, begin):
            length = self._length
        else:
            fields = self._fields(data, begin, is_ours)
            if fields is None:
                return None
            self._headers, self._length, self._authorization = fields
            length = self._length
        begin += len(self._headers)
        end = begin + length
        return PlainRequest(line[1], line[2], data[begin:end], end, self._authorization)

    def _fields(
        self, data: bytes, start: int, is_ours: Callable[[str], bool]
    ) -> tuple[bytes, int, bytes] | None:
        """Return the headers with the empty line after them, the length of the body, and what is
        said of who asks."""
        fields: dict[bytes, bytes] = {}
        position = start
        while not data.startswith(b"\r\n", position):
            field = _FIELD.match(data, position)
            if field is None or position - start > _HEAD_BYTES_MAX:
                return None
            name = field[1].lower()
            if name in fields:
                return None
            fields[name] = field[2]
            position = field.end()
        host = fields.get(b"host")
        if host is None or not is_ours(host.decode("ascii")):
            return None
        if fields.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            return None
        length = fields.get(b"content-length", b"0")
        if _LENGTH.fullmatch(length) is None or int(length) > self._body_bytes:
            return None
        return data[start : position + 2], int(length), fields.get(b"authorization", b"")
