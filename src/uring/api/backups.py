"""GET /backup: the whole state as one file, no faster than the client takes it."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.web.http import Request
from zope.interface import implementer

from uring.api.gateway import BackupSource
from uring.api.replies import BYTES
from uring.api.routes import Routes
from uring.errors import UringError

_log = Logger(namespace="uring.rest")


@implementer(IPushProducer)
@define(eq=False)
class BackupProducer:
    """Writes piece after piece, as long as the connection takes them."""

    _request: Any
    _source: BackupSource
    _over: bool = field(default=False, init=False)
    _paused: bool = field(default=False, init=False)
    _asked: bool = field(default=False, init=False)
    _written: Deferred[bytes] = field(factory=Deferred, init=False)

    def start(self) -> Deferred[bytes]:
        """Begin to answer the request; fires when everything is written, or the client is gone."""
        self._source.on_abort = self._abort
        self._request.notifyFinish().addBoth(lambda result: self.stopProducing())
        self._request.registerProducer(self, True)
        self.resumeProducing()
        return self._written

    def pauseProducing(self) -> None:
        """Fetch no more for now; a piece that is on its way is still written."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Fetch the next piece, unless one is on its way."""
        self._paused = False
        while not (self._paused or self._asked or self._over):
            self._asked = True
            self._source.next(self._piece)

    def stopProducing(self) -> None:
        """The client is gone."""
        if not self._over:
            self._over = True
            self._source.close()

    def _piece(self, piece: bytes | UringError) -> None:
        self._asked = False
        if self._over:
            return
        if isinstance(piece, UringError):
            _log.warn("a backup ended early: {reason}", reason=str(piece))
            self._abort()
        elif piece:
            self._request.write(piece)
            if not self._paused:
                self.resumeProducing()
        else:
            self._over = True
            self._request.unregisterProducer()
            self._source.close()
            self._written.callback(b"")

    def _abort(self) -> None:
        """End the connection without the last chunk: the client sees that it has no whole file."""
        if not self._over:
            self.stopProducing()
            self._request.channel.forceAbortClient()


@define(eq=False, slots=False)
class Backups(Routes):
    """The route."""

    app = Routes.app

    @app.route("/backup", methods=["GET"])
    def backup(self, request: Request) -> Deferred[bytes]:
        source = self.gateway.begin_backup()
        request.setHeader(b"Content-Type", BYTES)
        request.setHeader(b"Content-Disposition", b'attachment; filename="uring.backup"')
        return BackupProducer(request, source).start()
