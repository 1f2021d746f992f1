"""The gateway as one token may use it: every door asks through one of these, on every path.

So there is one place that says no.  What anybody may do is decided in :mod:`uring.api.doors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

from attrs import define, field
from twisted.internet.defer import Deferred, fail

from uring.access import Access
from uring.api.gateway import BackupSource, Done, Gateway
from uring.api.permissions import ADMIN, READ, Need, need, outside, refusal
from uring.errors import Forbidden, Unauthorized, UringError
from uring.machines.commands import Command, GetHolder, GetLease, Query, Revoke, Token
from uring.measures import Measures
from uring.together import DoneAll, one_by_one
from uring.watch import Sink, Subscription, Watch
from uring.watch.subscription import Mode

_NEVER = -1
WHO = "send Authorization: Bearer TOKEN, or Auth over the WebSocket"


@define(eq=False)
class Guard:
    """Fulfils Gateway, for who proved ``token``; None is for everybody else."""

    gateway: Gateway
    token: Token | None = None
    access: Access = field(init=False)
    measures: Measures = field(init=False)
    _free: int = field(default=_NEVER, init=False)
    """The generation of tokens with which everything is allowed."""
    _watching: WeakSet[Subscription] = field(factory=WeakSet, init=False)

    def __attrs_post_init__(self) -> None:
        self.access = self.gateway.access
        self.measures = self.gateway.measures

    def standing(self) -> UringError | None:
        """Return why nothing is allowed at all (any more), None if something may be."""
        access, token = self.access, self.token
        if not access.required:
            self._free = access.generation
            return None
        if token is None:
            return Unauthorized(f"who are you? {WHO}")
        if not access.knows(token):
            return Unauthorized("this token does not exist any more")
        if token.role == "admin":
            self._free = access.generation
        return None

    def _objection(self, needed: Need) -> UringError | None:
        why = self.standing()
        if why is not None or self._free == self.access.generation:
            return why
        assert self.token is not None
        return refusal(self.token, needed)

    def _check(self, needed: Need) -> None:
        if self._free != self.access.generation:
            why = self._objection(needed)
            if why is not None:
                raise why

    # -- what a door may ask ---------------------------------------------------------------------

    def submit(self, command: Command, done: Done) -> None:
        """See Gateway."""
        if self._free != self.access.generation:
            why = self._objection(need(command))
            if why is not None:
                done(why)
                return
            if type(command) is Revoke and self.token is not None and self.token.prefixes:
                self._revoke(command, self.token, done)
                return
        self.gateway.submit(command, done)

    def query(self, query: Query, done: Callable[[Any], None], stale: bool = False) -> None:
        """See Gateway."""
        if self._free != self.access.generation:
            why = self._objection(need(query))
            if why is not None:
                done(why)
                return
            if type(query) is GetLease and self.token is not None:
                done = _within(self.token, done)
        self.gateway.query(query, done, stale)

    def submit_all(self, commands: Sequence[Command], done: DoneAll) -> None:
        """See Gateway."""
        if self._free != self.access.generation:
            one_by_one(self.submit, commands, done)
        else:
            self.gateway.submit_all(commands, done)

    def query_all(self, queries: Sequence[Query], done: DoneAll) -> None:
        """See Gateway."""
        if self._free != self.access.generation:
            one_by_one(self.query, queries, done)
        else:
            self.gateway.query_all(queries, done)

    def _revoke(self, command: Revoke, token: Token, done: Done) -> None:
        """End a lease, if all that hangs on it is the token's own."""

        def looked(found: Any) -> None:
            if isinstance(found, UringError):
                done(found)
            else:
                self.gateway.query(GetHolder(command.lease), held)

        def held(holder: Any) -> None:
            if isinstance(holder, UringError):
                done(holder)
            elif holder is not None:
                done(Forbidden("a node of the ring holds this lease: a token has no prefixes then"))
            else:
                self.gateway.submit(command, done)

        self.gateway.query(GetLease(command.lease), _within(token, looked))

    def watch(self, watch: Watch, sink: Sink) -> Subscription:
        """See Gateway."""
        self._check(need(watch))
        subscription = self.gateway.watch(watch, sink)
        self._watching.add(subscription)
        return subscription

    def end_watches(self, why: UringError) -> None:
        """End what is watched: who watches may do so no more."""
        for subscription in list(self._watching):
            if subscription.mode is not Mode.ENDED:
                missing = subscription.missing
                subscription.close()
                subscription.sink.ended(why, missing)
        self._watching.clear()

    def status(self) -> dict[str, Any]:
        """See Gateway."""
        self._check(READ)
        return self.gateway.status()

    def gauges(self) -> dict[str, float]:
        """See Gateway."""
        self._check(READ)
        return self.gateway.gauges()

    def cluster(self) -> list[dict[str, Any]]:
        """See Gateway."""
        self._check(READ)
        return self.gateway.cluster()

    def history(self) -> dict[str, Any]:
        """See Gateway."""
        self._check(READ)
        return self.gateway.history()

    def probe_disk(self) -> Deferred[dict[str, Any]]:
        """See Gateway."""
        why = self._objection(READ)
        return self.gateway.probe_disk() if why is None else fail(why)

    def members(self) -> dict[int, str]:
        """See Gateway."""
        self._check(READ)
        return self.gateway.members()

    def begin_backup(self) -> BackupSource:
        """See Gateway."""
        self._check(ADMIN)
        return self.gateway.begin_backup()

    def add_member(self, node_id: int, address: str | None) -> Deferred[None]:
        """See Gateway."""
        return self._administer(lambda: self.gateway.add_member(node_id, address))

    def remove_member(self, node_id: int, force: bool = False) -> Deferred[None]:
        """See Gateway."""
        return self._administer(lambda: self.gateway.remove_member(node_id, force))

    def transfer_leadership(self, node_id: int) -> Deferred[None]:
        """See Gateway."""
        return self._administer(lambda: self.gateway.transfer_leadership(node_id))

    def _administer(self, act: Callable[[], Deferred[None]]) -> Deferred[None]:
        why = self._objection(ADMIN)
        return act() if why is None else fail(why)


def _within(token: Token, done: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return what hands a lease and its keys to ``done``, if ``token`` is for all of them."""

    def looked(found: Any) -> None:
        why = None if isinstance(found, UringError) else outside(token, found[1])
        if why is not None:
            why = Forbidden("keys hang on this lease that this token is not for")
        done(found if why is None else why)

    return looked
