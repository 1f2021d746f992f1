"""The cluster: status and members."""

from __future__ import annotations

from typing import Any

import click

from uring.cli import exits
from uring.cli.run import Settings, Stop, show_json, show_table, with_client
from uring.client import Client
from uring.errors import UringError

_SHOWN = (
    *("id", "role", "term", "leader", "last_index", "commit_index", "applied_index"),
    *("version", "feature_level"),
)


def _client(settings: Settings, endpoint: str) -> Client:
    return Client(endpoint, timeout=settings.timeout, ca=settings.ca, token=settings.token)


@click.command()
@with_client
async def status(client: Client, settings: Settings) -> None:
    """Show what every endpoint says of itself."""
    found: list[tuple[str, Any]] = []
    for endpoint in settings.endpoints:
        async with _client(settings, endpoint) as node:
            try:
                found.append((endpoint, await node.status()))
            except UringError as error:
                found.append((endpoint, str(error)))
    answered = [state for _, state in found if isinstance(state, dict)]
    if settings.json:
        show_json({name: state if isinstance(state, dict) else None for name, state in found})
    else:
        rows = [
            (name, *(state.get(field) for field in _SHOWN))
            if isinstance(state, dict)
            else (name, *["-"] * len(_SHOWN))
            for name, state in found
        ]
        show_table(rows, "endpoint", *_SHOWN)
        for name, state in found:
            if not isinstance(state, dict):
                click.echo(f"{name}: {state}", err=True)
            elif state.get("faults"):
                click.echo(f"{name}: {'; '.join(state['faults'])}", err=True)
    if not answered:
        raise Stop(exits.UNAVAILABLE, "no endpoint answered")


@click.group(invoke_without_command=True)
@click.pass_context
def members(context: click.Context) -> None:
    """Show the members of the cluster, or change them."""
    if context.invoked_subcommand is None:
        context.invoke(show)


@members.command("list")
@with_client
async def show(client: Client, settings: Settings) -> None:
    """Show the members of the cluster."""
    state = await client.status()
    if settings.json:
        show_json(state["members"])
        return
    rows = [
        (
            member["id"],
            member["address"],
            "voter" if member["voter"] else "learner",
            "leader" if member["id"] == state["leader"] else "",
            member.get("feature_level"),
        )
        for member in state["members"]
    ]
    show_table(rows, "id", "address", "vote", "role", "supports")
    if waits_for := state.get("feature_level_waits_for"):
        names = ", ".join(map(str, waits_for))
        click.echo(
            f"The cluster stays at feature level {state['feature_level']} until {names} support "
            f"{state['feature_level_supported']}: upgrade them, or remove who will not come back.",
            err=True,
        )


@members.command()
@click.argument("node_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@click.argument("address", required=False)
@with_client
async def add(client: Client, settings: Settings, node_id: int, address: str | None) -> None:
    """Add the node ID, which has said hello or listens at ADDRESS, and make it a voter."""
    await client.add_member(node_id, address)
    if settings.json:
        show_json({"id": node_id})


@members.command()
@click.argument("node_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@with_client
async def promote(client: Client, settings: Settings, node_id: int) -> None:
    """Wait until the learner ID has caught up and has a vote.

    A learner becomes a voter by itself; this says when, and exits with 4 if --patience is over
    before.
    """
    if not await client.is_member(node_id):
        raise Stop(exits.NOT_FOUND, f"node {node_id} is no member; uring members add {node_id}")
    await client.add_member(node_id)
    if settings.json:
        show_json({"id": node_id, "voter": True})


@members.command()
@click.argument("node_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@with_client
async def remove(client: Client, settings: Settings, node_id: int) -> None:
    """Remove the member ID."""
    await client.remove_member(node_id)
    if settings.json:
        show_json({"id": node_id})


@members.command()
@click.argument("node_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@with_client
async def transfer(client: Client, settings: Settings, node_id: int) -> None:
    """Make the member ID the leader."""
    await client.transfer(node_id)
    if settings.json:
        show_json({"leader": node_id})


COMMANDS = (status, members)
