"""What all routes of REST share: the klein app, asking the gateway, answering as JSON."""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.http import Request

from uring.api import decode, replies
from uring.api.gateway import Gateway
from uring.api.keys import is_stale
from uring.api.limits import Limits
from uring.errors import UringError
from uring.machines.commands import Command, Query

T = TypeVar("T")


def _app() -> Klein:
    app = Klein()
    # Keys may hold slashes, also two in a row.
    app.url_map.merge_slashes = False
    return app


@define(eq=False, slots=False)
class Routes:
    """The base of the classes that add routes to the one app."""

    gateway: Gateway
    limits: Limits
    app = _app()

    def submit(self, command: Command) -> Deferred[Any]:
        """Propose.  The Deferred dies with the connection; the proposal does not."""
        answer: Deferred[Any] = Deferred()

        def done(result: Any) -> None:
            if not answer.called:
                answer.callback(result)

        self.gateway.submit(command, done)
        return answer

    def query(self, request: Request, query: Query) -> Deferred[Any]:
        """Read, as the request's ``consistency`` says."""
        answer: Deferred[Any] = Deferred()

        def done(result: Any) -> None:
            if not answer.called:
                answer.callback(result)

        self.gateway.query(query, done, stale=is_stale(request.uri))
        return answer

    def body(self, request: Request, shape: type[Any], elements_max: int = 0) -> Any:
        """Return the body as a ``shape``; see decode.parse for ``elements_max``."""
        data = content(request).read()
        return decode.convert(
            decode.parse(data, self.limits.json_depth, elements_max=elements_max), shape
        )


def raised(answer: Any) -> Any:
    """Return ``answer``, or raise it if it is an error."""
    if isinstance(answer, UringError):
        raise answer
    return answer


def kept(change: Deferred[T]) -> Deferred[T]:
    """Return a Deferred that ends with ``change``; the client's hanging up does not cancel that."""
    answer: Deferred[T] = Deferred()

    def done(result: Any) -> None:
        if not answer.called:
            answer.callback(result)  # a Failure makes it fail

    change.addBoth(done)
    return answer


def content(request: Request) -> Any:
    """Return the body as a file; Twisted has opened it by the time that a route is called."""
    return request.content


def as_json(request: Request, code: int, value: Any) -> bytes:
    """Answer with ``value`` as JSON."""
    request.setResponseCode(code)
    return sized(request, b"application/json", replies.dumps(value))


def problem(request: Request, code: int, detail: str, **more: Any) -> bytes:
    """Answer with a problem details object."""
    request.setResponseCode(code)
    return sized(request, b"application/problem+json", replies.problem(code, detail, **more))


def sized(request: Request, kind: bytes, body: bytes) -> bytes:
    """Answer with ``body``, whose length is then known beforehand."""
    request.setHeader(b"Content-Type", kind)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body
