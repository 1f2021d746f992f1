"""Runs schemathesis for long: python -m tests.schema --examples 200 --seeds 3 --nodes 3."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from contrib import Cluster
from contrib.cluster import Node
from tests.integration.base import free_ports
from tests.schema.runs import EACH, PATIENT, WITH_CONDITIONS, Run, with_conditions, with_tokens
from uring.api.documents import load

ALONE = ("postTokens",)
"""Whoever makes the first token has shut out everybody else."""


def parsed() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.schema", description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="of each operation")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--start", type=int, default=int(time.time()), help="the first seed")
    parser.add_argument("--nodes", type=int, default=3)
    return parser.parse_args()


async def one(reactor: Any, asked: argparse.Namespace, seed: int) -> list[str]:
    """Run everything with one seed, against the last node of a new cluster; return what failed."""
    directory = Path(tempfile.mkdtemp(prefix="uring-schema-"))
    ports = enumerate(free_ports(asked.nodes), 1)
    nodes = [Node(port, node_id, node_id == 1) for node_id, port in ports]
    cluster = Cluster(nodes, directory, options=PATIENT, reactor=reactor)
    strict = directory / "tokens.json"
    strict.write_bytes(with_tokens(load("openapi.json")))
    failed = []
    try:
        await cluster.start()
        await cluster.join()
        client = cluster.clients[-1]
        port, examples = nodes[-1].port, asked.examples
        runs = {
            "as it is": Run(port, seed, examples, only="^/(?!watch)", skip=ALONE),
            "streams": Run(port, seed, examples, only="^/watch$", phases=EACH, request_seconds=0.5),
        }
        for but in ("IfMatch", "IfNoneMatch"):
            document = directory / f"but-{but}.json"
            document.write_bytes(with_conditions(load("openapi.json"), but))
            runs[f"conditions but {but}"] = Run(
                port,
                seed,
                examples,
                only="^/(kv|data)/|^/txn",
                document=document,
                config=WITH_CONDITIONS,
                phases="coverage,fuzzing",
            )
        for name, run in runs.items():
            failed += await _found(run, directory, seed, name)
        token = (await client.rest.add_token("admin"))["token"]
        run = Run(port, seed, examples, token, only="^/(?!watch)", document=strict)
        failed += await _found(run, directory, seed, "with tokens")
    finally:
        for client in cluster.clients:
            await client.close()
        for server in cluster.servers:
            if server.running:
                await server.die()
    return failed


async def _found(run: Run, directory: Path, seed: int, name: str) -> list[str]:
    began = time.monotonic()
    found = await run.findings(directory / name.replace(" ", "-"))
    print(f"seed {seed}, {name}: {'FAILED' if found else 'clean'} "
          f"after {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    if found:
        print(found, flush=True)
    return [f"seed {seed}, {name}"] if found else []


async def main(reactor: Any) -> None:
    """Run all seeds."""
    asked = parsed()
    failed = []
    for seed in range(asked.start, asked.start + asked.seeds):
        failed += await one(reactor, asked, seed)
    if failed:
        raise SystemExit(f"found something: {'; '.join(failed)}")


react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
