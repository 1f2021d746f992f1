"""The ring: show, size, add, remove."""

from __future__ import annotations

from collections.abc import Sequence

import click

from uring.cli import exits
from uring.cli.run import Settings, Stop, show_json, show_table, with_client
from uring.client import Client, RingNode


def ranges(vnodes: Sequence[int]) -> str:
    """Return ascending numbers as ``0-3,5``."""
    found: list[list[int]] = []
    for vnode in vnodes:
        if found and vnode == found[-1][1] + 1:
            found[-1][1] = vnode
        else:
            found.append([vnode, vnode])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in found)


def show_ring(settings: Settings, nodes: Sequence[RingNode]) -> None:
    """Print the nodes of the ring and what they own."""
    if settings.json:
        show_json([{"id": node.id, "vnodes": node.vnodes} for node in nodes])
    else:
        rows = [(node.id, len(node.vnodes), ranges(node.vnodes)) for node in nodes]
        show_table(rows, "node", "load", "vnodes")


@click.group(invoke_without_command=True)
@click.pass_context
def ring(context: click.Context) -> None:
    """Show the ring, or change it."""
    if context.invoked_subcommand is None:
        context.invoke(show)


@ring.command()
@with_client
async def show(client: Client, settings: Settings) -> None:
    """Show which node owns what."""
    show_ring(settings, await client.ring_nodes())


@ring.command()
@click.argument("vnodes", type=click.IntRange(1, 2**24), required=False)
@with_client
async def size(client: Client, settings: Settings, vnodes: int | None) -> None:
    """Print the size of the ring, or give it one."""
    if vnodes is not None:
        await client.set_ring_size(vnodes)
    found = await client.ring_size()
    if found is None:
        raise Stop(exits.NOT_FOUND, "the ring has no size yet; uring ring size 64")
    show_json({"size": found}) if settings.json else click.echo(found)


@ring.command()
@click.argument("node")
@with_client
async def add(client: Client, settings: Settings, node: str) -> None:
    """Add NODE, and show the ring as it is then."""
    show_ring(settings, await client.add_ring_node(node))


@ring.command()
@click.argument("node")
@with_client
async def remove(client: Client, settings: Settings, node: str) -> None:
    """Remove NODE, and show the ring as it is then."""
    show_ring(settings, await client.remove_ring_node(node))
