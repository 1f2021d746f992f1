"""Requests over HTTP to any of several nodes of one cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, cast

import orjson
import treq
from attrs import frozen
from twisted.internet import defer
from twisted.internet import error as network
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool

from uring.client.answers import ProtocolError, describe, error_for
from uring.client.cancelling import cancellable
from uring.client.tls import SECURE, Trust, distrust
from uring.errors import OutcomeUnknown, Unavailable, UringError

ANSWER_BYTES_MAX = 64 * 2**20
"""The whole of a ring of 2**24 vnodes does not fit in less; a broken server must not send more."""

PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 1.0
"""Between two rounds of all nodes: twice as long each time, since an election takes its time."""

DECIDED = frozenset((404, 409, 412))
"""Refusals that come from the replicated state: repeated under an idempotency key a request gets
that of its first attempt.  All others are a node's own, and say nothing of other attempts."""


@frozen
class Answer:
    """One response: its code, its JSON (None if it had none), and whether it named a wait."""

    code: int
    json: Any
    retry_after: bool
    etag: str | None = None
    body: bytes = b""

    def error(self) -> UringError:
        """Return the exception that this answer stands for."""
        return error_for(self.code, describe(self.json, f"status {self.code}"), self.retry_after)

    def error_or_none(self) -> UringError | None:
        """Return the exception that this answer stands for, None if it is none."""
        return self.error() if self.code >= 400 else None

    def expect(self, *codes: int) -> Answer:
        """Return self when the code is one of ``codes``, raise :meth:`error` when not."""
        if self.code in codes:
            return self
        raise self.error()


@frozen
class Request:
    """What is asked.  ``repeatable``: it may be sent again although its outcome is unknown."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    repeatable: bool = False

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing, however often it is sent."""
        return self.method in ("GET", "HEAD")


