"""Keys and values: get, put, del, cas, list, txn, watch."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import click
import orjson
from twisted.internet.defer import CancelledError

from uring.cli import exits
from uring.cli.run import Settings, Stop, show_json, show_table, with_client
from uring.client import Change, Client, Item, Watch
from uring.client.services import Value


def _given(value: str) -> bytes:
    """Return the value that was meant: the standard input for "-"."""
    return sys.stdin.buffer.read() if value == "-" else value.encode()


def _json(value: Value | None) -> Any:
    """Return a value as JSON has it: as the server shows it."""
    return value if not isinstance(value, bytes) else {"hex": value.hex()}


def _show_value(value: Value) -> None:
    """Print a value; bytes that are no text as they are."""
    click.echo(value, nl=isinstance(value, str))


def _shown(item: Item) -> dict[str, Any]:
    return {
        "key": item.key,
        "value": _json(item.value),
        "created": item.created,
        "revision": item.revision,
        "lease": item.lease,
    }


@click.command()
@click.argument("key")
@click.option("--stale", is_flag=True, help="What the node knows, without asking the others.")
@with_client
async def get(client: Client, settings: Settings, key: str, stale: bool) -> None:
    """Print the value of KEY; with -o json its revisions as well."""
    item = await client.look(key, stale=stale)
    if item is None:
        raise Stop(exits.NOT_FOUND, f"no key {key!r}")
    show_json(_shown(item)) if settings.json else _show_value(item.value)


@click.command()
@click.argument("key")
@click.argument("value")
@click.option("--if-revision", type=click.IntRange(1), help="Only over this change.")
@click.option("--if-absent", is_flag=True, help="Only if the key does not exist.")
@click.option("--lease", type=click.IntRange(1), help="Let it go when this lease ends.")
@with_client
async def put(
    client: Client,
    settings: Settings,
    key: str,
    value: str,
    if_revision: int | None,
    if_absent: bool,
    lease: int | None,
) -> None:
    """Store VALUE under KEY; "-" stands for the standard input, whatever its bytes."""
    if if_absent and if_revision is not None:
        raise click.UsageError("--if-revision and --if-absent exclude each other")
    revision = await client.store(
        key, _given(value), revision=if_revision, absent=if_absent, lease=lease or 0
    )
    if settings.json:
        show_json({"key": key, "revision": revision})


@click.command("del")
@click.argument("key")
@click.option("--if-revision", type=click.IntRange(1), help="Only this change.")
@with_client
async def delete(client: Client, settings: Settings, key: str, if_revision: int | None) -> None:
    """Remove KEY, and print the value it had."""
    old = await client.remove(key, revision=if_revision)
    if old is None:
        raise Stop(exits.NOT_FOUND, f"no key {key!r}")
    show_json({"key": key, "value": _json(old)}) if settings.json else _show_value(old)


@click.command()
@click.argument("key")
@click.argument("store")
@click.option("--check", help="The value it must have; without it, the key must not exist.")
@with_client
async def cas(client: Client, settings: Settings, key: str, store: str, check: str | None) -> None:
    """Store STORE under KEY if it holds what --check says."""
    swap = await client.cas(key, check, store)
    if settings.json:
        show_json({"key": key, "stored": swap.stored, "current": swap.current})
    if not swap.stored:
        there = "does not exist" if swap.current is None else f"holds {swap.current!r}"
        raise Stop(exits.CONFLICT, f"{key!r} {there}")


@click.command("list")
@click.argument("prefix", default="")
@click.option("--keys", is_flag=True, help="Only the keys, one a line.")
@with_client
async def list_(client: Client, settings: Settings, prefix: str, keys: bool) -> None:
    """List the keys that begin with PREFIX, in order; with -o json one object a line."""
    rows = []
    async for item in client.keys(prefix):
        if settings.json:
            show_json(_shown(item))
        elif keys:
            click.echo(item.key)
        else:
            value = item.value if isinstance(item.value, str) else repr(item.value)
            rows.append((item.key, item.revision, item.lease or None, value))
    if not settings.json and not keys:
        show_table(rows, "key", "revision", "lease", "value")


@click.command()
@click.argument("transaction", type=click.File("rb"), default="-")
@with_client
async def txn(client: Client, settings: Settings, transaction: Any) -> None:
    """Run the TRANSACTION in a file, or the standard input, and print its answer as JSON.

    It is what POST /txn takes: {"compare": [...], "then": [...], "else": [...]}.  The exit code is
    3 where the comparisons did not hold.
    """
    try:
        body = orjson.loads(transaction.read())
        parts = [body.pop(name, []) for name in ("compare", "then", "else")]
    except (orjson.JSONDecodeError, AttributeError, TypeError) as problem:
        raise Stop(exits.BAD_USE, f"no transaction: {problem}") from None
    if body:
        raise Stop(exits.BAD_USE, f"a transaction has no {', '.join(body)}")
    done = await client.txn(*parts)
    results = [None if item is None else _shown(item) for item in done.results]
    show_json({"succeeded": done.succeeded, "revision": done.revision, "results": results})
    if not done.succeeded:
        raise Stop(exits.CONFLICT)


@click.command()
@click.argument("prefix", default="")
@click.option("--channel", type=click.Choice(["kv", "mring", "uring"]), default="kv")
@click.option("--from", "start", type=click.IntRange(1), help="Begin with this revision.")
@click.option("--snapshot", is_flag=True, help="First what there is.")
@click.option("--count", type=click.IntRange(1), help="End after so many changes.")
@with_client
async def watch(
    client: Client,
    settings: Settings,
    prefix: str,
    channel: str,
    start: int | None,
    snapshot: bool,
    count: int | None,
) -> None:
    """Print every change of keys that begin with PREFIX, one JSON object a line, until Ctrl-C.

    Goes on at another endpoint when one is lost; nothing is missed, nothing told twice.
    """
    with suppress(CancelledError):  # by Ctrl-C: that is its end
        await _watch(client.watch(channel, prefix=prefix, start=start, snapshot=snapshot), count)


async def _watch(watch: Watch, count: int | None) -> None:
    """Print what ``watch`` tells, up to ``count`` changes."""
    seen = 0
    async for news in watch:
        if isinstance(news, Change):
            show_json({"revision": news.revision, "msg": news.event})
            seen += 1
        else:
            show_json({"revision": news.revision, "snapshot": news.items, "last": news.ends})
        if count is not None and seen >= count:
            return


COMMANDS = (get, put, delete, cas, list_, txn, watch)
