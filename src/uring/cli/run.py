"""From click's synchronous commands to coroutines in the reactor, and from answers to text."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import click
import orjson
from attrs import define
from twisted.internet.defer import CancelledError, Deferred

from uring.cli import exits
from uring.client import Client
from uring.errors import UringError

_NUMBER = re.compile(r"-?[0-9]*")  # or nothing to show


@define
class Settings:
    """What stands before the command's name."""

    endpoints: tuple[str, ...]
    timeout: float
    patience: float
    json: bool
    ca: str | None = None
    token: str | None = None

    def client(self, reactor: Any, first: int = 0) -> Client:
        """Return a client that repeats safely and asks the endpoint at ``first`` before others."""
        return Client(
            *self.endpoints[first:],
            *self.endpoints[:first],
            reactor=reactor,
            timeout=self.timeout,
            patience=self.patience,
            repeat=True,
            ca=self.ca,
            token=self.token,
        )


class Stop(Exception):
    """Ends the command with ``code``, after ``text`` on the standard error output."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text)
        self.code = code


def with_client(act: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Let click call the coroutine function ``act(client, settings, ...)``."""

    @click.pass_obj
    @functools.wraps(act)
    def run(settings: Settings, /, *args: Any, **kwargs: Any) -> None:
        async def work(reactor: Any) -> None:
            client = settings.client(reactor)
            try:
                await act(client, settings, *args, **kwargs)
            finally:
                await client.close()

        in_reactor(work)

    return run


def in_reactor(work: Callable[[Any], Awaitable[None]]) -> None:
    """Run ``work(reactor)``, and end the process with the exit code of what it raises."""
    from twisted.internet.task import react

    code = exits.OK

    async def guarded(reactor: Any) -> None:
        nonlocal code
        try:
            await work(reactor)
        except UringError as error:
            click.echo(f"uring: {error}", err=True)
            code = exits.code_of(error)
        except click.ClickException as problem:
            problem.show()
            code = problem.exit_code
        except Stop as stop:
            if str(stop):
                click.echo(f"uring: {stop}", err=True)
            code = stop.code
        except CancelledError:
            code = exits.INTERRUPTED

    def start(reactor: Any) -> Deferred[None]:
        running = Deferred.fromCoroutine(guarded(reactor))
        ended: Deferred[None] = Deferred()

        def tell(result: Any) -> Any:
            ended.callback(None)
            return result

        def interrupted() -> Deferred[None]:
            """Let the command put away what it has begun, before the reactor stops."""
            running.cancel()
            return ended

        running.addCallbacks(tell, tell)

        reactor.addSystemEventTrigger("before", "shutdown", interrupted)
        return running

    try:
        react(start)
    except SystemExit as ended:
        sys.exit(code or ended.code)


def show_json(value: Any) -> None:
    """Print ``value`` as one line of JSON."""
    click.echo(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode())


def show_table(rows: Iterable[Sequence[Any]], *heads: str) -> None:
    """Print rows in aligned columns; numbers to the right."""
    lines = [list(heads), *([_cell(value) for value in row] for row in rows)]
    numeric = [
        len(lines) > 1 and all(_NUMBER.fullmatch(line[column]) for line in lines[1:])
        for column in range(len(heads))
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def show_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values, one a line."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name.ljust(width)}  {_cell(value)}")


def _cell(value: Any) -> str:
    """Return ``value`` on one line; what a terminal would act upon is escaped."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else str(value)
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
