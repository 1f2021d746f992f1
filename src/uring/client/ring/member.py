"""One node of the ring: it joins, knows what it owns, and hands over what is assigned to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger

from uring.client.answers import Reply
from uring.client.ring.link import Link
from uring.client.ring.messages import Start
from uring.client.ring.peers import ReceivingFactory, send
from uring.client.ring.vnodes import Vnodes
from uring.client.tls import Trust
from uring.errors import Unavailable, UringError

_PAGE = 1000
_AGAIN_SECONDS = 0.2
"""Between attempts at what could not be done."""
_LOOK_SECONDS = 5.0
"""After this long the ring is read even if nothing was heard of it."""
_SENDS = 3
"""Attempts to send a vnode within one transfer: what has arrived is not sent again."""
_log = Logger(namespace="uring.ring")


@define(eq=False)
class RingMember:
    """Takes part in the ring of the cluster at ``endpoints`` as ``name``.

    ``host`` and ``port`` are where other nodes reach this one.  ``instance`` tells this node from
    others that might use the name: choose it once, and keep it where the data is.  Times are
    seconds.
    """

    reactor: Any
    endpoints: Sequence[str]
    name: str
    host: str
    port: int
    instance: str
    vnodes: Vnodes
    ttl: float = 10.0
    weight: int = 1
    zone: str = ""
    parallel: int = 2
    """Vnodes that are sent at a time, if the ring's limits allow."""
    timeout: float = 5.0
    trust: Trust | None = None
    token: str | None = None
    """Of role write, without prefixes, where the cluster wants to know who asks."""
    owners: dict[int, str] = field(factory=dict, init=False)
    """Vnode -> the node that owned it when the ring was last read."""
    addresses: dict[str, str] = field(factory=dict, init=False)
    """Where the nodes that take part can be reached."""
    _mine: set[int] = field(factory=set, init=False)
    _frozen: set[int] = field(factory=set, init=False)
    _sending: set[int] = field(factory=set, init=False)
    _pending: list[dict[str, Any]] = field(factory=list, init=False)
    _lease: int = field(default=0, init=False)
    _sure_until: float = field(default=0.0, init=False)
    """Until when the lease cannot be over, counted from before it was asked for."""
    _link: Link = field(init=False)
    _lock: DeferredLock = field(factory=DeferredLock, init=False)
    """Held while the ring is read or a vnode given away: what was read before does not count."""
    _dirty: bool = field(default=True, init=False)
    _looked: float = field(default=0.0, init=False)
    _running: bool = field(default=False, init=False)
    _listening: Any = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._link = Link(
            self.reactor,
            self.endpoints,
            self.timeout,
            self._heard,
            self._touch,
            self.trust,
            self.token,
        )

    # -- for the user ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, join, and read the ring; returns when what is owned can be served."""
        self._running = True
        endpoint = TCP4ServerEndpoint(self.reactor, self.port, interface=self.host)
        self._listening = await endpoint.listen(ReceivingFactory(self.vnodes))
        self.port = self._listening.getHost().port
        await self._persist(self._join)
        await self._persist(self._look)
        for loop in (self._renew_again_and_again, self._work_again_and_again):
            Deferred.fromCoroutine(loop()).addErrback(self._broken)

    def stop(self) -> None:
        """Stop serving and renewing.  What is owned stays so, and waits for the next start."""
        self._running = False
        self._link.drop()
        if self._listening is not None:
            self._listening.stopListening()

    def serves(self, vnode: int) -> bool:
        """Tell whether this node owns ``vnode`` for certain, and is not just handing it over.

        Ask at each request, and act on it at once: the answer holds until the lease may be over.
        """
        return (
            vnode in self._mine
            and vnode not in self._frozen
            and self.reactor.seconds() < self._sure_until
        )

    @property
    def waiting(self) -> int:
        """How many vnodes this node has still to hand over, as far as it knows."""
        return len(self._pending)

    # -- the lease -------------------------------------------------------------------------------

    async def _join(self) -> None:
        asked = self.reactor.seconds()
        reply = await self._link.ask(
            "Join",
            node=self.name,
            instance=self.instance,
            address=f"{self.host}:{self.port}",
            ttl=self.ttl,
            weight=self.weight,
            zone=self.zone,
        )
        self._lease = reply.expect(200).data["lease"]
        self._sure_until = asked + self.ttl
        self._touch()

    async def _renew_again_and_again(self) -> None:
        while self._running:
            await deferLater(self.reactor, self.ttl / 4)
            if not self._running:
                return
            asked = self.reactor.seconds()
            try:
                reply = await self._link.ask("Renew", lease=self._lease)
                if reply.code == 404:
                    _log.warn("the lease of {name} is over; it joins again", name=self.name)
                    await self._join()
                else:
                    reply.expect(200)
                    self._sure_until = max(self._sure_until, asked + self.ttl)
            except UringError as error:
                _log.info("not renewed: {error}", error=error)

    # -- the ring --------------------------------------------------------------------------------

    def _heard(self, event: dict[str, Any]) -> None:
        self._touch()

    def _touch(self) -> None:
        self._dirty = True

    async def _look(self) -> None:
        """Read the ring, and open or close what has changed its owner."""
        await self._lock.acquire()
        try:
            self._dirty = False
            await self._read()
            await self._follow()
            self._looked = self.reactor.seconds()
        except BaseException:
            self._dirty = True
            raise
        finally:
            self._lock.release()

    async def _read(self) -> None:
        ring = (await self._link.ask("GetNodes", format="ranges")).expect(200).data
        owners = {
            vnode: node["id"]
            for node in ring["nodes"]
            for first, last in node["ranges"]
            for vnode in range(first, last + 1)
        }
        pending: list[dict[str, Any]] = []
        start = 0
        while True:
            page = (await self._link.ask("GetHandoffs", start=start, count=_PAGE)).expect(200).data
            if page["revision"] != ring["revision"]:
                raise Unavailable("the ring changed while it was read")
            for handoff in page["handoffs"]:
                owners[handoff["vnode"]] = handoff["owner"]
                if handoff["owner"] == self.name:
                    pending.append(handoff)
            if len(page["handoffs"]) < _PAGE:
                break
            start = page["handoffs"][-1]["vnode"] + 1
        self.owners, self._pending = owners, pending
        self.addresses = {node["node"]: node["address"] for node in page["nodes"]}

    async def _follow(self) -> None:
        mine = {vnode for vnode, owner in self.owners.items() if owner == self.name}
        for vnode in sorted(self._mine - mine):
            await self._close(vnode)
        for vnode in sorted(mine - self._mine):
            await self.vnodes.opened(vnode)
            self._mine.add(vnode)

    async def _close(self, vnode: int) -> None:
        self._mine.discard(vnode)
        await self.vnodes.closed(vnode)
        self._frozen.discard(vnode)

    # -- handing over ----------------------------------------------------------------------------

    async def _work_again_and_again(self) -> None:
        while self._running:
            if self._dirty or self.reactor.seconds() - self._looked > _LOOK_SECONDS:
                try:
                    await self._look()
                except Exception as error:
                    _log.info("the ring could not be read: {error}", error=error)
            for handoff in self._pending:
                vnode = handoff["vnode"]
                if len(self._sending) >= self.parallel:
                    break
                if vnode not in self._sending and vnode in self._mine:
                    self._sending.add(vnode)
                    Deferred.fromCoroutine(self._hand_over(vnode)).addErrback(self._broken)
            await deferLater(self.reactor, _AGAIN_SECONDS)

    async def _hand_over(self, vnode: int) -> None:
        """Begin, send, and finish; whatever fails is tried again later."""
        try:
            reply = await self._link.ask("BeginHandoff", vnode=vnode, lease=self._lease)
            begun = reply.data
            if reply.code != 200 or begun["state"] != "transferring":
                return
            self._frozen.add(vnode)
            await self.vnodes.frozen(vnode)
            start = Start(self.name, vnode, begun["began"])
            try:
                await self._send(begun["address"], start)
            except Exception as error:
                _log.info("vnode {vnode} is not sent: {error}", vnode=vnode, error=error)
                await self._link.ask("CancelHandoff", **self._named(start))
                return
            await self._finish(start)
        except Exception as error:
            _log.info("vnode {vnode} is not handed over: {error}", vnode=vnode, error=error)
        finally:
            await self._settle(vnode)

    async def _send(self, address: str, start: Start) -> None:
        for attempt in range(_SENDS):
            try:
                await send(self.reactor, address, self.timeout, start, self.vnodes)
                return
            except Unavailable:
                if attempt == _SENDS - 1:
                    raise
            await deferLater(self.reactor, _AGAIN_SECONDS)

    async def _finish(self, start: Start) -> None:
        reply: Reply = await self._link.ask("FinishHandoff", **self._named(start))
        if reply.code not in (200, 409):
            reply.expect(200)

    def _named(self, start: Start) -> dict[str, int]:
        return {"vnode": start.vnode, "lease": self._lease, "began": start.began}

    async def _settle(self, vnode: int) -> None:
        """Find out whose ``vnode`` is now, for as long as that takes: only then serve it again."""
        while self._running:
            try:
                await self._lock.acquire()
                try:
                    reply = (await self._link.ask("GetVnode", vnode=vnode)).expect(200)
                    if reply.data["owner"] != self.name:
                        await self._close(vnode)
                        self.owners[vnode] = reply.data["owner"]
                        self._pending = [e for e in self._pending if e["vnode"] != vnode]
                    elif reply.data["state"] != "transferring":
                        self._frozen.discard(vnode)
                    else:  # a finish or a cancellation was lost on its way
                        begun = Start(self.name, vnode, reply.data["began"])
                        await self._link.ask("CancelHandoff", **self._named(begun))
                        continue
                    break
                finally:
                    self._lock.release()
            except Exception as error:
                _log.info("not known whose vnode {vnode} is: {error}", vnode=vnode, error=error)
            await deferLater(self.reactor, _AGAIN_SECONDS)
        self._sending.discard(vnode)
        self._touch()

    # -- what goes wrong -------------------------------------------------------------------------

    async def _persist(self, what: Any) -> None:
        """Do ``what`` until it succeeds."""
        while self._running:
            try:
                await what()
                return
            except UringError as error:
                _log.info("{name} tries again: {error}", name=self.name, error=error)
            await deferLater(self.reactor, _AGAIN_SECONDS)

    def _broken(self, failure: Any) -> None:
        _log.failure("a node of the ring cannot go on", failure=failure)
        self.stop()
