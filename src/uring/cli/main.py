"""The command ``uring``: what stands before a command's name, and the list of commands."""

from __future__ import annotations

import re
from typing import Any

import click
from click.shell_completion import get_completion_class

import uring
from uring.cli import backups, cluster, exits, keys, leases, locks, plans, tokens
from uring.cli.bench import bench
from uring.cli.doctor.command import doctor
from uring.cli.run import Settings
from uring.client.tls import Trust

ENDPOINT = re.compile(r"(?:https://)?(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]+):[0-9]{1,5}")


def _endpoints(context: click.Context, parameter: click.Parameter, given: str) -> tuple[str, ...]:
    found = tuple(filter(None, (each.strip() for each in given.split(","))))
    for each in found:
        if not ENDPOINT.fullmatch(each):
            raise click.BadParameter(f"{each!r} is no address; write host:port,host:port")
    if not found:
        raise click.BadParameter("name at least one node, as host:port")
    return found


def _authorities(context: click.Context, parameter: click.Parameter, given: str | None) -> Any:
    try:
        Trust(given)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None
    return given


def _token(context: click.Context, parameter: click.Parameter, given: str | None) -> Any:
    """Return the token, from the file that is named or from the environment."""
    try:
        return tokens.read(given)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "URING"},
    epilog=exits.TABLE,
)
@click.option(
    "--endpoints",
    "-e",
    default="127.0.0.1:8080",
    show_default=True,
    show_envvar=True,
    callback=_endpoints,
    metavar="HOST:PORT,...",
    help="Nodes of the cluster; any of them will do.  https://HOST:PORT for TLS.",
)
@click.option(
    "--ca",
    callback=_authorities,
    show_envvar=True,
    metavar="FILE",
    help="Authorities that sign the nodes' certificates  [default: the system's]",
)
@click.option(
    "--token-file",
    callback=_token,
    show_envvar=True,
    metavar="FILE",
    help="Holds the token that proves who asks; or the variable URING_TOKEN is the token itself.",
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.001, 3600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="For each attempt.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0, 3600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try again while no node can serve.",
)
@click.version_option(uring.__version__, prog_name="uring")
@click.pass_context
def main(
    context: click.Context,
    endpoints: tuple[str, ...],
    ca: str | None,
    token_file: str | None,
    output: str,
    timeout: float,
    patience: float,
) -> None:
    """Talk to a uring cluster."""
    context.obj = Settings(endpoints, timeout, patience, output == "json", ca, token_file)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete: eval "$(uring completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "uring", "_URING_COMPLETE").source())


for command in (
    *keys.COMMANDS,
    *cluster.COMMANDS,
    *backups.COMMANDS,
    *locks.COMMANDS,
    plans.ring,
    leases.lease,
    tokens.token,
    doctor,
    bench,
):
    main.add_command(command)
