"""Leases: grant, keep-alive, show, revoke."""

from __future__ import annotations

import click

from uring.cli.run import Settings, show_json, with_client
from uring.client import Client

LEASE = click.IntRange(1, 2**63 - 1)


@click.group()
def lease() -> None:
    """Make leases, renew them, end them."""


@lease.command()
@click.argument("ttl", type=click.FloatRange(1, 30 * 24 * 3600), metavar="SECONDS")
@with_client
async def grant(client: Client, settings: Settings, ttl: float) -> None:
    """Make a lease of SECONDS, and print its id."""
    made = await client.grant(ttl)
    show_json({"id": made, "ttl": ttl}) if settings.json else click.echo(made)


@lease.command("keep-alive")
@click.argument("lease_id", metavar="ID", type=LEASE)
@with_client
async def keep_alive(client: Client, settings: Settings, lease_id: int) -> None:
    """Begin the time of lease ID again, and print it."""
    ttl = await client.keep_alive(lease_id)
    show_json({"id": lease_id, "ttl": ttl}) if settings.json else click.echo(f"{ttl:g}")


@lease.command()
@click.argument("lease_id", metavar="ID", type=LEASE)
@with_client
async def show(client: Client, settings: Settings, lease_id: int) -> None:
    """Print the keys that hang on lease ID."""
    keys = await client.lease_keys(lease_id)
    if settings.json:
        show_json({"id": lease_id, "keys": keys})
    else:
        for key in keys:
            click.echo(key)


@lease.command()
@click.argument("lease_id", metavar="ID", type=LEASE)
@with_client
async def revoke(client: Client, settings: Settings, lease_id: int) -> None:
    """End lease ID, and remove its keys."""
    await client.revoke(lease_id)
    if settings.json:
        show_json({"id": lease_id})
