"""REST: a klein resource that decodes, asks the gateway, and encodes."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from attrs import define
from klein import Klein
from msgspec import UNSET, Struct, UnsetType
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.http import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from uring.api import decode, replies
from uring.api.gateway import Gateway
from uring.api.limits import Limits
from uring.errors import BadRequest, NotFound, UringError
from uring.machines.commands import (
    AddNode,
    Cas,
    Command,
    Delete,
    Get,
    GetNodes,
    GetSize,
    Old,
    Put,
    Query,
    RemoveNode,
    Ring,
    SetSize,
    Swapped,
)

_log = Logger(namespace="uring.rest")


class PutBody(Struct, forbid_unknown_fields=True):
    value: str


class CasBody(Struct, forbid_unknown_fields=True):
    store: str
    check: str | None = None


class SizeBody(Struct, forbid_unknown_fields=True):
    size: int
    strategy: str = "continuous"


class NodeBody(Struct, forbid_unknown_fields=True):
    node: str


class MemberBody(Struct, forbid_unknown_fields=True):
    address: str | UnsetType = UNSET


def _app() -> Klein:
    app = Klein()
    # Keys may hold slashes, also two in a row.
    app.url_map.merge_slashes = False
    return app


@define(eq=False, slots=False)
class Rest:
    """The routes.  Every handler returns bytes or a Deferred of them."""

    gateway: Gateway
    limits: Limits
    version: str
    app = _app()

    # -- asking ----------------------------------------------------------------------------------

    def _submit(self, command: Command) -> Deferred[Any]:
        """Propose.  The Deferred dies with the connection; the proposal does not."""
        answer: Deferred[Any] = Deferred()

        def done(result: Any) -> None:
            if not answer.called:
                answer.callback(result)

        self.gateway.submit(command, done)
        return answer

    def _query(self, request: Request, query: Query) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()

        def done(result: Any) -> None:
            if not answer.called:
                answer.callback(result)

        self.gateway.query(query, done, stale=_stale(request))
        return answer

    def _body(self, request: Request, shape: type[Any]) -> Any:
        data = _content(request).read()
        return decode.convert(decode.parse(data, self.limits.json_depth), shape)

    # -- the node --------------------------------------------------------------------------------

    @app.route("/", methods=["GET"])
    def root(self, request: Request) -> bytes:
        return _json(
            request,
            200,
            {"name": "uring", "version": self.version, "see": ["/status", "/kv/{key}", "/mring"]},
        )

    @app.route("/status", methods=["GET"])
    def status(self, request: Request) -> bytes:
        return _json(request, 200, self.gateway.status())

    @app.route("/version", methods=["GET"])
    def show_version(self, request: Request) -> bytes:
        return _json(request, 200, self.version)

    @app.route("/node/<member>", methods=["GET"])
    @app.route("/uring/<member>", methods=["GET"])
    def member(self, request: Request, member: str) -> bytes:
        node_id = _member_id(member)
        members = self.gateway.members()
        if node_id not in members:
            raise NotFound(f"node {node_id} is no member of this cluster")
        return _json(request, 200, {"id": node_id, "address": members[node_id]})

    @app.route("/node/<member>", methods=["POST"])
    @app.route("/uring/<member>", methods=["POST"])
    async def add_member(self, request: Request, member: str) -> bytes:
        node_id = _member_id(member)
        address = None
        if _content(request).read(1):
            _content(request).seek(0)
            given = self._body(request, MemberBody).address
            address = None if given is UNSET else decode.check_address(given)
        await _kept(self.gateway.add_member(node_id, address))
        return _json(request, 200, {"id": node_id})

    @app.route("/node/<member>", methods=["DELETE"])
    @app.route("/uring/<member>", methods=["DELETE"])
    async def remove_member(self, request: Request, member: str) -> bytes:
        node_id = _member_id(member)
        force = _option(request, "force", ("false", "true")) == "true"
        await _kept(self.gateway.remove_member(node_id, force))
        return _json(request, 200, {"id": node_id})

    @app.route("/leader/<member>", methods=["POST"])
    async def transfer(self, request: Request, member: str) -> bytes:
        node_id = _member_id(member)
        await _kept(self.gateway.transfer_leadership(node_id))
        return _json(request, 200, {"leader": node_id})

    # -- keys and values -------------------------------------------------------------------------

    @app.route("/kv/", branch=True, methods=["GET"])
    @app.route("/data/", branch=True, methods=["GET"])
    async def get(self, request: Request) -> bytes:
        _, key, _ = _key(request)
        value = _raised(await self._query(request, Get(key)))
        if value is None:
            raise NotFound("no such key")
        return _json(request, 200, {"key": key, "value": value})

    @app.route("/kv/", branch=True, methods=["POST"])
    @app.route("/data/", branch=True, methods=["POST"])
    async def post(self, request: Request) -> bytes:
        root, key, cas = _key(request)
        if cas:
            return await self._cas(request, key, lenient=root == "data")
        value = decode.check_value(self._body(request, PutBody).value)
        result = _raised(await self._submit(Put(key, value)))
        code, old, error = replies.outcome(result, created=True)
        if error:
            return _problem(request, code, error)
        return _json(request, code, {"key": key, "value": value, "old": old})

    async def _cas(self, request: Request, key: str, lenient: bool) -> bytes:
        body = self._body(request, CasBody)
        store = decode.check_value(body.store)
        check = None if body.check is None else decode.check_value(body.check)
        result = _raised(await self._submit(Cas(key, check, store, lenient)))
        code, data, error = replies.outcome(result)
        if isinstance(result, Swapped) and result.stored:
            return _json(request, code, {"key": key, "value": store})
        return _problem(request, code, error, key=key, value=data)

    @app.route("/kv/", branch=True, methods=["DELETE"])
    @app.route("/data/", branch=True, methods=["DELETE"])
    async def delete(self, request: Request) -> bytes:
        _, key, _ = _key(request)
        result = _raised(await self._submit(Delete(key)))
        code, data, error = replies.outcome(result)
        if isinstance(result, Old) and not error:
            return _json(request, code, {"key": key, "value": data})
        return _problem(request, code, error)

    # -- the ring --------------------------------------------------------------------------------

    @app.route("/mring", methods=["GET"])
    async def ring_size(self, request: Request) -> bytes:
        size = _raised(await self._query(request, GetSize()))
        if size is None:
            raise NotFound('the ring has no size yet; POST {"size": 64} to set it')
        return _json(request, 200, {"size": size})

    @app.route("/mring", methods=["POST"])
    async def set_ring_size(self, request: Request) -> bytes:
        body = self._body(request, SizeBody)
        size, strategy = decode.check_size(body.size), decode.check_strategy(body.strategy)
        result = _raised(await self._submit(SetSize(size, strategy)))
        code, data, error = replies.outcome(result)
        return (
            _problem(request, code, error, size=data)
            if error
            else _json(request, code, {"size": data})
        )

    @app.route("/mring/node", methods=["GET"])
    async def ring_nodes(self, request: Request) -> bytes:
        found: Ring = _raised(await self._query(request, GetNodes()))
        return _json(request, 200, replies.ring(found))

    @app.route("/mring/node", methods=["POST"])
    async def add_ring_node(self, request: Request) -> bytes:
        name = decode.check_name(self._body(request, NodeBody).node)
        return await self._change_ring(request, AddNode(name))

    @app.route("/mring/node/", branch=True, methods=["DELETE"])
    async def remove_ring_node(self, request: Request) -> bytes:
        name = _text_after(request, b"/mring/node/")
        if not name:
            raise NotFound("name the node: DELETE /mring/node/{name}")
        return await self._change_ring(request, RemoveNode(decode.check_name(name)))

    async def _change_ring(self, request: Request, command: Command) -> bytes:
        result = _raised(await self._submit(command))
        code, data, error = replies.outcome(result)
        return _problem(request, code, error) if error else _json(request, code, data)

    # -- what goes wrong -------------------------------------------------------------------------

    @app.handle_errors(UringError)  # type: ignore[arg-type]
    def failed(self, request: Request, failure: Any) -> bytes:
        error = failure.value
        wait = replies.retry_after(error)
        if wait is not None:
            request.setHeader(b"Retry-After", b"%d" % wait)
        return _problem(request, error.code, str(error))

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]
    def unroutable(self, request: Request, failure: Any) -> bytes:
        error = failure.value
        if isinstance(error, MethodNotAllowed):
            allowed = sorted({*(error.valid_methods or ()), "OPTIONS"})
            request.setHeader(b"Allow", ", ".join(allowed).encode())
            if request.method == b"OPTIONS":
                request.setResponseCode(204)
                return b""
            return _problem(request, 405, f"this route takes {', '.join(allowed)}")
        return _problem(request, 404, "no such route; see GET / for what there is")

    @app.handle_errors(CancelledError)  # type: ignore[arg-type]
    def gone(self, request: Request, failure: Any) -> bytes:
        return b""  # the client hung up

    @app.handle_errors(Exception)  # type: ignore[arg-type]
    def broken(self, request: Request, failure: Any) -> bytes:
        _log.failure("a request failed", failure=failure)
        return _problem(request, 500, "an internal error; the node's log says more")


# -- small things --------------------------------------------------------------------------------


def _raised(answer: Any) -> Any:
    """Return ``answer``, or raise it if it is an error."""
    if isinstance(answer, UringError):
        raise answer
    return answer


def _kept(change: Deferred[None]) -> Deferred[None]:
    """Return a Deferred that ends with ``change``; the client's hanging up does not cancel that."""
    answer: Deferred[None] = Deferred()

    def done(result: Any) -> None:
        if not answer.called:
            answer.callback(result)  # a Failure makes it fail

    change.addBoth(done)
    return answer


