"""Requests that find out whether a cluster grants any, in an event loop of their own."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence

from bench.systems import System

PROBE_SECONDS = 0.01
"""A new request is tried this often, on a connection of its own: none waits behind a lost one."""
GIVE_UP_SECONDS = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Caller:
    """One connection over which a request is answered before the next is sent."""

    def __init__(self, port: int, protocol: str) -> None:
        self._port = port
        self._is_http = protocol != "lines"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def write(self, request: bytes) -> bool:
        """Tell whether the request was granted.  Raises OSError, EOFError."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        if not self._is_http:
            answer = await reader.readline()
            if not answer:
                raise EOFError("the connection ended")
            return answer.startswith(b"+")
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        return head[9:10] == b"2"

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def first_granted(
    system: System, request: bytes, nodes: Sequence[int], give_up: float = GIVE_UP_SECONDS
) -> float:
    """Return the seconds until one of ``nodes`` has granted a request that was sent after now.

    Raises :exc:`TimeoutError`.
    """
    began = time.perf_counter()
    granted: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def probe(port: int) -> None:
        caller = Caller(port, system.protocol)
        try:
            if await caller.write(request) and not granted.done():
                granted.set_result(time.perf_counter() - began)
        except (OSError, EOFError):
            pass
        finally:
            caller.close()

    async def probe_all() -> None:
        while True:
            for node in nodes:
                probes.append(asyncio.create_task(probe(system.ports[node])))
            await asyncio.sleep(PROBE_SECONDS)

    probes: list[asyncio.Task[None]] = []
    prober = asyncio.create_task(probe_all())
    try:
        return await asyncio.wait_for(granted, give_up)
    finally:
        prober.cancel()
        for task in probes:
            task.cancel()
        await asyncio.gather(prober, *probes, return_exceptions=True)
