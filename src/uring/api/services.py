"""REST of what services need beside put and get: lists, transactions, leases."""

from __future__ import annotations

from attrs import define
from twisted.web.http import Request, parse_qs

from uring.api import conditional, pages, replies, txn
from uring.api.kvservices import GrantBody
from uring.api.routes import Routes, as_json, problem, raised
from uring.errors import BadRequest, NotFound
from uring.machines.commands import Command, GetLease, Grant, KeepAlive, Revoke


@define(eq=False, slots=False)
class Services(Routes):
    """These routes; :class:`uring.api.rest.Rest` adds its own to the same app."""

    app = Routes.app

    @app.route("/kv", methods=["GET"])
    async def list_keys(self, request: Request) -> bytes:
        """List keys: ?prefix=&limit=&cursor=."""
        given = _given(request, "prefix", "limit", "cursor", "consistency")
        limit = given.get("limit", str(pages.COUNT_DEFAULT))
        if not limit.isascii() or not limit.isdecimal() or len(limit) > 6:
            raise BadRequest("limit is a whole number")
        query = pages.query(given.get("prefix", ""), given.get("cursor", ""), int(limit))
        return as_json(request, 200, pages.shown(raised(await self.query(request, query))))

    @app.route("/txn", methods=["POST"])
    async def transact(self, request: Request) -> bytes:
        """Compare, then do one thing or the other."""
        command = txn.command(self.body(request, txn.TxnBody, txn.ELEMENTS_MAX))
        wanted = conditional.conditions(request.requestHeaders, 0)
        if wanted.compares:
            raise BadRequest("conditions of a transaction stand in its body")
        return await self._served(request, conditional.repeatable(command, wanted))

    @app.route("/lease", methods=["POST"])
    async def grant(self, request: Request) -> bytes:
        """Make a lease."""
        return await self._served(
            request, Grant(txn.ttl_ms(self.body(request, GrantBody).ttl)), 201
        )

    @app.route("/lease/<lease>", methods=["GET"])
    async def lease(self, request: Request, lease: str) -> bytes:
        """Show a lease and its keys."""
        found, keys = raised(await self.query(request, GetLease(_lease_id(lease))))
        if not found.alive:
            raise NotFound("there is no such lease; its time may be over")
        return as_json(request, 200, {**replies.lease(found), "keys": keys})

    @app.route("/lease/<lease>", methods=["POST"])
    async def keep_alive(self, request: Request, lease: str) -> bytes:
        """Begin its time again."""
        return await self._served(request, KeepAlive(_lease_id(lease)))

    @app.route("/lease/<lease>", methods=["DELETE"])
    async def revoke(self, request: Request, lease: str) -> bytes:
        """End it, and remove its keys."""
        return await self._served(request, Revoke(_lease_id(lease)))

    async def _served(self, request: Request, command: Command, code: int = 200) -> bytes:
        found, data, error = replies.outcome(raised(await self.submit(command)))
        return problem(request, found, error) if error else as_json(request, code, data)


def _lease_id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) < 1 << 63):
        raise BadRequest("a lease's id is the whole number that POST /lease answered")
    return int(text)


def _given(request: Request, *known: str) -> dict[str, str]:
    """Return the query's parameters.  Raises BadRequest for others, and for one given twice."""
    found: dict[str, str] = {}
    pairs = parse_qs(request.uri.partition(b"?")[2], keep_blank_values=True)
    for name, values in pairs.items():
        text = name.decode("utf-8", "replace")
        if text not in known or len(values) > 1:
            raise BadRequest(f"send each of {', '.join(known)} once at most, and nothing else")
        try:
            found[text] = values[0].decode()
        except UnicodeDecodeError:
            raise BadRequest("percent-escapes must spell UTF-8") from None
    return found