def _content(request: Request) -> Any:
    """Return the body as a file; Twisted has opened it by the time that a route is called."""
    return request.content


def _json(request: Request, code: int, value: Any) -> bytes:
    request.setResponseCode(code)
    return _sized(request, b"application/json", replies.dumps(value))


def _problem(request: Request, code: int, detail: str, **more: Any) -> bytes:
    request.setResponseCode(code)
    return _sized(request, b"application/problem+json", replies.problem(code, detail, **more))


def _sized(request: Request, kind: bytes, body: bytes) -> bytes:
    request.setHeader(b"Content-Type", kind)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def _option(request: Request, name: str, allowed: tuple[str, ...]) -> str:
    """Return a query parameter; the first of ``allowed`` if it is absent."""
    given: list[bytes] = request.args.get(name.encode(), [])
    if not given:
        return allowed[0]
    text = given[-1].decode("utf-8", "replace")
    if len(given) > 1 or text not in allowed:
        raise BadRequest(f"{name} must be one of {', '.join(allowed)}, once")
    return text


def _stale(request: Request) -> bool:
    return _option(request, "consistency", ("linearizable", "stale")) == "stale"


def _member_id(text: str) -> int:
    digits = text.isascii() and text.isdecimal() and len(text) < 20
    return decode.check_member_id(int(text) if digits else 0)


def _text_after(request: Request, prefix: bytes) -> str:
    """Return what follows ``prefix`` in the path, unescaped once."""
    path: bytes = request.uri.partition(b"?")[0]
    try:
        text = unquote_to_bytes(path[len(prefix) :]).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("percent-escapes must spell UTF-8") from None
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise BadRequest("control characters cannot be used in a path; use the WebSocket")
    return text


def _key(request: Request) -> tuple[str, str, bool]:
    """Return the first part of the path, the key, and whether it is compare-and-swap.

    A key is everything after /kv/ or /data/, slashes included.
    """
    root = "data" if b"/data/" in request.uri[: len(b"/data/")] else "kv"
    text = _text_after(request, f"/{root}/".encode())
    cas = request.method == b"POST" and text.endswith("/cas") and len(text) > 4
    key = text[:-4] if cas else text
    if not key:
        raise NotFound("name the key: /kv/{key}")
    return root, decode.check_key(key), cas
