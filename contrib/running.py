"""Starts a cluster in the foreground and keeps it until a key, Ctrl-C, or SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater, react

from contrib.cluster import Cluster, ConfigError, PortTaken
from contrib.servers import NodeStopped, UringServer
from uring.errors import UringError

FAILED = 1


def say(text: str) -> None:
    """Print a line at once, wherever the output goes."""
    print(text, flush=True)


class _KeyPress:
    """Calls back at the first key; leaves the terminal as it was."""

    def __init__(self, reactor: Any, pressed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._pressed = pressed
        self._saved: list[Any] | None = None

    def start(self) -> None:
        """Listen, if there is a terminal to press a key on."""
        if sys.stdin is None or not sys.stdin.isatty():
            return
        self._saved = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Give the terminal back."""
        if self._saved is not None:
            self._reactor.removeReader(self)
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)
            self._saved = None

    def fileno(self) -> int:
        """Return what the reactor watches."""
        return sys.stdin.fileno()

    def logPrefix(self) -> str:
        """Return the name that Twisted logs."""
        return "key"

    def doRead(self) -> None:
        """Take the key."""
        os.read(sys.stdin.fileno(), 1)
        self._pressed()

    def connectionLost(self, reason: Any) -> None:
        """Do nothing: the terminal stays open."""


def run_cluster(
    make: Callable[[Any], Cluster],
    *,
    wipe: bool,
    any_key: bool,
    formed: Callable[[Cluster, float], None],
) -> None:
    """Start what ``make(reactor)`` describes, join it, call ``formed``, wait, stop; then exit.

    ``formed`` gets the cluster and the seconds it took.  Exit code 0 when it was asked to stop, 1
    with a line on stderr when the cluster could not be formed or a node stopped by itself.
    """

    async def session(reactor: Any) -> None:
        raise SystemExit(await _session(reactor, make, wipe, any_key, formed))

    react(lambda reactor: Deferred.fromCoroutine(session(reactor)))


async def _session(
    reactor: Any,
    make: Callable[[Any], Cluster],
    wipe: bool,
    any_key: bool,
    formed: Callable[[Cluster, float], None],
) -> int:
    stopping: Deferred[None] = Deferred()
    ended: Deferred[None] = Deferred()

    def stop(*ignored: object) -> None:
        if not stopping.called:
            stopping.callback(None)

    # The reactor sets handlers of its own when it begins to run, and they would stop it at once;
    # the nodes have to be stopped first, so ours come after.
    await deferLater(reactor, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *ignored: reactor.callFromThread(stop))
    key = _KeyPress(reactor, stop)
    cluster: Cluster | None = None
    try:
        cluster = make(reactor)
        work = Deferred.fromCoroutine(_form(cluster, wipe, formed))
        stopping.addCallback(lambda _: work.cancel())
        if any_key:
            key.start()
        await work
        _watch(cluster, ended)
        stopping.addCallback(lambda _: None if ended.called else ended.callback(None))
        await ended
        return 0
    except CancelledError:
        return 0
    except (ConfigError, PortTaken, NodeStopped, TimeoutError, UringError) as error:
        print(error, file=sys.stderr, flush=True)
        return FAILED
    finally:
        key.stop()
        if cluster is not None:
            say("stopping ...")
            await cluster.stop()


async def _form(cluster: Cluster, wipe: bool, formed: Callable[[Cluster, float], None]) -> None:
    if wipe:
        cluster.reset()
    began = time.monotonic()
    await cluster.start()
    await cluster.join()
    formed(cluster, time.monotonic() - began)


def _watch(cluster: Cluster, ended: Deferred[None]) -> None:
    """End with NodeStopped once no node is left; one alone may be killed to see what happens."""

    def stopped(server: UringServer, code: int | None) -> None:
        say(f"node {server.node_id} ended ({'signal' if code is None else f'exit code {code}'})")
        if not any(each.running for each in cluster.servers) and not ended.called:
            ended.errback(NodeStopped("no node is left"))

    for server in cluster.servers:
        server.unasked = stopped
