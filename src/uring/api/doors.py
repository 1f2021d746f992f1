"""Who comes in: tokens are proved here, and each gets the routes as it may use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import define, field, frozen
from twisted.logger import Logger

from uring.api.dashboard import ASSETS
from uring.api.gateway import Gateway
from uring.api.guard import WHO, Guard
from uring.api.keys import KeyResource, Keys
from uring.api.limits import Limits
from uring.errors import TooManyFailures, Unauthorized
from uring.machines.commands import Token

ADDRESSES_MAX = 4096
"""Addresses whose failures are remembered; the oldest is forgotten first."""
PUBLIC = frozenset(
    (
        b"/",
        b"/livez",
        b"/readyz",
        b"/version",
        b"/openapi.json",
        b"/asyncapi.json",
        b"/dashboard",
        *(b"/dashboard/" + name.encode() for name in ASSETS),
    )
)
"""What anybody may see, tokens or not: that there is a node, and whether it is well."""

_log = Logger(namespace="uring.tokens")

MakeRoutes: TypeAlias = Callable[[Gateway, str], tuple[KeyResource, Any]]


@frozen(eq=False)
class Visitor:
    """The gateway, and REST's resources over it, for one token."""

    guard: Guard
    keys: KeyResource
    rest: Any


@define(eq=False)
class Failures:
    """Counts wrong tokens by address.

    A right one is always let in: it cannot be guessed, and those who share an address with who
    tries would be locked out.  What is bounded is the noise.
    """

    limit: int
    seconds: float
    clock: Any
    _counts: dict[str, tuple[int, float]] = field(factory=dict, init=False)
    """How many, and when the first of them came."""

    def failed(self, address: str) -> Unauthorized | TooManyFailures:
        """Count one more, and return how it is to be answered."""
        now = self.clock.seconds()
        count, since = self._counts.pop(address, (0, now))
        if now - since >= self.seconds:
            count, since = 0, now
        self._counts[address] = (count + 1, since)
        if len(self._counts) > ADDRESSES_MAX:
            del self._counts[next(iter(self._counts))]
        if count < self.limit:
            return Unauthorized("there is no such token")
        if count == self.limit:
            _log.warn("many wrong tokens come from {address!r}", address=address)
        wait = since + self.seconds - now
        return TooManyFailures("too many wrong tokens from this address", max(1, round(wait)))


@define(eq=False)
class Doors:
    """Keeps one visitor for each token in use."""

    gateway: Gateway
    limits: Limits
    clock: Any
    routes: MakeRoutes
    """Makes the resources for keys and for all else; takes the id of the token, or nothing."""
    public: Visitor = field(init=False)
    """Sees what is public, and nothing asks who it is."""
    anybody: Visitor = field(init=False)
    """May do everything while there are no tokens, and then nothing."""
    failures: Failures = field(init=False)
    _visitors: dict[Token, Visitor] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        anybody = Guard(self.gateway)
        self.anybody = Visitor(anybody, *self.routes(anybody, ""))
        self.public = Visitor(anybody, *self.routes(self.gateway, ""))
        limits = self.limits
        self.failures = Failures(limits.token_failures, limits.token_failure_seconds, self.clock)
        # Not in the turn that applies: what it then writes to clients is no concern of the node's.
        self.gateway.access.on_change.append(lambda: self.clock.callLater(0, self._changed))

    def enter(self, request: Any) -> Visitor:
        """Return who asks.  Raises Unauthorized, TooManyFailures."""
        if request.path in PUBLIC:
            return self.public
        if not self.gateway.access.required:
            return self.anybody
        given = request.requestHeaders.getRawHeaders(b"authorization", [])
        is_socket = request.path == b"/uring" and request.requestHeaders.hasHeader(b"upgrade")
        if not given and not is_socket:  # which may still say so in a message
            raise Unauthorized(f"who are you? {WHO}")
        if len(given) > 1:
            raise Unauthorized("send one Authorization header")
        address = getattr(request.getClientAddress(), "host", "")
        return self.visitor(given[0].decode("latin-1") if given else None, address)

    def visitor(self, authorization: str | None, address: str) -> Visitor:
        """Return who sends this header.  Raises Unauthorized, TooManyFailures."""
        if authorization is None or not self.gateway.access.required:
            return self.anybody
        scheme, _, text = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(f"no token: {WHO}")
        return self.prove(text.strip(), address)

    def prove(self, text: str, address: str) -> Visitor:
        """Return who has the token ``text``.  Raises Unauthorized, TooManyFailures.

        While there are no tokens everybody is welcome, whatever they bring.
        """
        access = self.gateway.access
        if not access.required:
            return self.anybody
        token = access.find(text)
        if token is None:
            raise self.failures.failed(address)
        return self._of(token)

    def keys_of(self, authorization: bytes) -> Keys | None:
        """Return what serves keys to who sends this header; None if something is wrong with it,
        which is not counted: it is looked at again, and told, by :meth:`enter`."""
        if authorization[:7].lower() != b"bearer ":
            return None
        token = self.gateway.access.find(authorization[7:].decode("latin-1").strip())
        return None if token is None else self._of(token).keys.keys

    def _of(self, token: Token) -> Visitor:
        found = self._visitors.get(token)
        if found is None:
            guard = Guard(self.gateway, token)
            found = self._visitors[token] = Visitor(guard, *self.routes(guard, token.id))
        return found

    def _changed(self) -> None:
        """End what those do who may do nothing any more."""
        for visitor in (self.anybody, *self._visitors.values()):
            why = visitor.guard.standing()
            if why is not None:
                try:
                    visitor.guard.end_watches(why)
                except Exception:  # the others' are to end too
                    _log.failure("what was watched with a token that is gone could not be ended")
        knows = self.gateway.access.knows
        self._visitors = {token: each for token, each in self._visitors.items() if knows(token)}
