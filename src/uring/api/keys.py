"""The routes of keys and values: what twisted.web has taken apart, and what was plain anyway."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec
from attrs import define
from msgspec import Struct
from twisted.logger import Logger
from twisted.web.http import parse_qs
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from uring.api import conditional, decode, replies
from uring.api.conditional import PLAIN, Conditions
from uring.api.fields import Value
from uring.api.gateway import Gateway
from uring.api.limits import Limits
from uring.api.replies import Answer
from uring.errors import BadRequest, NotFound, UringError
from uring.machines.commands import Cas, Command, Delete, Look, Put, Result, TxnDone
from uring.machines.limits import VALUE_BYTES_MAX
from uring.machines.values import Found

_log = Logger(namespace="uring.rest")

Reply: TypeAlias = Callable[[Answer], None]

PREFIXES = (b"/kv/", b"/data/")
METHODS = frozenset({b"GET", b"POST", b"PUT", b"DELETE"})
_ALLOWED = b"DELETE, GET, HEAD, OPTIONS, POST, PUT"
_ALLOWED_CAS = b"OPTIONS, POST"
_CAS = b"/cas"
_NUMBER = re.compile(rb"[0-9]{1,19}")
_MEANT = (b"if-match", b"if-none-match", b"idempotency-key")
"""Headers that mean something for a key."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN_PUT_QUOTES = 4
"""Quotation marks in a body whose texts hold none: with as many, no field can be there twice."""


class PutBody(Struct, forbid_unknown_fields=True):
    value: Value


class CasBody(Struct, forbid_unknown_fields=True):
    store: Value
    check: Value | None = None


_NO_CAS = replies.not_allowed(_ALLOWED_CAS, "escape the slash of a key that ends in /cas: %2Fcas")
_MISSING = replies.refused(NotFound("no such key"))
_PLAIN_PUT = msgspec.json.Decoder(PutBody)


@define(eq=False)
class Keys:
    """Decodes, asks the gateway, and answers."""

    gateway: Gateway
    limits: Limits

    def serve(
        self,
        method: bytes,
        uri: bytes,
        body: bytes,
        reply: Reply,
        headers: Headers | None = None,
    ) -> None:
        """Answer a request for a path under one of PREFIXES; ``reply`` is called exactly once.

        ``method`` is one of METHODS, ``uri`` the request's target in origin form; ``headers`` are
        left out where none of them means anything for a key.
        """
        try:
            root, key, cas = _key(uri)
            if cas and method != b"POST":
                reply(_NO_CAS)
                return
            if method == b"GET":
                self._get(key, uri, headers, reply)
                return
            lease = _lease(uri)
            wanted = PLAIN if headers is None and not lease else _conditions(headers, lease)
            if method == b"DELETE":
                self._delete(key, wanted, reply)
            elif cas:
                self._cas(key, body, root == "data", wanted, reply)
            elif method == b"PUT":
                command = conditional.put(key, _bounded(body), wanted)
                self._submit(command, lambda result: conditional.stored(key, result), reply)
            else:
                self._put(key, body, wanted, reply)
        except UringError as error:
            reply(replies.refused(error))
        except Exception:
            _log.failure("a request failed")
            reply(replies.BROKEN)

    def _get(self, key: str, uri: bytes, headers: Headers | None, reply: Reply) -> None:
        raw = option(uri, "raw", ("false", "true")) == "true"
        detail = option(uri, "detail", ("false", "true")) == "true"

        def done(found: Any) -> None:
            if found is None:
                reply(_MISSING)
            elif not isinstance(found, Found):
                reply(replies.refused(found))
            elif headers is not None and conditional.is_unchanged(headers, found):
                reply(Answer(304, b"", etag=found.revision))
            elif raw:
                reply(Answer(200, found.value, replies.BYTES, etag=found.revision))
            else:
                value = replies.text_or_bytes(found.value)
                shown = replies.found(found) if detail else {"key": key, "value": value}
                reply(Answer(200, replies.dumps(shown), etag=found.revision))

        self.gateway.query(Look(key), done, is_stale(uri))

    def _put(self, key: str, body: bytes, wanted: Conditions, reply: Reply) -> None:
        value = self._value(body)

        def shown(result: Result) -> Answer:
            if isinstance(result, TxnDone):
                return conditional.posted(key, value, result)
            code, old, error = replies.outcome(result, created=True)
            if error:
                return replies.trouble(code, error)
            return Answer(code, replies.dumps({"key": key, "value": value, "old": old}))

        plain = not wanted.compares and not wanted.lease
        command = Put(key, value) if plain else conditional.put(key, value.encode(), wanted)
        self._submit(conditional.repeatable(command, wanted), shown, reply)

    def _value(self, body: bytes) -> str:
        """Return what a body says is to be stored."""
        if body.count(b'"') == _PLAIN_PUT_QUOTES and b"\\" not in body:
            try:
                value = _PLAIN_PUT.decode(body).value
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass  # the long way says what is wrong
            else:
                if len(value) <= VALUE_BYTES_MAX // 4:
                    return value
        return decode.check_value(self._body(body, PutBody).value)

    def _body(self, body: bytes, shape: type[Any]) -> Any:
        return decode.convert(decode.parse(body, self.limits.json_depth), shape)

    def _cas(self, key: str, body: bytes, lenient: bool, wanted: Conditions, reply: Reply) -> None:
        if wanted.compares or wanted.lease:
            raise BadRequest("compare-and-swap has its condition in the body, and takes no lease")
        swap = self._body(body, CasBody)
        store = decode.check_value(swap.store)
        check = None if swap.check is None else decode.check_value(swap.check)

        def shown(result: Result) -> Answer:
            code, data, error = replies.outcome(result)
            if error:
                return replies.trouble(code, error, key=key, value=data)
            return Answer(code, replies.dumps({"key": key, "value": store}))

        command = conditional.repeatable(Cas(key, check, store, lenient), wanted)
        self._submit(command, shown, reply)

    def _delete(self, key: str, wanted: Conditions, reply: Reply) -> None:
        if wanted.lease:
            raise BadRequest("a key that is removed hangs on no lease; leave ?lease out")

        def shown(result: Result) -> Answer:
            if isinstance(result, TxnDone):
                return conditional.removed(key, result)
            code, data, error = replies.outcome(result)
            if error:
                return replies.trouble(code, error)
            return Answer(code, replies.dumps({"key": key, "value": data}))

        command = conditional.delete(key, wanted) if wanted.compares else Delete(key)
        self._submit(conditional.repeatable(command, wanted), shown, reply)

    def _submit(self, command: Command, shown: Callable[[Result], Answer], reply: Reply) -> None:
        """Propose ``command``, and answer with its result as it is ``shown``.

        The proposal goes on when the client has hung up.
        """

        def done(result: Result | UringError) -> None:
            reply(replies.refused(result) if isinstance(result, UringError) else shown(result))

        self.gateway.submit(command, done)


