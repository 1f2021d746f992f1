"""``uring bench``: what a cluster takes, measured by a load that is removed afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from uring.cli.load import SHARES, Load, clean
from uring.cli.run import Settings, in_reactor, show_json, show_table
from uring.client import Client
from uring.errors import UringError

BAR_STEPS = 1000
BAR_SECONDS = 0.2
PREFIX = "uring-bench/"


@click.command()
@click.option("--clients", type=click.IntRange(1, 1000), default=8, show_default=True)
@click.option(
    "--window", type=click.IntRange(1, 1024), default=16, show_default=True,
    help="Requests under way for each client.",
)  # fmt: skip
@click.option(
    "--size", type=click.IntRange(0, 2**20), default=100, show_default=True,
    help="Bytes of a value.",
)  # fmt: skip
@click.option(
    "--reads", type=click.IntRange(0, 100), default=50, show_default=True,
    help="Linearizable reads among the requests, in percent.",
)  # fmt: skip
@click.option("--keys", type=click.IntRange(1, 10**6), default=1000, show_default=True)
@click.option("--count", type=click.IntRange(1, 10**9), help="End after so many requests,")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600), help="or after so long.  [default: 10]"
)
@click.option(
    "--prefix", default=PREFIX, show_default=True,
    help="Keys begin with this and a name that nobody has used.",
)  # fmt: skip
@click.option("--clean", "only_clean", is_flag=True, help="Only remove what a run has left there.")
@click.pass_obj
def bench(
    settings: Settings,
    clients: int,
    window: int,
    size: int,
    reads: int,
    keys: int,
    count: int | None,
    seconds: float | None,
    prefix: str,
    only_clean: bool,
) -> None:
    """Put a load on the cluster, over WebSockets, and show how quick it is.

    Its keys are removed afterwards, also after Ctrl-C.  The clients share all endpoints.
    """
    if not prefix:
        raise click.UsageError("--prefix is empty: that would be every key")

    async def work(reactor: Any) -> None:
        if only_clean:
            client = settings.client(reactor)
            try:
                click.echo(f"{await clean(client, prefix)} keys removed")
            finally:
                await client.close()
            return
        load = Load(
            reactor,
            f"{prefix}{os.urandom(6).hex()}/",
            window,
            size,
            reads / 100,
            keys,
            count,
            10.0 if count is None and seconds is None else seconds,
            settings.patience,
        )
        places = len(settings.endpoints)
        everybody = [settings.client(reactor, number % places) for number in range(clients)]
        with _until_removed(reactor, load) as finished:
            try:
                with _bar(load):
                    await load.run(everybody)
            finally:
                try:
                    await _remove(everybody[0], load.prefix)
                finally:
                    for each in everybody:
                        await each.close()
                    finished.callback(None)
        _show(settings, load, clients)

    in_reactor(work)


async def _remove(client: Client, prefix: str) -> None:
    try:
        await clean(client, prefix)
    except UringError:
        click.echo(f"uring: keys are left; uring bench --clean --prefix {prefix}", err=True)
        raise


@contextmanager
def _until_removed(reactor: Any, load: Load) -> Iterator[Deferred[None]]:
    """Let Ctrl-C end the load, and the process only once its keys are removed."""
    finished: Deferred[None] = Deferred()

    def stop() -> Deferred[None]:
        load.stopped = True
        waiting: Deferred[None] = Deferred()
        finished.addCallback(lambda result: waiting.callback(None))
        return waiting if not finished.called else succeed(None)

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    yield finished


@contextmanager
def _bar(load: Load) -> Iterator[None]:
    """Show a person how far it is; tell a log nothing."""
    if not sys.stderr.isatty():
        yield
        return
    with click.progressbar(length=BAR_STEPS, label="measuring", file=sys.stderr) as bar:
        loop = LoopingCall(lambda: bar.update(int(load.share_done() * BAR_STEPS) - bar.pos))
        loop.clock = load.reactor
        loop.start(BAR_SECONDS).addErrback(lambda failure: None)
        try:
            yield
        finally:
            loop.stop()
            bar.update(BAR_STEPS - bar.pos)


def _show(settings: Settings, load: Load, clients: int) -> None:
    answered = load.reading.count + load.writing.count
    rate = answered / load.took if load.took else 0.0
    reading, writing = load.reading.shown(), load.writing.shown()
    if settings.json:
        show_json(
            {
                "clients": clients,
                "window": load.window,
                "size": load.size,
                "seconds": round(load.took, 3),
                "requests": answered,
                "per_second": round(rate, 1),
                "reads": reading,
                "writes": writing,
                "errors": dict(load.errors),
            }
        )
        return
    names = ["mean_ms", *(f"p{share:g}_ms" for share in SHARES), "max_ms"]
    rows = [
        (name, told["count"], *(f"{told[each]:.2f}" for each in names))
        for name, told in (("read", reading), ("write", writing))
        if told["count"]
    ]
    show_table(rows, "", "requests", *(each.replace("_", " ") for each in names))
    click.echo(f"{answered} requests in {load.took:.1f} s: {rate:.0f} a second")
    for name, number in sorted(load.errors.items()):
        click.echo(f"{number} times {name}", err=True)
