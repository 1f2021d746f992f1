#!/usr/bin/env python3
"""Drive a server with one kind of request, and print what it took as one line of JSON.

    python bench/load.py websocket put 127.0.0.1:8081 --connections 64 --window 16

Each connection has ``window`` requests under way, and sends a new one for each reply.  The load
ends after --seconds, or --count requests, whichever comes first; what was sent is always
answered.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.protocols import LoadFailed, Sample, Speaker, make_requests, make_speaker

PROTOCOLS = ("websocket", "rest", "grpc", "gateway")
PREPARED = 8192
"""Requests made beforehand for all connections together, where keys are drawn at random."""
SILENCE_SECONDS = 20.0


def weighted_percentile(samples: Sequence[Sample], percent: float) -> float:
    """Return the nearest-rank percentile of the seconds in ``samples``; 0 without any."""
    ordered = sorted((seconds, count) for _, seconds, count in samples)
    rank = sum(count for _, count in ordered) * percent / 100
    for seconds, count in ordered:
        rank -= count
        if rank <= 0:
            return seconds
    return 0.0


def connect(chosen: argparse.Namespace) -> list[Speaker]:
    """Open every connection, spread over the addresses in turn."""
    keys = _keys(chosen)
    speakers = []
    for number in range(chosen.connections):
        host, _, port = chosen.addresses[number % len(chosen.addresses)].rpartition(":")
        sock = socket.create_connection((host, int(port)), timeout=10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own = keys[number :: chosen.connections]
        requests = make_requests(chosen.protocol, chosen.operation, own, "v" * chosen.value)
        speakers.append(make_speaker(chosen.protocol, chosen.operation, sock, requests))
    return speakers


def _keys(chosen: argparse.Namespace) -> list[int]:
    least = chosen.connections * chosen.window
    if chosen.once:
        return list(range(max(chosen.keys, least)))
    chance = random.Random(chosen.seed)
    return [chance.randrange(chosen.keys) for _ in range(max(PREPARED, least))]


class Run:
    """One load from its first request to its last reply."""

    def __init__(self, speakers: Sequence[Speaker], chosen: argparse.Namespace) -> None:
        self._speakers = {speaker.sock.fileno(): speaker for speaker in speakers}
        self._window: int = chosen.window
        self._left: int = chosen.count
        self._begin = time.perf_counter() + chosen.warm
        self._end = self._begin + chosen.seconds
        self._samples: list[Sample] = []

    def run(self) -> dict[str, Any]:
        """Do it.  Raises :exc:`LoadFailed`."""
        poll = select.epoll()
        under_way = 0
        cpu: float | None = None
        for number, speaker in self._speakers.items():
            poll.register(number, select.EPOLLIN)
            first = min(self._window, self._left)
            if first:
                self._left -= first
                under_way += first
                speaker.ask(first, time.perf_counter())
        now = time.perf_counter()
        while under_way:
            heard = poll.poll(SILENCE_SECONDS)
            if not heard:
                raise LoadFailed(f"{under_way} requests have no answer")
            for number, _ in heard:
                speaker = self._speakers[number]
                data = speaker.sock.recv(1 << 18)
                if not data:
                    raise LoadFailed("the server closed a connection")
                now = time.perf_counter()
                samples = speaker.hear(data, now)
                done = sum([count for _, _, count in samples])
                under_way -= done
                if now >= self._begin:
                    cpu = time.process_time() if cpu is None else cpu
                    self._samples += samples
                more = min(done, self._left) if now < self._end else 0
                if more:
                    self._left -= more
                    under_way += more
                    speaker.ask(more, now)
        return self._outcome(now, time.process_time() - (cpu or 0.0))

    def _outcome(self, now: float, cpu: float) -> dict[str, Any]:
        within = [sample for sample in self._samples if sample[0] <= self._end]
        operations = sum(count for _, _, count in within)
        seconds = min(now, self._end) - self._begin
        figures = {
            f"p{name}_ms": round(weighted_percentile(within, percent) * 1000, 3)
            for name, percent in (("50", 50), ("99", 99), ("99_9", 99.9))
        }
        return {
            "operations": operations,
            "seconds": round(seconds, 3),
            "rate": round(operations / seconds, 1) if seconds > 0 else 0.0,
            **figures,
            "generator_cpu": round(cpu / seconds, 3) if seconds > 0 else 0.0,
        }


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("operation", choices=("put", "get"))
    parser.add_argument("addresses", nargs="+", help="HOST:PORT")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--window", type=int, default=1, help="requests under way on each [1]")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--warm", type=float, default=0.5, help="seconds not counted [0.5]")
    parser.add_argument(
        "--count", type=int, default=1 << 40, help="most requests, warming included"
    )
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--once", action="store_true", help="each key in turn, not at random")
    parser.add_argument("--value", type=int, default=256, help="bytes of a value")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main() -> None:
    """Run the load that the command line asks for; exit with 1 if it fails."""
    chosen = arguments().parse_args()
    try:
        print(json.dumps(Run(connect(chosen), chosen).run()))
    except (LoadFailed, OSError) as problem:
        sys.exit(f"load.py: {problem}")


if __name__ == "__main__":
    main()