class KeyResource(Resource):
    """Serves the keys to requests that twisted.web has taken apart."""

    isLeaf = True

    def __init__(self, keys: Keys) -> None:
        super().__init__()
        self.keys = keys

    def render(self, request: Any) -> Any:
        """Answer a request with any method."""
        method = b"GET" if request.method == b"HEAD" else request.method
        if method not in METHODS:
            allowed = _ALLOWED_CAS if _is_cas(request.path) else _ALLOWED
            options = method == b"OPTIONS"
            request.answer(replies.options(allowed) if options else replies.not_allowed(allowed))
            return NOT_DONE_YET
        headers = request.requestHeaders
        given = headers if any(map(headers.hasHeader, _MEANT)) else None
        self.keys.serve(method, request.uri, request.content.read(), request.answer, given)
        return NOT_DONE_YET


def _conditions(headers: Headers | None, lease: int) -> Conditions:
    return Conditions(lease=lease) if headers is None else conditional.conditions(headers, lease)


def _bounded(value: bytes) -> bytes:
    if len(value) > VALUE_BYTES_MAX:
        raise BadRequest(f"a value must have at most {VALUE_BYTES_MAX} bytes")
    return value


def _lease(uri: bytes) -> int:
    """Return the lease that a key shall hang on, 0 for none.  Raises BadRequest."""
    query = uri.partition(b"?")[2]
    if not query:
        return 0
    given = parse_qs(query, keep_blank_values=True).get(b"lease", [])
    if not given:
        return 0
    if len(given) > 1 or not _NUMBER.fullmatch(given[0]) or not 0 < int(given[0]) < 1 << 63:
        raise BadRequest("lease is the id of one, as POST /lease answered it")
    return int(given[0])


def is_stale(uri: bytes) -> bool:
    """Tell whether the target of a request asks for a stale read.  Raises BadRequest."""
    return option(uri, "consistency", ("linearizable", "stale")) == "stale"


def option(uri: bytes, name: str, allowed: tuple[str, ...]) -> str:
    """Return a query parameter; the first of ``allowed`` if it is absent.  Raises BadRequest."""
    query = uri.partition(b"?")[2]
    if not query:
        return allowed[0]
    given: list[bytes] = parse_qs(query, keep_blank_values=True).get(name.encode(), [])
    if not given:
        return allowed[0]
    text = given[-1].decode("utf-8", "replace")
    if len(given) > 1 or text not in allowed:
        raise BadRequest(f"{name} must be one of {', '.join(allowed)}, once")
    return text


def text_option(uri: bytes, name: str) -> str | None:
    """Return a query parameter; None if it is absent.  Raises BadRequest."""
    query = uri.partition(b"?")[2]
    given = parse_qs(query, keep_blank_values=True).get(name.encode(), []) if query else []
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest(f"{name} may be given once")
    try:
        return given[0].decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("percent-escapes must spell UTF-8") from None


def number(uri: bytes, name: str, default: int) -> int:
    """Return a query parameter that is a whole number.  Raises BadRequest."""
    text = text_option(uri, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadRequest(f"{name} must be a whole number")
    return int(text)


def text_after(uri: bytes, prefix: bytes) -> str:
    """Return what follows ``prefix`` in the path, unescaped once.  Raises BadRequest."""
    path = uri.partition(b"?")[0]
    try:
        text = unquote_to_bytes(path[len(prefix) :]).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("percent-escapes must spell UTF-8") from None
    if _CONTROL.search(text):
        raise BadRequest("control characters cannot be used in a path; use the WebSocket")
    return text


def _is_cas(path: bytes) -> bool:
    """Tell whether a path ends in /cas; that of a key which does so spells it %2Fcas."""
    return path.endswith(_CAS) and path[: -len(_CAS)] + b"/" not in PREFIXES


def _key(uri: bytes) -> tuple[str, str, bool]:
    """Return the first part of the path, the key, and whether it is compare-and-swap.

    A key is everything after /kv/ or /data/, slashes included.
    """
    root = "data" if uri.startswith(b"/data/") else "kv"
    path = uri.partition(b"?")[0]
    cas = _is_cas(path)
    key = text_after(path[: -len(_CAS)] if cas else path, f"/{root}/".encode())
    if not key:
        raise NotFound("name the key: /kv/{key}")
    return root, decode.check_key(key), cas
