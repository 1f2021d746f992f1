"""The command: look, look again where that says more, conclude, print."""

from __future__ import annotations

from typing import Any

import click
from attrs import evolve
from click.core import ParameterSource
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from uring.cli import exits
from uring.cli.doctor import shown
from uring.cli.doctor.diagnosis import diagnose
from uring.cli.doctor.findings import Finding, ordered
from uring.cli.doctor.local import Local, endpoints, listener_of, settings_of
from uring.cli.doctor.look import Connect, Sight, look_again, look_at_all, others, plain
from uring.cli.doctor.picture import Picture, Scene
from uring.cli.doctor.procfs import Machine
from uring.cli.run import Settings, Stop, in_reactor
from uring.client import Client

ASK_SECONDS = 4.0
"""Longer than a slow disk, shorter than patience: a node that hangs is found out by then."""
AGAIN_SECONDS = 1.5
"""Between two looks: members tell of themselves once a second."""
LOOKS_MAX = 3
ROUNDS_MAX = 3
"""Nodes lead to others, which lead to others: as far as two steps from what was named."""


@click.command(
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
    epilog="Exit code 8 if anything is wrong, 0 if all is well.",
)
@click.option(
    "--config", "-c", type=click.Path(exists=True, dir_okay=False), help="A node's TOML file."
)
@click.option("--data-dir", "-d", type=click.Path(), help="A node's data directory.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- NODE-OPTIONS...]")
@click.pass_context
def doctor(
    context: click.Context, config: str | None, data_dir: str | None, words: tuple[str, ...]
) -> None:
    """Look at the whole cluster, name what is wrong, and say what to type.

    Asks every endpoint, and every member that they know of.  With a node's options (as in
    "uring doctor twistd -n uring -e HOST:PORT -i 2", or by --config, --data-dir) it looks at
    this machine as well: port, directory, disk and files, whether the node runs or not.
    """
    settings: Settings = context.obj
    given = [
        *(["--config", config] if config else []),
        *(["--data-dir", data_dir] if data_dir else []),
    ]
    node = None
    if given or words:
        try:
            node = settings_of([*words, *given])
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None
    assert context.parent is not None
    is_default = context.parent.get_parameter_source("endpoints") is ParameterSource.DEFAULT
    named = [] if node is not None and is_default else list(settings.endpoints)
    named += [each for each in endpoints(node) if each not in named] if node is not None else []

    async def work(reactor: Any) -> None:
        local = None if node is None else Local(node, Machine(), reactor)
        picture, findings = await examined(reactor, settings, named, local)
        shown.as_json(picture, findings) if settings.json else shown.as_text(picture, findings)
        if findings:
            raise Stop(exits.FINDINGS)

    in_reactor(work)


async def examined(
    reactor: Any, settings: Settings, named: list[str], local: Local | None
) -> tuple[Picture, list[Finding]]:
    """Return what was seen, and what is wrong."""

    def connect(address: str) -> Client:
        timeout = min(settings.timeout, ASK_SECONDS)
        return Client(
            address, reactor=reactor, timeout=timeout, ca=settings.ca, token=settings.token
        )

    machine = Machine() if local is None else local.machine
    picture, earlier = await observed(reactor, connect, named)
    scene = Scene(picture, earlier, lambda address: listener_of(machine, address))
    found = diagnose(scene)
    if local is not None:
        found = await deferToThread(lambda: local.examine(picture, found))
    return picture, ordered(found)


async def observed(
    reactor: Any, connect: Connect, named: list[str]
) -> tuple[Picture, Picture | None]:
    """Look at all there is; once more, a moment later, where one look does not tell enough."""
    sights: list[Sight] = []
    unseen = list(dict.fromkeys(named))
    for number in range(ROUNDS_MAX):
        sights += await look_at_all(connect, unseen, named=number == 0)
        unseen = others(sights)
        if not unseen:
            break
    sights = merged(sights)
    picture, earlier = Picture(sights), None
    for _ in range(LOOKS_MAX - 1):
        if is_clear(picture):
            break
        await deferLater(reactor, AGAIN_SECONDS)
        earlier, sights = picture, await look_again(connect, sights)
        picture = Picture(sights)
    return picture, earlier


def merged(sights: list[Sight]) -> list[Sight]:
    """Return each node once: an operator may name one by several addresses."""
    kept: dict[Any, Sight] = {}
    for sight in sights:
        key = (sight.cluster, sight.id, sight.instance) if sight.answered else plain(sight.address)
        before = kept.get(key)
        kept[key] = sight if before is None else evolve(before, named=before.named or sight.named)
    return list(kept.values())


def is_clear(picture: Picture) -> bool:
    """Tell whether a second look could not show more: all is well, or nobody answers."""
    for cluster in picture.clusters:
        for member in cluster.members.values():
            if not member.is_alive or int(member.line.get("applied_index", 0)) < cluster.commit:
                return False
        if not all(sight.served == "" for sight in cluster.sights):
            return False
        if not cluster.serves or len(cluster.together()) < cluster.needed:
            return False
    return not picture.strangers