class Transport:
    """Sends requests to one of ``endpoints``, and to the next when that one cannot serve.

    A request goes to another node only when it certainly had no effect, or when it may have it
    twice: a read, or a write with an idempotency key.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        reactor: Any,
        timeout: float,
        patience: float,
        http: Any,
        trust: Trust | None = None,
        token: str | None = None,
    ) -> None:
        """``timeout`` (seconds) is for each attempt; ``patience`` for trying all nodes again."""
        if not endpoints:
            raise ValueError("name at least one endpoint, as host:port")
        self.endpoints = list(endpoints)
        self._own = authorization(token)
        self._reactor = reactor
        self._timeout = timeout
        self._patience = patience
        self._current = 0
        self._pool: HTTPConnectionPool | None = None
        if http is None:
            self._pool = HTTPConnectionPool(reactor, persistent=True)
            # A write on a kept connection that closes meanwhile must not be sent a second time.
            self._pool.retryAutomatically = False
            agent = Agent(reactor, trust or Trust(), connectTimeout=timeout, pool=self._pool)
            self._http: Any = treq.client.HTTPClient(agent)
        else:
            self._http = http

    @property
    def endpoint(self) -> str:
        """The node that is asked next."""
        return self.endpoints[self._current]

    def move_on(self) -> None:
        """Ask the next node from now on."""
        self._current = (self._current + 1) % len(self.endpoints)

    async def close(self) -> None:
        """Close the connections that were kept for the next request."""
        if self._pool is not None:
            await self._pool.closeCachedConnections()

    def apart(self, timeout: float, patience: float) -> Transport:
        """Return another way to the same nodes, by the same connections, with its own limits."""
        other = copy(self)
        other.endpoints = list(self.endpoints)
        other._timeout, other._patience = timeout, patience
        return other

    async def ask(self, request: Request) -> Answer:
        """Return the answer, whatever its code, or raise UringError if there is none.

        Raises OutcomeUnknown when an attempt may have had an effect and no later one was decided.
        """
        deadline = self._reactor.seconds() + self._patience
        pause, tried, in_doubt = PAUSE_SECONDS, 0, False
        while True:
            tried += 1
            is_last = tried >= len(self.endpoints) and self._reactor.seconds() >= deadline
            answer: Answer | None = None
            try:
                answer = await self._once(request)
                error = answer.error_or_none()
            except UringError as problem:
                error = problem
            if is_last or not _may_try_elsewhere(request, error):
                if in_doubt and error is not None and error.code not in DECIDED:
                    raise OutcomeUnknown(
                        f"an earlier attempt may have taken effect; the last one: {error}"
                    ) from error
                if answer is not None:
                    return answer
                raise cast(UringError, error)
            in_doubt = in_doubt or not (request.is_read or cast(UringError, error).definite)
            self.move_on()
            if tried % len(self.endpoints) == 0:
                await deferLater(self._reactor, pause, lambda: None)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)

    async def fetch(self, path: str, take: Callable[[bytes], None]) -> None:
        """Hand ``take`` the body at ``path`` as it comes, however large it is.

        Raises Unavailable if there is none, or if it is cut off.
        """
        url = self._url(path)
        try:
            asked = self._http.request("GET", url, unbuffered=True, **self._headers({}))
            response = await cancellable(asked)
            if response.code == 200:
                await cancellable(treq.collect(response, take))
                return
            answer = await self._received(response)
        except (UringError, defer.CancelledError):
            raise
        except Exception as error:
            raise Unavailable(f"{self.endpoint}: {type(error).__name__}: {error}") from error
        raise answer.error()

    def _url(self, path: str) -> bytes:
        scheme = "" if self.endpoint.startswith(SECURE) else "http://"
        return f"{scheme}{self.endpoint}{path}".encode("ascii")

    def _headers(self, headers: Mapping[str, str]) -> dict[str, Any]:
        given = {**self._own, **headers}
        return {"headers": given} if given else {}

    async def _once(self, request: Request) -> Answer:
        options = self._headers(request.headers)
        if request.body is not None:
            options["data"] = request.body
        url = self._url(request.path)
        try:
            asked = self._http.request(request.method, url, **options)
            asked.addTimeout(self._timeout, self._reactor, onTimeoutCancel=_timed_out)
            return await self._received(await cancellable(asked))
        except (UringError, defer.CancelledError):
            raise
        except (network.ConnectError, network.DNSLookupError) as error:
            raise Unavailable(f"{self.endpoint} cannot be reached: {error}") from error
        except defer.TimeoutError as error:
            raise _unanswered(request, f"no answer in {self._timeout:g} s") from error
        except Exception as error:
            why = distrust(error)
            if why is not None:
                raise Unavailable(f"{self.endpoint}: {why}") from error
            raise _unanswered(request, f"{type(error).__name__}: {error}") from error

    async def _received(self, response: Any) -> Answer:
        chunks: list[bytes] = []
        size = 0

        def collect(chunk: bytes) -> None:
            nonlocal size
            size += len(chunk)
            if size <= ANSWER_BYTES_MAX:
                chunks.append(chunk)

        received = treq.collect(response, collect)
        await received.addTimeout(self._timeout, self._reactor)
        if size > ANSWER_BYTES_MAX:
            raise ProtocolError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        body = b"".join(chunks)
        etags = response.headers.getRawHeaders("etag", [])
        return Answer(
            code=response.code,
            json=_parsed(body),
            retry_after=response.headers.hasHeader(b"retry-after"),
            etag=etags[0].strip('"') if etags else None,
            body=body,
        )


def authorization(token: str | None) -> dict[str, str]:
    """Return the header that proves a token.  Raises ValueError for what cannot be one."""
    if token is None:
        return {}
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        # It is not repeated: it may be a secret that was only pasted badly.
        raise ValueError("that is no token: one is letters and digits with a dot between")
    return {"Authorization": f"Bearer {token}"}


def _may_try_elsewhere(request: Request, error: UringError | None) -> bool:
    """Tell whether another node may be asked: nothing happened, or it may happen again."""
    if error is None:
        return False
    if isinstance(error, Unavailable):
        return True
    return not error.definite and (request.is_read or request.repeatable)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


def _timed_out(result: object, seconds: float) -> None:
    """Tell the end of the time from a cancellation, whatever the request makes of it."""
    raise defer.TimeoutError(f"{seconds:g} s")


def _unanswered(request: Request, why: str) -> UringError:
    """A lost read did nothing; a lost write may have."""
    if request.is_read:
        return Unavailable(why)
    return OutcomeUnknown(f"{why}; the outcome is unknown")
