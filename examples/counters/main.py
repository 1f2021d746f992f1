"""Runs one node of the counter service: see bin/mring-node --help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.web.resource import Resource
from twisted.web.server import Site

from examples.counters.service import Counters
from examples.counters.store import Store
from uring.client import Client
from uring.client.ring import RingMember

PATIENCE_SECONDS = 60.0
"""How long it waits for a cluster that answers."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the node's name in the ring")
    parser.add_argument("--cluster", default="127.0.0.1:8080", help="HOST:PORT[,HOST:PORT...]")
    parser.add_argument("--data", type=Path, help="directory of the counts (mring-node-NAME)")
    parser.add_argument("--http", type=int, default=0, help="port for clients")
    parser.add_argument("--port", type=int, default=0, help="port for other nodes")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ttl", type=float, default=10.0, help="seconds until it counts as gone")
    parser.add_argument("--size", type=int, default=64, help="vnodes, if the ring has no size yet")
    return parser


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """Join the ring and serve."""
    endpoints = options.cluster.split(",")
    store = Store(options.data or Path(f"mring-node-{options.name}"))
    async with Client(*endpoints, reactor=reactor, patience=PATIENCE_SECONDS) as client:
        size = await client.ring_size()
        if size is None:
            await client.set_ring_size(options.size)
            size = options.size
    node = RingMember(
        reactor,
        endpoints,
        options.name,
        options.host,
        options.port,
        store.instance,
        store,
        ttl=options.ttl,
    )
    await node.start()
    root = Resource()
    root.putChild(b"count", Counters(node, store, size))
    site = reactor.listenTCP(options.http, Site(root), interface=options.host)
    print(f"{options.name} serves at {options.host}:{site.getHost().port}", flush=True)
    reactor.addSystemEventTrigger("before", "shutdown", node.stop)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until stopped."""
    options = parser().parse_args(arguments)
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    levels.setLogLevelForNamespace("uring", LogLevel.info)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [levels])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    from twisted.internet import reactor as default_reactor

    reactor: Any = default_reactor

    problems: list[str] = []

    def failed(failure: Any) -> None:
        problems.append(failure.getErrorMessage())
        reactor.stop()

    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(run(reactor, options)).addErrback(failed)
    )
    reactor.run()
    if problems:
        sys.exit(f"mring-node: {problems[0]}")


if __name__ == "__main__":
    main()
