"""REST of tokens: made here, shown once, listed without their secrets."""

from __future__ import annotations

import secrets
from typing import Any

from attrs import define, field
from msgspec import Struct
from twisted.web.http import Request

from uring.access import digest
from uring.api import decode, fields, replies
from uring.api.routes import Routes, as_json, problem, raised
from uring.errors import NotFound
from uring.machines.commands import AddToken, GetTokens, RemoveToken, Token
from uring.machines.limits import TOKEN_NAME_BYTES_MAX, TOKEN_PREFIXES_MAX

ID_BYTES, SECRET_BYTES = 8, 32


class TokenBody(Struct, forbid_unknown_fields=True):
    role: fields.Role
    name: fields.TokenName = ""
    prefixes: fields.TokenPrefixes = []


@define(eq=False, slots=False)
class Tokens(Routes):
    """These routes; :class:`uring.api.rest.Rest` adds its own to the same app."""

    app = Routes.app
    actor: str = field(default="", kw_only=True)
    """The id of the token with which these routes are used; empty if there is none."""

    @app.route("/tokens", methods=["POST"])
    async def add_token(self, request: Request) -> bytes:
        """Make a token, and show it this once."""
        body = self.body(request, TokenBody, TOKEN_PREFIXES_MAX)
        decode.check_short(body.name, TOKEN_NAME_BYTES_MAX, "the name of a token")
        name, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
        prefixes = tuple(dict.fromkeys(body.prefixes))
        command = AddToken(name, digest(secret), body.role, prefixes, body.name, self.actor)
        result = raised(await self.submit(command))
        if not isinstance(result, Token):
            code, _, error = replies.outcome(result)
            return problem(request, code, error)
        return as_json(request, 201, {**replies.token(result), "token": f"{name}.{secret}"})

    @app.route("/tokens", methods=["GET"])
    async def tokens(self, request: Request) -> bytes:
        """List all tokens."""
        found = await self._tokens(request)
        return as_json(request, 200, [replies.token(token) for token in found])

    @app.route("/tokens/<name>", methods=["GET"])
    async def token(self, request: Request, name: str) -> bytes:
        """Show one token."""
        for token in await self._tokens(request):
            if token.id == name:
                return as_json(request, 200, replies.token(token))
        raise NotFound("there is no such token")

    @app.route("/tokens/<name>", methods=["DELETE"])
    async def remove_token(self, request: Request, name: str) -> bytes:
        """Remove a token: it is worth nothing from then on."""
        result = raised(await self.submit(RemoveToken(name, self.actor)))
        code, data, error = replies.outcome(result)
        return problem(request, code, error) if error else as_json(request, code, data)

    async def _tokens(self, request: Request) -> Any:
        return raised(await self.query(request, GetTokens()))
