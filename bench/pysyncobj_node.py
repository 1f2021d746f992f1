#!/usr/bin/env python3
"""One node of pysyncobj that holds keys and values, for the measurement beside uring.

    python bench/pysyncobj_node.py CLIENTS OWN PEER PEER --data DIRECTORY

Clients send lines: "put KEY VALUE" is answered by "+" once it is applied here, or by "-" and a
reason; "leader" by "+" and the leader's address.  Requests of one connection may be many at a time;
puts of pysyncobj are applied in order, so their replies come in order.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated


class Store(SyncObj):
    """A dictionary that pysyncobj replicates."""

    def __init__(self, own: str, peers: list[str], conf: SyncObjConf) -> None:
        super().__init__(own, peers, conf)
        self._values: dict[str, str] = {}

    @replicated
    def put(self, key: str, value: str) -> None:
        """Store ``value`` under ``key``."""
        self._values[key] = value


class Door:
    """Takes requests in asyncio's thread; pysyncobj calls back in its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._replies: list[tuple[asyncio.StreamWriter, bytes]] = []

    def _call_back(self, writer: asyncio.StreamWriter) -> Callable[[Any, int], None]:
        def applied(_: Any, problem: int) -> None:
            reply = b"+\n" if problem == FAIL_REASON.SUCCESS else b"-%d\n" % problem
            with self._lock:
                self._replies.append((writer, reply))
                first = len(self._replies) == 1
            if first:
                self._loop.call_soon_threadsafe(self._flush)

        return applied

    def _flush(self) -> None:
        """Send all that was answered meanwhile, in one write for each connection."""
        with self._lock:
            replies, self._replies = self._replies, []
        gathered: dict[asyncio.StreamWriter, list[bytes]] = {}
        for writer, reply in replies:
            gathered.setdefault(writer, []).append(reply)
        for writer, parts in gathered.items():
            writer.write(b"".join(parts))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client until it goes."""
        call_back = self._call_back(writer)
        try:
            while line := await reader.readline():
                word, *rest = line.decode().rstrip("\n").split(" ", 2)
                if word == "put" and len(rest) == 2:
                    self._store.put(rest[0], rest[1], callback=call_back)
                elif word == "leader":
                    writer.write(f"+{self._store._getLeader()}\n".encode())
                else:
                    writer.write(b"-unknown request\n")
        except ConnectionError:
            pass  # it went
        finally:
            writer.close()


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clients", help="HOST:PORT for clients")
    parser.add_argument("own", help="HOST:PORT for peers")
    parser.add_argument("peers", nargs="*", help="HOST:PORT of each other node")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tick", type=float, default=0.05, help="seconds between turns [0.05]")
    chosen = parser.parse_args()
    chosen.data.mkdir(parents=True, exist_ok=True)
    conf = SyncObjConf(
        journalFile=str(chosen.data / "journal"),
        fullDumpFile=str(chosen.data / "dump"),
        autoTickPeriod=chosen.tick,
        appendEntriesPeriod=min(0.1, 2 * chosen.tick),
        raftMinTimeout=1.0,  # as the others have it
        raftMaxTimeout=2.0,
        connectionRetryTime=0.2,
        logCompactionMinEntries=100_000,
    )
    door = Door(Store(chosen.own, chosen.peers, conf))
    host, _, port = chosen.clients.rpartition(":")
    server = await asyncio.start_server(door.serve, host, int(port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
