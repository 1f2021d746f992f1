"""Locks and elections around a command: lock, elect."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from uring.cli import exits
from uring.cli.run import Settings, Stop, show_json, with_client
from uring.client import Client, Leader, Lock
from uring.client.locks import TTL_SECONDS, check_name

GRACE_SECONDS = 10.0
"""What a command is given between SIGTERM and SIGKILL when the lock is lost."""
_NOT_EXECUTABLE, _NO_COMMAND, _BY_SIGNAL = 126, 127, 128
"""As shells have them; a signal's number is added to the last one."""

_TTL = click.option(
    "--ttl",
    type=click.FloatRange(1, 30 * 24 * 3600),
    default=TTL_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long it outlives this process if that is gone.",
)
_WAIT = click.option(
    "--wait",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="How long to wait for it; 0 for not at all.  [default: for ever]",
)


def _name(context: click.Context, parameter: click.Parameter, given: str) -> str:
    try:
        return check_name(given)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


@click.command()
@click.argument("name", callback=_name)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_TTL
@_WAIT
@with_client
async def lock(
    client: Client,
    settings: Settings,
    name: str,
    command: tuple[str, ...],
    ttl: float,
    wait: float | None,
) -> None:
    """Run COMMAND while this process alone has the lock NAME: uring lock jobs -- ./job.

    COMMAND finds the fencing token in URING_LOCK_TOKEN, and the key to compare it with in
    URING_LOCK_KEY.  Its exit code is that of this command.  If the lock is lost, COMMAND is ended
    (SIGTERM, ten seconds later SIGKILL), and the exit code is 7.

    Without COMMAND the key and the token are printed, and the lock is held until Ctrl-C.
    """
    await _hold(client.lock(name, ttl, wait=wait), command, settings)


@click.command()
@click.argument("name", callback=_name)
@click.argument("value", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--listen", is_flag=True, help="Print who leads, and every change, until Ctrl-C.")
@_TTL
@_WAIT
@with_client
async def elect(
    client: Client,
    settings: Settings,
    name: str,
    value: str | None,
    command: tuple[str, ...],
    listen: bool,
    ttl: float,
    wait: float | None,
) -> None:
    """Lead the election NAME as VALUE, and run COMMAND as long as that is so.

    As uring lock does: uring elect boss "$(hostname)" -- ./boss.  Without VALUE, print who leads.
    """
    election = client.election(name, ttl)
    if value is not None and not listen:
        await _hold(election.campaign(value, wait), command, settings)
    elif value is not None:
        raise click.UsageError("--listen is for who does not stand: leave VALUE out")
    elif listen:
        with suppress(CancelledError):  # by Ctrl-C: that is its end
            async for leader in election.observe():
                _show(leader, settings)
    else:
        leader = await election.leader()
        if leader is None:
            raise Stop(exits.NOT_FOUND, f"nobody leads {name!r}")
        _show(leader, settings)


def _show(leader: Leader | None, settings: Settings) -> None:
    value = None if leader is None else leader.value
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if settings.json:
        token = 0 if leader is None else leader.token
        show_json({"value": text, "token": token, "key": leader.key if leader else None})
    else:
        click.echo("-" if text is None else text)


async def _hold(lock: Lock, command: tuple[str, ...], settings: Settings) -> None:
    """Take the lock, run the command, and let the lock go; raises LockLost if it was lost."""
    if command and shutil.which(command[0]) is None:
        there = os.path.exists(command[0])
        why = "cannot be executed" if there else "no such command"
        raise Stop(_NOT_EXECUTABLE if there else _NO_COMMAND, f"{command[0]}: {why}")
    code = exits.OK
    async with lock:
        if command:
            code = await _run(lock, command)
        else:
            if settings.json:
                show_json({"key": lock.key, "token": lock.token})
            else:
                click.echo(f"{lock.key} {lock.token}")
            with suppress(CancelledError):  # by Ctrl-C: that is its end
                await lock.when_lost()
    raise Stop(code)


async def _run(lock: Lock, command: tuple[str, ...]) -> int:
    """Run ``command`` to its end, and return its exit code; end it when the lock is lost."""
    variables = {"URING_LOCK_TOKEN": str(lock.token), "URING_LOCK_KEY": lock.key}
    child = Child(command, {**os.environ, **variables})
    lost: Any = lock.when_lost()
    lost.addCallback(lambda _: child.end())
    while True:
        try:
            return await child.wait()
        except CancelledError:  # a signal to us: the lock is kept until the command has ended
            child.end()


class Child(ProcessProtocol):
    """One command, with this process's own input and output."""

    def __init__(self, command: tuple[str, ...], environment: Mapping[str, str]) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._code: int | None = None
        self._waiting: list[Deferred[int]] = []
        self._killing: IDelayedCall | None = None
        files = {0: 0, 1: 1, 2: 2}
        self._reactor.spawnProcess(self, command[0], command, environment, childFDs=files)

    def wait(self) -> Deferred[int]:
        """Return a Deferred that fires with the exit code, as a shell would have it."""
        waiting: Deferred[int] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if self._code is not None:
            self._tell(self._code)
        return waiting

    def end(self) -> None:
        """End the command, gently at first."""
        if self._code is None and self._killing is None:
            self._signal(signal.SIGTERM)
            self._killing = self._reactor.callLater(GRACE_SECONDS, self._signal, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # It may have ended, and we are not told yet.
        with suppress(ProcessExitedAlready):
            cast(Any, self.transport).signalProcess(number)

    def processEnded(self, reason: Failure) -> None:
        """See ProcessProtocol."""
        ended: Any = reason.value
        if self._killing is not None and self._killing.active():
            self._killing.cancel()
        self._tell(ended.exitCode if ended.signal is None else _BY_SIGNAL + ended.signal)

    def _tell(self, code: int) -> None:
        self._code = code
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(code)


COMMANDS = (lock, elect)
