"""Drive a server with one kind of work, and print what it took as one line of JSON.

    PYTHONPATH=. python -m bench.load websocket 127.0.0.1:8081 --connections 64 --window 16

Each connection has ``window`` requests under way, and sends a new one for each reply.  The load
ends after --seconds, --count requests, or SIGTERM, whichever comes first; what was sent is always
answered.  Where reads and writes are mixed on a WebSocket, the longest waits of the two kinds are
approximate: replies are taken to come in the order of the requests.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.figures import LADDER, weighted_percentiles
from bench.speakers import (
    PROTOCOLS,
    LoadFailed,
    Sample,
    Speaker,
    key_of,
    make_requests,
    make_speaker,
)

PREPARED = 8192
"""Requests made beforehand for all connections together, where keys are drawn at random."""
SILENCE_SECONDS = 20.0
SAMPLES_KEPT = 1 << 17
"""Beyond so many, waits are counted by hundredths of a millisecond: a load may last for long."""


def connect(chosen: argparse.Namespace) -> list[Speaker]:
    """Open every connection, spread over the addresses in turn."""
    chance = random.Random(chosen.seed)
    keys = _keys(chosen, chance)
    speakers = []
    for number in range(chosen.connections):
        host, _, port = chosen.addresses[number % len(chosen.addresses)].rpartition(":")
        sock = socket.create_connection((host, int(port)), timeout=10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own = keys[number :: chosen.connections]
        value = "v" * chosen.value
        requests = make_requests(chosen.protocol, own, value, chosen.writes, chance, chosen.bundle)
        speaker = make_speaker(chosen.protocol, sock, requests)
        speaker.bundle = chosen.bundle
        if chosen.once:
            speaker.left = len(requests)
        speakers.append(speaker)
    return speakers


def _keys(chosen: argparse.Namespace, chance: random.Random) -> list[str]:
    least = chosen.connections * chosen.window * chosen.bundle
    if chosen.once:
        return [key_of(number, chosen.key) for number in range(max(chosen.keys, least))]
    count = max(chosen.prepared, least)
    return [key_of(chance.randrange(chosen.keys), chosen.key) for _ in range(count)]


class Run:
    """One load from its first request to its last reply."""

    def __init__(self, speakers: Sequence[Speaker], chosen: argparse.Namespace) -> None:
        self._speakers = {speaker.sock.fileno(): speaker for speaker in speakers}
        self._window: int = chosen.window
        self._left: int = chosen.count
        self._begin = time.perf_counter() + chosen.warm
        self._end = self._begin + chosen.seconds
        self._samples: list[Sample] = []
        self._waits: Counter[float] = Counter()
        """How often each wait occurred, in seconds."""
        self._bundle: int = chosen.bundle
        self._sent = 0

    def stop(self) -> None:
        """Send nothing more."""
        self._end = min(self._end, time.perf_counter())

    def run(self) -> dict[str, Any]:
        """Do it.  Raises :exc:`LoadFailed`."""
        poll = select.epoll()
        cpu: float | None = None
        answered = 0
        due = dict.fromkeys(self._speakers, 0)
        for number, speaker in self._speakers.items():
            poll.register(number, select.EPOLLIN)
            self._ask(speaker, self._window, time.perf_counter())
        now = time.perf_counter()
        while answered < self._sent:
            heard = poll.poll(SILENCE_SECONDS)
            if not heard:
                raise LoadFailed(f"{self._sent - answered} requests have no answer")
            for number, _ in heard:
                speaker = self._speakers[number]
                data = speaker.sock.recv(1 << 18)
                if not data:
                    raise LoadFailed("the server closed a connection")
                now = time.perf_counter()
                samples = speaker.hear(data, now)
                done = sum([count for _, _, count in samples])
                answered += done
                if now >= self._begin:
                    cpu = time.process_time() if cpu is None else cpu
                    self._samples += samples
                if now < self._end:
                    # A request of many operations is done when the last of them is answered.
                    whole, due[number] = divmod(due[number] + done, self._bundle)
                    self._ask(speaker, whole, now)
            if len(self._samples) > SAMPLES_KEPT:
                self._fold()
        return self._outcome(now, time.process_time() - (cpu or 0.0))

    def _ask(self, speaker: Speaker, wanted: int, now: float) -> None:
        count = min(wanted, self._left // self._bundle, speaker.left)
        if count:
            self._left -= count * self._bundle
            speaker.left -= count
            self._sent += count * self._bundle
            speaker.ask(count, now)

    def _fold(self) -> None:
        """Count what was answered before the end."""
        for when, wait, count in self._samples:
            if when <= self._end:
                self._waits[round(wait, 5)] += count
        self._samples.clear()

    def _outcome(self, now: float, cpu: float) -> dict[str, Any]:
        self._fold()
        operations = self._waits.total()
        seconds = max(1e-9, min(now, self._end) - self._begin)
        waits = weighted_percentiles(self._waits.items(), LADDER)
        ladder = [round(wait * 1000, 3) for wait in waits]
        known = dict(zip(LADDER, ladder, strict=True))
        return {
            "operations": operations,
            "sent": self._sent,
            "seconds": round(seconds, 3),
            "rate": round(operations / seconds, 1),
            "p50_ms": known[50.0],
            "p99_ms": known[99.0],
            "p99_9_ms": known[99.9],
            "ladder_ms": ladder,
            "generator_cpu": round(cpu / seconds, 3),
        }


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("addresses", nargs="+", help="HOST:PORT")
    parser.add_argument("--writes", type=float, default=1.0, help="share of puts, 0 to 1 [1]")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--window", type=int, default=1, help="requests under way on each [1]")
    parser.add_argument("--bundle", type=int, default=1, help="operations in each request [1]")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--warm", type=float, default=0.5, help="seconds not counted [0.5]")
    parser.add_argument(
        "--count", type=int, default=1 << 40, help="most operations, warming included"
    )
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--prepared", type=int, default=PREPARED, help="requests made beforehand")
    parser.add_argument("--once", action="store_true", help="each key in turn, not at random")
    parser.add_argument("--key", type=int, default=16, help="bytes of a key")
    parser.add_argument("--value", type=int, default=256, help="bytes of a value")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main() -> None:
    """Run the load that the command line asks for; exit with 1 if it fails."""
    chosen = arguments().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: setattr(chosen, "seconds", 0.0))
    try:
        run = Run(connect(chosen), chosen)
        signal.signal(signal.SIGTERM, lambda *_: run.stop())
        print(json.dumps(run.run()))
    except (LoadFailed, OSError, ValueError) as problem:
        sys.exit(f"bench.load: {problem}")


if __name__ == "__main__":
    main()
