"""How long nobody can write after the leader was killed."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode

from bench.systems import System, SystemFailed

PROBE_SECONDS = 0.01
"""A new write is tried this often, on a connection of its own: none waits behind a lost one."""
GIVE_UP_SECONDS = 15.0


async def first_write(ports: list[int], path: str, body: bytes) -> float:
    """Return the seconds until any of ``ports`` has committed a write that was sent after now."""
    began = time.perf_counter()
    written: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def probe(port: int) -> None:
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.read(12)
            if answer[9:10] == b"2" and not written.done():
                written.set_result(time.perf_counter() - began)
        except OSError:
            pass
        finally:
            if writer is not None:
                writer.close()

    async def probe_all() -> None:
        while True:
            for port in ports:
                probes.append(asyncio.create_task(probe(port)))
            await asyncio.sleep(PROBE_SECONDS)

    probes: list[asyncio.Task[None]] = []
    prober = asyncio.create_task(probe_all())
    try:
        return await asyncio.wait_for(written, GIVE_UP_SECONDS)
    finally:
        prober.cancel()
        for task in probes:
            task.cancel()
        await asyncio.gather(prober, *probes, return_exceptions=True)


def probe_request(system: System) -> tuple[str, bytes]:
    """Return path and body of one write."""
    if system.name == "etcd":
        key, value = (b64encode(word).decode() for word in (b"failover", b"x"))
        return "/v3/kv/put", json.dumps({"key": key, "value": value}).encode()
    return "/kv/failover", b'{"value":"x"}'


def kill_leaders(system: System, kills: int) -> list[float]:
    """Kill the leader ``kills`` times; return the seconds to the next committed write of each.

    The killed node is started again, and has to be back before the next kill.
    """
    path, body = probe_request(system)
    found = []
    for _ in range(kills):
        leader = system.leader()
        time.sleep(0.5)  # so that kills are not in step with anything
        system.kill(leader)
        ports = [system.ports[node] for node in system.alive()]
        try:
            found.append(asyncio.run(first_write(ports, path, body)))
        except TimeoutError:
            raise SystemFailed(f"{system.name}: no write in {GIVE_UP_SECONDS:g} s") from None
        system.launch(leader)
        time.sleep(1.0)
    return found
