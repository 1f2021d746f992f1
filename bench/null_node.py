#!/usr/bin/env python3
"""A server that stores nothing and answers at once: what the load generator itself can do.

    python bench/null_node.py PORT

Speaks as much WebSocket and gRPC as the generator's speakers look at.
"""

from __future__ import annotations

import asyncio
import struct
import sys

_ANSWER = b'{"rid":1,"code":201,"data":null}'
_FRAME = bytes((0x81, len(_ANSWER))) + _ANSWER
_SELECTED = b'{"Selected":{"rid":0,"protocol":"KV"}}'
_STREAM = struct.Struct(">I")
_DATA, _END_STREAM = 0, 1


class Null(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""
        self._speak = self._begin

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._buffer += data
        self._speak()

    def _begin(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if head.startswith(b"PRI"):
            self._buffer = rest.removeprefix(b"SM\r\n\r\n")
            self._transport.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            self._speak = self._grpc
        else:
            self._buffer = rest
            self._transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            self._speak = self._select
        self._speak()

    def _frames(self) -> int:
        """Return how many whole WebSocket frames came, and take them away."""
        data, position, count = self._buffer, 0, 0
        while len(data) - position >= 2:
            size, head = data[position + 1] & 0x7F, 6
            if size == 126:
                size, head = int.from_bytes(data[position + 2 : position + 4]), 8
            if position + head + size > len(data):
                break
            position += head + size
            count += 1
        self._buffer = data[position:]
        return count

    def _select(self) -> None:
        if self._frames():
            self._transport.write(bytes((0x81, len(_SELECTED))) + _SELECTED)
            self._speak = self._websocket

    def _websocket(self) -> None:
        self._transport.write(_FRAME * self._frames())

    def _grpc(self) -> None:
        data, position = self._buffer, 0
        parts = []
        while len(data) - position >= 9:
            after = position + 9 + int.from_bytes(data[position : position + 3])
            if after > len(data):
                break
            if data[position + 3] == _DATA and data[position + 4] & _END_STREAM:
                stream = data[position + 5 : position + 9]
                parts += [b"\x00\x00\x01\x01\x04", stream, b"\x88"]
                parts += [b"\x00\x00\x05\x00\x00", stream, b"\x00\x00\x00\x00\x00"]
                parts += [b"\x00\x00\x01\x01\x05", stream, b"\x88"]
            position = after
        self._buffer = data[position:]
        self._transport.write(b"".join(parts))


async def main() -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Null, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
