"""One WebSocket's conversation, without a socket: text in, replies out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import orjson
from attrs import define, field
from msgspec import UNSET, Struct
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from uring.api import decode, messages, replies
from uring.api.gateway import Gateway
from uring.api.limits import Limits
from uring.api.messages import PLAIN, PROTOCOLS, SUBSCRIBABLE, Control
from uring.errors import BadRequest, NotFound, UringError
from uring.feed import Change
from uring.machines.commands import (
    AddNode,
    Cas,
    Delete,
    Get,
    GetNodes,
    GetSize,
    Invalid,
    Old,
    Put,
    RemoveNode,
    Ring,
    SetSize,
)
from uring.machines.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX

Send: TypeAlias = Callable[[bytes], None]

_log = Logger(namespace="uring.websocket")
_RID_MIN, _RID_MAX = -(1 << 63), (1 << 64) - 1
_PLAIN_PUT_QUOTES = 12
"""Quotation marks in a Put whose texts hold none: with as many, no field can be there twice."""
_PLAIN_GET_QUOTES = 8
_encode_text = msgspec.json.Encoder().encode
_JSON_NULL = b"null"


def _encode_value(value: str | bytes) -> bytes:
    return _encode_text(value) if type(value) is str else replies.dumps(value)


def encode_change(change: Change) -> bytes:
    """Return what a subscriber is sent for ``change``."""
    return replies.dumps({"Msg": {"channel": change.channel, "msg": change.event}})


@define(eq=False)
class Session:
    """Decodes, asks the gateway, and sends each reply when there is one.

    ``send`` takes a reply; ``busy`` is told when the first command beyond the limit is waiting
    (True) and when half of them are answered (False).
    """

    gateway: Gateway
    limits: Limits
    version: str
    send: Send
    busy: Callable[[bool], None]
    in_flight: int = field(default=0, init=False)
    _protocol: str = field(default="", init=False)
    _subscriptions: dict[str, Callable[[], None]] = field(factory=dict, init=False)
    _busy: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    # -- in --------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take one text message."""
        self.gateway.measures.messages += 1
        if self._protocol == "KV" and b"\\" not in data and self._plain(data):
            return
        rid: int | None = None
        try:
            value = decode.parse(data, self.limits.json_depth)
            rid = _rid_of(value)
            self._run(self._protocol, value)
        except UringError as error:
            self.send(_error(rid, error.code, str(error)))
        except Exception:
            _log.failure("a message failed")
            self.send(_error(rid, 500, "an internal error; the node's log says more"))

    def binary(self) -> None:
        """Take a message that is no text."""
        self.send(_error(None, BadRequest.code, "send JSON as text messages, not binary ones"))

    def close(self) -> None:
        """The socket is gone; what is in flight goes on without it."""
        self._closed = True
        for unsubscribe in self._subscriptions.values():
            unsubscribe()
        self._subscriptions.clear()

    def _plain(self, data: bytes) -> bool:
        """Run a well-formed Put or Get at little cost; False if the long way has to look at it."""
        quotes = data.count(b'"')
        try:
            if quotes == _PLAIN_PUT_QUOTES:
                put = PLAIN.decode(data).Put
                if put is UNSET or not _RID_MIN <= put.rid <= _RID_MAX:
                    return False
                if len(put.key) > KEY_BYTES_MAX // 4:
                    return False
                if not put.key or len(put.store) > VALUE_BYTES_MAX // 4:
                    return False
                self._submit_put(put.rid, put.key, put.store)
                return True
            if quotes == _PLAIN_GET_QUOTES:
                get = PLAIN.decode(data).Get
                if get is UNSET or not _RID_MIN <= get.rid <= _RID_MAX:
                    return False
                if not get.key or len(get.key) > KEY_BYTES_MAX // 4:
                    return False
                self._get(get.rid, get.key, False)
                return True
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        return False

    def _run(self, protocol: str, value: Any) -> None:
        """Run the message ``value`` in the grammar of ``protocol``."""
        if not isinstance(value, dict) or len(value) != 1:
            raise BadRequest('send an object with one field, such as {"Get": {...}}')
        (name,) = value
        shape = PROTOCOLS.get(protocol, Control)
        if name not in shape.__struct_fields__:
            if not protocol:
                raise BadRequest(
                    f"unknown command {name[:64]!r}: select a protocol first, such as "
                    '{"Select": {"rid": 1, "protocol": "KV"}}'
                )
            known = ", ".join(shape.__struct_fields__)
            raise BadRequest(f"unknown command {name[:64]!r}; {protocol} has {known}")
        if name == "As":
            self._as(value["As"])
            return
        args = getattr(decode.convert(value, shape), name)
        _check_rid(args)
        if name in Control.__struct_fields__:
            getattr(self, f"_control_{name.lower()}")(args)
        else:
            getattr(self, f"_{protocol.lower()}_{name.lower()}")(args)

    # -- control ---------------------------------------------------------------------------------

    def _control_select(self, args: messages.SelectArgs) -> None:
        self._protocol = _protocol(args.protocol)
        selected = {"rid": args.rid, "protocol": args.protocol}
        self.send(orjson.dumps({"Selected": selected}))

    def _as(self, args: Any) -> None:
        """Run one command of another protocol; the selection stays."""
        if not isinstance(args, dict) or set(args) != {"protocol", "cmd"}:
            raise BadRequest('write {"As": {"protocol": "KV", "cmd": {...}}}')
        protocol, command = args["protocol"], args["cmd"]
        if not isinstance(protocol, str):
            raise BadRequest("protocol must be a text")
        if isinstance(command, dict) and ("As" in command or "Select" in command):
            raise BadRequest("As holds a command; send As and Select by themselves")
        self._run(_protocol(protocol), command)

    def _control_subscribe(self, args: messages.SubscribeArgs) -> None:
        channel = args.channel
        if channel not in SUBSCRIBABLE:
            raise BadRequest(f"unknown channel; known are {', '.join(SUBSCRIBABLE)}")
        if channel not in self._subscriptions:
            self._subscriptions[channel] = self.gateway.subscribe(channel, self._changed)
        if args.rid is not None:
            self.send(orjson.dumps({"Subscribed": {"rid": args.rid, "channel": channel}}))

    def _control_unsubscribe(self, args: messages.SubscribeArgs) -> None:
        unsubscribe = self._subscriptions.pop(args.channel, None)
        if unsubscribe is None:
            raise NotFound(f"not subscribed to {args.channel[:64]!r}")
        unsubscribe()
        if args.rid is not None:
            self.send(orjson.dumps({"Unsubscribed": {"rid": args.rid, "channel": args.channel}}))

    def _control_status(self, args: messages.Rid) -> None:
        self.send(_reply(args.rid, 200, self.gateway.status()))

    def _control_version(self, args: messages.Rid) -> None:
        self.send(_reply(args.rid, 200, self.version))

    _status_get = _control_status
    _version_get = _control_version

    def _changed(self, changes: list[Change]) -> None:
        for change in changes:
            self.send(encode_change(change))

    # -- KV --------------------------------------------------------------------------------------

    def _kv_get(self, args: messages.GetArgs) -> None:
        if args.consistency not in ("linearizable", "stale"):
            raise BadRequest("consistency must be linearizable or stale")
        self._get(args.rid, decode.check_key(args.key), args.consistency == "stale")

    def _get(self, rid: int, key: str, stale: bool) -> None:
        def done(value: Any) -> None:
            self._answered()
            if isinstance(value, str):
                self.send(b'{"rid":%d,"code":200,"data":%b}' % (rid, _encode_text(value)))
            elif value is None:
                self.send(b'{"rid":%d,"code":404,"data":null}' % rid)
            elif isinstance(value, bytes):
                self.send(_reply(rid, 200, value))
            else:
                self.send(_error(rid, value.code, str(value)))

        self._asked()
        self.gateway.query(Get(key), done, stale)

    def _kv_put(self, args: messages.PutArgs) -> None:
        key, store = decode.check_key(args.key), decode.check_value(args.store)
        self._submit_put(args.rid, key, store)

    def _submit_put(self, rid: int, key: str, store: str) -> None:
        def done(result: Any) -> None:
            self._answered()
            if type(result) is Old:
                old = _JSON_NULL if result.value is None else _encode_value(result.value)
                self.send(b'{"rid":%d,"code":201,"data":%b}' % (rid, old))
            else:
                self._outcome(rid, result)

        self._asked()
        self.gateway.submit(Put(key, store), done)

    def _kv_delete(self, args: messages.DeleteArgs) -> None:
        self._submit(args.rid, Delete(decode.check_key(args.key)))

    def _kv_cas(self, args: messages.CasArgs) -> None:
        key, store = decode.check_key(args.key), decode.check_value(args.store)
        check = None if args.check is None else decode.check_value(args.check)
        self._submit(args.rid, Cas(key, check, store))

    # -- MRing -----------------------------------------------------------------------------------

    def _mring_getsize(self, args: messages.Rid) -> None:
        def done(value: Any) -> None:
            self._answered()
            if isinstance(value, UringError):
                self.send(_error(args.rid, value.code, str(value)))
            else:
                self.send(_reply(args.rid, 404 if value is None else 200, value))

        self._asked()
        self.gateway.query(GetSize(), done)

    def _mring_setsize(self, args: messages.SetSizeArgs) -> None:
        size, strategy = decode.check_size(args.size), decode.check_strategy(args.strategy)
        self._submit(args.rid, SetSize(size, strategy))

    def _mring_getnodes(self, args: messages.Rid) -> None:
        def done(value: Any) -> None:
            self._answered()
            self._outcome(args.rid, value)

        self._asked()
        self.gateway.query(GetNodes(), done)

    def _mring_addnode(self, args: messages.RingNodeArgs) -> None:
        self._submit(args.rid, AddNode(decode.check_name(args.node)))

    def _mring_removenode(self, args: messages.RingNodeArgs) -> None:
        self._submit(args.rid, RemoveNode(decode.check_name(args.node)))

    # -- URing -----------------------------------------------------------------------------------

    def _uring_getnodes(self, args: messages.Rid) -> None:
        members = self.gateway.members()
        nodes = [{"id": node_id, "address": members[node_id]} for node_id in sorted(members)]
        self.send(_reply(args.rid, 200, nodes))

    _uring_members = _uring_getnodes

    def _uring_getnode(self, args: messages.MemberArgs) -> None:
        members = self.gateway.members()
        if args.id not in members:
            self.send(_reply(args.rid, 404, None))
        else:
            self.send(_reply(args.rid, 200, {"id": args.id, "address": members[args.id]}))

    def _uring_addnode(self, args: messages.MemberArgs) -> None:
        address = None if args.address is None else decode.check_address(args.address)
        self._administer(args, lambda: self.gateway.add_member(args.id, address))

    def _uring_removenode(self, args: messages.RemoveMemberArgs) -> None:
        self._administer(args, lambda: self.gateway.remove_member(args.id, args.force))

    def _uring_transferleader(self, args: messages.MemberArgs) -> None:
        self._administer(args, lambda: self.gateway.transfer_leadership(args.id))

    def _administer(
        self,
        args: messages.MemberArgs | messages.RemoveMemberArgs,
        act: Callable[[], Deferred[None]],
    ) -> None:
        decode.check_member_id(args.id)
        self._asked()

        def done(result: Any) -> None:
            self._answered()
            error = getattr(result, "value", None)
            if error is None:
                self.send(_reply(args.rid, 200, {"id": args.id}))
            elif isinstance(error, UringError):
                self.send(_error(args.rid, error.code, str(error)))
            else:
                _log.failure("a membership command failed", failure=result)
                self.send(_error(args.rid, 500, "an internal error; the node's log says more"))

        act().addBoth(done)

    # -- out -------------------------------------------------------------------------------------

    def _submit(self, rid: int, command: Any) -> None:
        def done(result: Any) -> None:
            self._answered()
            self._outcome(rid, result)

        self._asked()
        self.gateway.submit(command, done)

    def _outcome(self, rid: int, result: Any) -> None:
        code, data, error = replies.outcome(result)
        refused = isinstance(result, UringError | Invalid)
        if refused or (isinstance(result, Ring) and result.problem):
            self.send(_error(rid, code, error))
        else:
            self.send(_reply(rid, code, data))

    def _asked(self) -> None:
        self.in_flight += 1
        if self.in_flight >= self.limits.in_flight and not self._busy:
            self._busy = True
            self.busy(True)

    def _answered(self) -> None:
        self.in_flight -= 1
        if self._busy and self.in_flight <= self.limits.in_flight // 2 and not self._closed:
            self._busy = False
            self.busy(False)


def _protocol(name: str) -> str:
    if name not in PROTOCOLS:
        raise BadRequest(f"unknown protocol {name[:64]!r}; known are {', '.join(PROTOCOLS)}")
    return name


def _rid_of(value: Any) -> int | None:
    """Return the request's id wherever it is, to name it even in an error."""
    for _ in range(4):
        if not isinstance(value, dict):
            return None
        rid = value.get("rid")
        if type(rid) is int and _RID_MIN <= rid <= _RID_MAX:
            return rid
        value = value.get("cmd") or (next(iter(value.values())) if len(value) == 1 else None)
    return None


def _check_rid(args: Struct) -> None:
    rid = getattr(args, "rid", None)
    if rid is not None and not _RID_MIN <= rid <= _RID_MAX:
        raise BadRequest("rid must fit in 64 bits")


def _reply(rid: int, code: int, data: Any) -> bytes:
    return replies.dumps({"rid": rid, "code": code, "data": data})


def _error(rid: int | None, code: int, detail: str) -> bytes:
    error = {"code": code, "title": replies.TITLES.get(code, "Error"), "detail": detail}
    return replies.dumps({"rid": rid, "code": code, "data": None, "error": error})
