"""REST: a klein resource that decodes, asks the gateway, and encodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.http import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from uring.api import health, replies
from uring.api.backups import Backups
from uring.api.bulk import serve_list
from uring.api.dashboard import Dashboard, page, wants_page
from uring.api.documents import Documents
from uring.api.events import serve_events
from uring.api.memberroutes import MemberRoutes
from uring.api.metrics import CONTENT_TYPE, exposition, make_registry
from uring.api.replies import Answer
from uring.api.ringroutes import RingRoutes
from uring.api.routes import as_json, content, kept, problem, sized
from uring.api.services import Services
from uring.api.tokens import Tokens
from uring.errors import UringError

_log = Logger(namespace="uring.rest")


def _nobody() -> tuple[int, int]:
    return 0, 0


@define(eq=False, slots=False)
class Rest(Services, RingRoutes, MemberRoutes, Dashboard, Documents, Backups, Tokens):
    """The routes.  Handlers return bytes, a Deferred of them, or the resource to go on with."""

    version: str
    counts: Callable[[], tuple[int, int]] = _nobody
    """Returns how many HTTP connections and WebSockets are open."""
    bounds: Mapping[str, float] = field(factory=dict)
    """What /metrics shows of every bound."""
    _registry: Any = field(default=None, init=False)
    app = Services.app

    # -- the node --------------------------------------------------------------------------------

    @app.route("/", methods=["GET"])
    def root(self, request: Request) -> bytes:
        if wants_page(request):
            return page(request)
        return as_json(
            request,
            200,
            {"name": "uring", "version": self.version, "see": ["/status", "/kv/{key}", "/mring"]},
        )

    @app.route("/status", methods=["GET"])
    def status(self, request: Request) -> bytes:
        return as_json(request, 200, self.gateway.status())

    @app.route("/version", methods=["GET"])
    def show_version(self, request: Request) -> bytes:
        return as_json(request, 200, self.version)

    @app.route("/cluster", methods=["GET"])
    def cluster(self, request: Request) -> bytes:
        return as_json(request, 200, self.gateway.cluster())

    @app.route("/cluster/timeline", methods=["GET"])
    def timeline(self, request: Request) -> bytes:
        return as_json(request, 200, self.gateway.history())

    @app.route("/disk/probe", methods=["POST"])
    async def probe_disk(self, request: Request) -> bytes:
        return as_json(request, 200, await kept(self.gateway.probe_disk()))

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: Request) -> bytes:
        if self._registry is None:
            self._registry = make_registry(self.gateway, lambda: self.counts(), self.bounds)
        return sized(request, CONTENT_TYPE, exposition(self._registry))

    @app.route("/livez", methods=["GET"])
    def livez(self, request: Request) -> bytes:
        return self._health(request, health.alive())

    @app.route("/readyz", methods=["GET"])
    def readyz(self, request: Request) -> bytes:
        free = self.gateway.gauges()["disk_free_bytes"]
        return self._health(request, health.ready(self.gateway.status(), free))

    def _health(self, request: Request, checks: list[health.Check]) -> bytes:
        flags = request.uri.partition(b"?")[2].split(b"&")
        verbose = any(flag.partition(b"=")[0] == b"verbose" for flag in flags)
        code, text = health.shown(checks, verbose)
        request.setResponseCode(code)
        return sized(request, b"text/plain; charset=utf-8", text)

    # -- keys and values -------------------------------------------------------------------------

    @app.route("/kv", methods=["POST"])
    def commands(self, request: Request) -> Deferred[bytes]:
        """Run a list of commands."""
        answered: Deferred[Answer] = Deferred()

        def reply(answer: Answer) -> None:
            if not answered.called:
                answered.callback(answer)

        body = content(request).read()
        serve_list(self.gateway, self.limits, request.uri, body, reply)
        return answered.addCallback(lambda answer: sized(request, answer.kind, answer.body))

    # -- watching --------------------------------------------------------------------------------

    @app.route("/watch", methods=["GET"])
    def watch(self, request: Request) -> Deferred[bytes] | bytes:
        return serve_events(request, self.gateway)

    # -- what goes wrong -------------------------------------------------------------------------

    @app.handle_errors(UringError)  # type: ignore[arg-type]
    def failed(self, request: Request, failure: Any) -> bytes:
        answer = replies.refused(failure.value)
        if answer.retry_after is not None:
            request.setHeader(b"Retry-After", b"%d" % answer.retry_after)
        if answer.code == 401:
            request.setHeader(b"WWW-Authenticate", replies.CHALLENGE)
        request.setResponseCode(answer.code)
        return sized(request, answer.kind, answer.body)

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]
    def unroutable(self, request: Request, failure: Any) -> bytes:
        error = failure.value
        if isinstance(error, MethodNotAllowed):
            allowed = sorted({*(error.valid_methods or ()), "OPTIONS"})
            request.setHeader(b"Allow", ", ".join(allowed).encode())
            if request.method == b"OPTIONS":
                request.setResponseCode(204)
                return b""
            return problem(request, 405, f"this route takes {', '.join(allowed)}")
        return problem(request, 404, "no such route; see GET / for what there is")

    @app.handle_errors(CancelledError)  # type: ignore[arg-type]
    def gone(self, request: Request, failure: Any) -> bytes:
        return b""  # the client hung up

    @app.handle_errors(Exception)  # type: ignore[arg-type]
    def broken(self, request: Request, failure: Any) -> bytes:
        _log.failure("a request failed", failure=failure)
        request.setResponseCode(replies.BROKEN.code)
        return sized(request, replies.BROKEN.kind, replies.BROKEN.body)
