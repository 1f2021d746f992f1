"""A thread that ends the process when the reactor stands still: what hangs must not look alive.

The other nodes do not need it, they elect another leader; but the kernel goes on to accept clients'
connections, and nobody ever answers them.  A disk that stops within a short sync does that (see
:meth:`uring.store.disk.DiskThread.run_now`), or a pipe for the log that nobody reads.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

SECONDS = 30
"""For which a reactor may stand still."""
BEAT_SECONDS = 1.0
FRAMES = 6
"""Of where the reactor stands, innermost first."""


@define
class Watchdog:
    """Counts looks between two signs of life, not time.

    A process that is stopped, or gets no processor, does not look either: nothing happens to it.
    """

    _clock: Any
    _bite: Callable[[str], None]
    """Called in the thread, with where the reactor stands; must end the process by itself."""
    seconds: int = SECONDS
    _beats: int = field(default=0, init=False)
    """Moved by the reactor."""
    _seen: int = field(default=0, init=False)
    _missed: int = field(default=0, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _reactor_thread: int = field(default=0, init=False)
    _stopped: threading.Event = field(factory=threading.Event, init=False)

    def start(self) -> None:
        """Watch from now on.  To be called by the reactor's thread."""
        self._reactor_thread = threading.get_ident()
        self._beat()
        threading.Thread(target=self._watch, name="uring-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _beat(self) -> None:
        self._beats += 1
        self._call = self._clock.callLater(BEAT_SECONDS, self._beat)

    def _watch(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            self.look()

    def look(self) -> None:
        """Look whether the reactor has moved since the last look."""
        if self._beats != self._seen:
            self._seen, self._missed = self._beats, 0
            return
        self._missed += 1
        if self._missed == self.seconds:
            where = _where(sys._current_frames().get(self._reactor_thread))
            self._bite(f"the reactor has stood still for {self.seconds} s, at {where}")


def _where(frame: Any) -> str:
    """Return the innermost calls in one line, such as ``disk.py:88 run_now < log.py:74 write``."""
    frames = [] if frame is None else traceback.extract_stack(frame)[-FRAMES:]
    return " < ".join(
        f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in reversed(frames)
    )
