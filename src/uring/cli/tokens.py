"""Tokens: the one that proves who asks, and add, list, remove."""

from __future__ import annotations

import os
from pathlib import Path

import click

from uring.cli.run import Settings, show_json, show_table, with_client
from uring.client import Client
from uring.client.transport import authorization

VARIABLE = "URING_TOKEN"
_BYTES_MAX = 4096


def read(file: str | None) -> str | None:
    """Return the token in ``file``, or that of the environment where no file is named.

    Raises ValueError, which does not repeat what might be the token itself.
    """
    if file is None:
        text = os.environ.get(VARIABLE, "").strip() or None
    else:
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(_BYTES_MAX)
        except OSError as error:
            raise ValueError(
                f"names no file that can be read ({error.strerror}); it takes a path, never the "
                "token itself"
            ) from None
        text = data.decode("utf-8", "replace").strip()
    authorization(text)
    return text


@click.group()
def token() -> None:
    """Make tokens, list them, remove them."""


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["read", "write", "admin"]), required=True)
@click.option(
    "--prefix", "prefixes", multiple=True, help="Only for keys that begin so; may be repeated."
)
@with_client
async def add(
    client: Client, settings: Settings, name: str, role: str, prefixes: tuple[str, ...]
) -> None:
    """Make a token for NAME, and print it: it is shown this once."""
    made = await client.add_token(role, name, prefixes)
    show_json(made) if settings.json else click.echo(made["token"])


@token.command("list")
@with_client
async def list_(client: Client, settings: Settings) -> None:
    """List the tokens, without what proves them."""
    found = await client.tokens()
    if settings.json:
        show_json(found)
    else:
        fields = ("id", "name", "role", "created")
        rows = [[*(each[name] for name in fields), " ".join(each["prefixes"])] for each in found]
        show_table(rows, *fields, "prefixes")


@token.command()
@click.argument("token_id", metavar="ID")
@with_client
async def remove(client: Client, settings: Settings, token_id: str) -> None:
    """Remove the token ID (what stands before the dot)."""
    await client.remove_token(token_id)
    if settings.json:
        show_json({"id": token_id})
