"""Keys and values: get, put, del, cas."""

from __future__ import annotations

import sys

import click

from uring.cli import exits
from uring.cli.run import Settings, Stop, show_json, with_client
from uring.client import Client


def _value(value: str) -> str:
    """Return the value that was meant: the standard input for "-"."""
    if value != "-":
        return value
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise click.BadParameter("the standard input is not UTF-8") from None


@click.command()
@click.argument("key")
@click.option("--stale", is_flag=True, help="What the node knows, without asking the others.")
@with_client
async def get(client: Client, settings: Settings, key: str, stale: bool) -> None:
    """Print the value of KEY."""
    value = await client.get(key, stale=stale)
    if value is None:
        raise Stop(exits.NOT_FOUND, f"no key {key!r}")
    if settings.json:
        show_json({"key": key, "value": value})
    else:
        click.echo(value)


@click.command()
@click.argument("key")
@click.argument("value")
@with_client
async def put(client: Client, settings: Settings, key: str, value: str) -> None:
    """Store VALUE under KEY; "-" stands for the standard input."""
    await client.put(key, _value(value))
    if settings.json:
        show_json({"key": key})


@click.command("del")
@click.argument("key")
@with_client
async def delete(client: Client, settings: Settings, key: str) -> None:
    """Remove KEY, and print the value it had."""
    old = await client.delete(key)
    if old is None:
        raise Stop(exits.NOT_FOUND, f"no key {key!r}")
    if settings.json:
        show_json({"key": key, "value": old})
    else:
        click.echo(old)


@click.command()
@click.argument("key")
@click.argument("store")
@click.option("--check", help="The value it must have; without it, the key must not exist.")
@with_client
async def cas(client: Client, settings: Settings, key: str, store: str, check: str | None) -> None:
    """Store STORE under KEY if it holds what --check says."""
    swap = await client.cas(key, check, _value(store))
    if settings.json:
        show_json({"key": key, "stored": swap.stored, "current": swap.current})
    if not swap.stored:
        there = "does not exist" if swap.current is None else f"holds {swap.current!r}"
        raise Stop(exits.CONFLICT, f"{key!r} {there}")


COMMANDS = (get, put, delete, cas)
