"""Telling the service manager how the node is: sd_notify(3), without a library for three words."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall


@define
class Supervisor:
    """Speaks to the socket that the service manager named; to nobody where there is none."""

    _clock: Any
    _environ: Mapping[str, str] = os.environ
    _call: IDelayedCall | None = field(default=None, init=False)

    def ready(self, status: str) -> None:
        """The node serves; from now on it tells from time to time that its reactor runs."""
        self._tell(f"READY=1\nSTATUS={status}")
        self._watch()

    def stopping(self) -> None:
        """The node stops because it was told to, or because it must."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        self._tell("STOPPING=1")

    @property
    def period(self) -> float | None:
        """Seconds between two signs of life: half of what the manager waits; None if it does not.

        See sd_watchdog_enabled(3).
        """
        microseconds = self._environ.get("WATCHDOG_USEC", "")
        process = self._environ.get("WATCHDOG_PID", str(os.getpid()))
        if not microseconds.isdecimal() or not int(microseconds) or process != str(os.getpid()):
            return None
        return int(microseconds) / 2_000_000

    def _watch(self) -> None:
        if self.period is not None:
            self._tell("WATCHDOG=1")
            self._call = self._clock.callLater(self.period, self._watch)

    def _tell(self, state: str) -> None:
        path = self._environ.get("NOTIFY_SOCKET", "")
        if not path.startswith(("/", "@")):
            return
        address = "\0" + path[1:] if path.startswith("@") else path
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)  # a manager that does not listen must not hold the reactor
            channel.connect(address)
            channel.send(state.encode())
