"""REST of the ring."""

from __future__ import annotations

from typing import Any, cast

from attrs import define
from twisted.web.http import Request
from werkzeug.exceptions import MethodNotAllowed

from uring.api import replies, ring, ringreplies
from uring.api.keys import number, option, text_after, text_option
from uring.api.routes import Routes, as_json, problem, raised
from uring.errors import NotFound
from uring.machines.commands import Command, GetSize, Query, Ring
from uring.machines.limits import RING_NODES_MAX


@define(eq=False, slots=False)
class RingRoutes(Routes):
    """These routes; :class:`uring.api.rest.Rest` adds its own to the same app."""

    app = Routes.app

    @app.route("/mring", methods=["GET"])
    async def ring_size(self, request: Request) -> bytes:
        """Show the size."""
        size = raised(await self.query(request, GetSize()))
        if size is None:
            raise NotFound('the ring has no size yet; POST {"size": 64} to set it')
        return as_json(request, 200, {"size": size})

    @app.route("/mring", methods=["POST"])
    async def set_ring_size(self, request: Request) -> bytes:
        """Give the ring its size."""
        command = ring.set_size(self.body(request, ring.SizeArgs))
        result = raised(await self.submit(command))
        code, data, error = replies.outcome(result)
        return (
            problem(request, code, error, size=data)
            if error
            else as_json(request, code, {"size": data})
        )

    @app.route("/mring/node", methods=["GET"])
    async def ring_nodes(self, request: Request) -> bytes:
        """Show the ring, or some nodes of it."""
        args = ring.PageArgs(
            option(request.uri, "format", ("vnodes", "ranges")),
            number(request.uri, "start", 0),
            number(request.uri, "count", ring.PAGE_NODES),
        )
        return await self._ask_ring(request, ring.get_nodes(args), args)

    @app.route("/mring/vnode/<vnode>", methods=["GET"])
    async def ring_vnode(self, request: Request, vnode: str) -> bytes:
        """Show where one vnode stands."""
        digits = vnode.isascii() and vnode.isdecimal() and len(vnode) < 20
        query = ring.get_vnode(ring.VnodeArgs(int(vnode) if digits else -1))
        return await self._ask_ring(request, query)

    @app.route("/mring/handoff", methods=["GET"])
    async def ring_handoffs(self, request: Request) -> bytes:
        """Show what is not handed off yet."""
        args = ring.HandoffsArgs(
            text_option(request.uri, "source") or "",
            number(request.uri, "start", 0),
            number(request.uri, "count", ring.HANDOFFS_PAGE),
        )
        return await self._ask_ring(request, ring.get_handoffs(args))

    @app.route("/mring/plan", methods=["POST"])
    async def plan_ring(self, request: Request) -> bytes:
        """Work a change out."""
        args = self.body(request, ring.PlanArgs, RING_NODES_MAX)
        return await self._ask_ring(request, ring.get_plan(args), args)

    @app.route("/mring/commit", methods=["POST"])
    async def commit_ring(self, request: Request) -> bytes:
        """Do what was planned."""
        args = self.body(request, ring.CommitArgs, RING_NODES_MAX)
        return await self._change_ring(request, ring.commit(args))

    @app.route("/mring/handoff/limits", methods=["POST"])
    async def limit_handoffs(self, request: Request) -> bytes:
        """Set how many hand-offs there may be at a time."""
        command = ring.limit(self.body(request, ring.LimitArgs))
        return await self._change_ring(request, command)

    @app.route("/mring/abandon", methods=["POST"])
    async def abandon_ring_node(self, request: Request) -> bytes:
        """Give up a node that has gone for good."""
        command = ring.abandon(self.body(request, ring.NameArgs))
        return await self._change_ring(request, command)

    @app.route("/mring/node", methods=["POST"])
    async def add_ring_node(self, request: Request) -> bytes:
        """Add a node."""
        command = ring.add_node(self.body(request, ring.NodeArgs))
        return await self._change_ring(request, command)

    @app.route("/mring/node/", branch=True, methods=["DELETE"], strict_slashes=False)
    async def remove_ring_node(self, request: Request) -> bytes:
        """Remove a node."""
        if request.path == b"/mring/node":
            raise MethodNotAllowed(["GET", "HEAD", "POST"])
        name = text_after(request.uri, b"/mring/node/")
        if not name:
            raise NotFound("name the node: DELETE /mring/node/{name}")
        return await self._change_ring(request, ring.remove_node(ring.NameArgs(name)))

    async def _change_ring(self, request: Request, command: Command) -> bytes:
        result = raised(await self.submit(command))
        code, data, error = replies.outcome(result)
        return problem(request, code, error) if error else as_json(request, code, data)

    async def _ask_ring(self, request: Request, query: Query, args: Any = None) -> bytes:
        found = ringreplies.spelled(raised(await self.query(request, query)), args)
        if isinstance(found, Ring):
            return as_json(request, 200, replies.ring(found))
        if not isinstance(found, replies.ANSWERS):
            return as_json(request, 200, found)
        code, data, error = replies.outcome(cast(Any, found))
        return problem(request, code, error) if error else as_json(request, code, data)
