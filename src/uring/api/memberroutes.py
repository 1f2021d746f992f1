"""REST of the members of the cluster."""

from __future__ import annotations

from attrs import define
from msgspec import UNSET, Struct, UnsetType
from twisted.web.http import Request

from uring.api import decode
from uring.api.fields import MemberAddress
from uring.api.keys import option
from uring.api.routes import Routes, as_json, content, kept
from uring.errors import NotFound, StillLearning


class MemberBody(Struct, forbid_unknown_fields=True):
    """Where a new member listens, if it has not said hello."""

    address: MemberAddress | UnsetType = UNSET


@define(eq=False, slots=False)
class MemberRoutes(Routes):
    """These routes; :class:`uring.api.rest.Rest` adds its own to the same app."""

    app = Routes.app

    @app.route("/node/<member>", methods=["GET"])
    @app.route("/uring/<member>", methods=["GET"])
    def member(self, request: Request, member: str) -> bytes:
        node_id = _member_id(member)
        members = self.gateway.members()
        if node_id not in members:
            raise NotFound(f"node {node_id} is no member of this cluster")
        return as_json(request, 200, {"id": node_id, "address": members[node_id]})

    @app.route("/node/<member>", methods=["POST"])
    @app.route("/uring/<member>", methods=["POST"])
    async def add_member(self, request: Request, member: str) -> bytes:
        node_id = _member_id(member)
        address = None
        if content(request).read(1):
            content(request).seek(0)
            given = self.body(request, MemberBody).address
            address = None if given is UNSET else decode.check_address(given)
        try:
            await kept(self.gateway.add_member(node_id, address))
        except StillLearning as pending:
            return as_json(request, pending.code, {"id": node_id, "detail": str(pending)})
        return as_json(request, 200, {"id": node_id})

    @app.route("/node/<member>", methods=["DELETE"])
    @app.route("/uring/<member>", methods=["DELETE"])
    async def remove_member(self, request: Request, member: str) -> bytes:
        node_id = _member_id(member)
        force = option(request.uri, "force", ("false", "true")) == "true"
        decode.check_other(node_id, self.gateway.status()["id"])
        await kept(self.gateway.remove_member(node_id, force))
        return as_json(request, 200, {"id": node_id})

    @app.route("/leader/<member>", methods=["POST"])
    async def transfer(self, request: Request, member: str) -> bytes:
        node_id = _member_id(member)
        await kept(self.gateway.transfer_leadership(node_id))
        return as_json(request, 200, {"leader": node_id})


def _member_id(text: str) -> int:
    digits = text.isascii() and text.isdecimal() and len(text) < 20
    return decode.check_member_id(int(text) if digits else 0)
