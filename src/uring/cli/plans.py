"""Changes of the ring in two steps: see what would come of one, then do exactly that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
import orjson

from uring.cli import exits
from uring.cli.ring import ring as ring
from uring.cli.ring import show_ring
from uring.cli.run import Settings, Stop, show_json, show_table, with_client
from uring.client import Client

WEIGHT_MAX = 65535


class Newcomer(click.ParamType):  # type: ignore[type-arg]
    """NAME, NAME:WEIGHT or NAME:WEIGHT:ZONE."""

    name = "node"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> dict[str, Any]:
        """Return the node as a plan has it."""
        name, *rest = str(value).split(":", 2)
        made: dict[str, Any] = {"name": name}
        if rest:
            made["weight"] = _weight(self, rest[0], param, context)
        if len(rest) > 1:
            made["zone"] = rest[1]
        return made


class Pair(click.ParamType):  # type: ignore[type-arg]
    """NAME=WEIGHT or, for texts, NAME=TEXT."""

    name = "pair"

    def __init__(self, is_weight: bool) -> None:
        self._is_weight = is_weight

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, Any]:
        """Return both sides."""
        name, separator, given = str(value).partition("=")
        if not separator or not name:
            self.fail(f"{value!r}: write NAME={'WEIGHT' if self._is_weight else 'ZONE'}")
        return name, _weight(self, given, param, context) if self._is_weight else given


def _weight(
    kind: Newcomer | Pair, text: str, param: click.Parameter | None, context: click.Context | None
) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= WEIGHT_MAX:
        kind.fail(f"{text!r} is no weight; write a number from 1 to {WEIGHT_MAX}", param, context)
    return int(text)


@ring.command()
@click.option("--add", multiple=True, type=Newcomer(), metavar="NAME[:WEIGHT[:ZONE]]")
@click.option("--remove", multiple=True, metavar="NAME")
@click.option("--weight", "weights", multiple=True, type=Pair(True), metavar="NAME=WEIGHT")
@click.option("--zone", "zones", multiple=True, type=Pair(False), metavar="NAME=ZONE")
@click.option("--out", type=click.File("wb"), help='Write the plan here, for "commit".')
@with_client
async def plan(
    client: Client,
    settings: Settings,
    add: Sequence[dict[str, Any]],
    remove: Sequence[str],
    weights: Sequence[tuple[str, int]],
    zones: Sequence[tuple[str, str]],
    out: Any,
) -> None:
    """Show what a change would come to, and change nothing.

    Options may be repeated; all of them together are one change.
    """
    if not (add or remove or weights or zones):
        raise click.UsageError("say what is to change: --add, --remove, --weight, --zone")
    found = await client.plan_ring(add, remove, dict(weights), dict(zones))
    if out is not None:
        out.write(orjson.dumps(found["plan"]) + b"\n")
    if settings.json:
        show_json(found)
        return
    before, after = found["loads"]["before"], found["loads"]["after"]
    moved = _given_away(found["relocations"])
    rows = [
        (name, before.get(name, 0), after.get(name, 0), moved.get(name, 0))
        for name in dict.fromkeys((*before, *after))
    ]
    show_table(rows, "node", "before", "after", "gives")
    clashes = found["violations"]
    click.echo(f"{found['moves']} vnodes move, {found['minimum']} at the least")
    click.echo(f"{clashes['before']} vnodes have a node twice among their replicas", nl=False)
    click.echo(f", {clashes['after']} afterwards")


def _given_away(relocations: Mapping[str, Any]) -> dict[str, int]:
    """Return how many vnodes each node gives to others."""
    return {
        source: sum(
            last - first + 1 for ranges in moves["destinations"].values() for first, last in ranges
        )
        for source, moves in relocations.items()
    }


@ring.command()
@click.argument("file", type=click.File("rb"), metavar="PLAN")
@with_client
async def commit(client: Client, settings: Settings, file: Any) -> None:
    """Do exactly what the PLAN in a file says ("-": the standard input), and show the ring.

    The file is what "plan --out" wrote, or its whole answer (-o json).  The exit code is 3 if the
    ring has changed since: plan again.
    """
    try:
        planned = orjson.loads(file.read())
    except orjson.JSONDecodeError as problem:
        raise Stop(exits.BAD_USE, f"no plan: {problem}") from None
    if isinstance(planned, dict) and isinstance(planned.get("plan"), dict):
        planned = planned["plan"]
    if not isinstance(planned, dict) or "digest" not in planned:
        raise Stop(exits.BAD_USE, 'no plan: write what "uring ring plan --out FILE" wrote')
    show_ring(settings, await client.commit_ring(planned))
