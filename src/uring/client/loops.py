"""Twisted's reactor in the loop of asyncio that is running."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from typing import Any

_REACTOR = "twisted.internet.reactor"


class ReactorInUse(RuntimeError):
    """Twisted runs in another way in this process, so that it cannot run in asyncio's loop."""


def reactor_of_the_loop() -> Any:
    """Return the reactor that the running loop drives; install and start one if there is none.

    After the end of a loop the next one gets a reactor of its own.  Raises ReactorInUse where
    another kind of reactor, or another loop's, is there, and RuntimeError outside of a loop.
    """
    from twisted.internet import asyncioreactor

    loop = asyncio.get_running_loop()
    reactor: Any = sys.modules.get(_REACTOR)
    if reactor is not None:
        if not isinstance(reactor, asyncioreactor.AsyncioSelectorReactor):
            raise ReactorInUse(
                f"{type(reactor).__name__} is installed; import uring.client.asyncio and make its"
                " client before anything imports twisted.internet.reactor, or use uring.client"
            )
        if reactor._asyncioEventloop is loop:
            if not reactor.running:
                _start(reactor)
            return reactor
        if not reactor._asyncioEventloop.is_closed():
            raise ReactorInUse("Twisted runs in another loop of this process; use its client there")
        _forget(reactor)
    asyncioreactor.install(loop)
    reactor = sys.modules[_REACTOR]
    _start(reactor)
    return reactor


def _start(reactor: Any) -> None:
    # Signals stay asyncio's; a thread that looks up a name must not hold up the end of the process.
    reactor.startRunning(installSignalHandlers=False)
    reactor.getThreadPool().threadFactory = functools.partial(threading.Thread, daemon=True)


def _forget(reactor: Any) -> None:
    """Make room for another reactor: the loop of this one is closed, so it never runs again."""
    from txaio.tx import config

    from twisted import internet

    if reactor.threadpool is not None:
        reactor.threadpool.stop()
    del sys.modules[_REACTOR]
    if getattr(internet, "reactor", None) is reactor:
        del internet.reactor
    if config.loop is reactor:
        config.loop = None
