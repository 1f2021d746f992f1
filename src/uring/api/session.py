"""One WebSocket's conversation, without a socket: text in, replies out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import orjson
from attrs import define, field
from msgspec import UNSET
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from uring.api import decode, kvservices, messages, replies, ring, ringreplies, txn
from uring.api.batch import Batch, plain_command, plain_commands
from uring.api.gateway import Gateway
from uring.api.guard import Guard
from uring.api.limits import Limits
from uring.api.messages import PROTOCOLS, Control, check_rid, rid_of
from uring.api.subscriptions import Subscriptions
from uring.errors import BadRequest, UringError
from uring.machines.commands import (
    Cas,
    Delete,
    Get,
    Old,
    Put,
)
from uring.machines.limits import RING_NODES_MAX

Send: TypeAlias = Callable[[bytes], None]

_log = Logger(namespace="uring.websocket")
_encode_text = msgspec.json.Encoder().encode
_ALONE = ("As", "Select", "Auth")
"""What changes the conversation itself."""
_JSON_NULL = b"null"
_ELEMENTS_MAX = {"MRing": RING_NODES_MAX, "KV": txn.ELEMENTS_MAX}
"""Parts that the largest command of a protocol has, beside a list of commands."""


def _encode_value(value: str | bytes) -> bytes:
    return _encode_text(value) if type(value) is str else replies.dumps(value)


def _no_tokens(text: str) -> Guard:
    raise BadRequest("tokens are not for here")


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
    full: Callable[[], bool] = field(default=lambda: False, kw_only=True)
    """Tells whether the client does not read; :meth:`Subscriptions.resume` when it does again."""
    hang_up: Callable[[str], None] = field(default=lambda reason: None, kw_only=True)
    prove: Callable[[str], Guard] = field(default=_no_tokens, kw_only=True)
    """Returns the gateway for who has this token.  Raises UringError."""
    subscriptions: Subscriptions = field(init=False)
    in_flight: int = field(default=0, init=False)
    _protocol: str = field(default="", init=False)
    _busy: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.subscriptions = Subscriptions(
            self.gateway, self.limits, self.send, self.full, self.hang_up
        )

    # -- in --------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take one text message."""
        self.gateway.measures.messages += 1
        if self._protocol == "KV" and self._plain(data):
            return
        try:
            many = _ELEMENTS_MAX.get(self._protocol, 0)
            value = decode.parse(data, self.limits.json_depth, self.limits.batch_commands, many)
            if isinstance(value, list):
                self._batch(value)
                return
        except UringError as error:
            self.send(replies.error(None, error.code, str(error)))
        else:
            self.take(self._protocol, value)

    def take(self, protocol: str, value: Any) -> None:
        """Run one command of ``protocol``, and answer whatever is wrong with it."""
        rid = rid_of(value)
        try:
            self._run(protocol, value)
        except UringError as error:
            self.send(replies.error(rid, error.code, str(error)))
        except Exception:
            _log.failure("a message failed")
            self.send(replies.error(rid, 500, replies.INTERNAL))

    def binary(self) -> None:
        """Take a message that is no text."""
        self.send(
            replies.error(None, BadRequest.code, "send JSON as text messages, not binary ones")
        )

    def close(self) -> None:
        """The socket is gone; what is in flight goes on without it."""
        self._closed = True
        self.subscriptions.close()

    def _plain(self, data: bytes) -> bool:
        """Run good Puts and Gets at little cost; False if the long way has to look at them."""
        if data.startswith(b"["):
            commands = plain_commands(data, self.limits.batch_commands)
            if commands is None:
                return False
            batch = Batch(len(commands), self.limits.batch_answer_bytes, self.send)
            for place, command in enumerate(commands):
                self._run_plain(command, batch.slot(place, command.Put is UNSET))
            return True
        single = plain_command(data)
        if single is None:
            return False
        self._run_plain(single, self.send)
        return True

    def _run_plain(self, command: messages.Plain, send: Send) -> None:
        put, get = command.Put, command.Get
        if put is not UNSET:
            self._submit_put(put.rid, put.key, put.store, send)
        elif get is not UNSET:
            self._get(get.rid, get.key, False, send)

    def _batch(self, values: list[Any]) -> None:
        """Run each of ``values`` on its own; all are answered together."""
        if not 0 < len(values) <= self.limits.batch_commands:
            raise BadRequest(f"a list must hold 1 to {self.limits.batch_commands} commands")
        batch = Batch(len(values), self.limits.batch_answer_bytes, self.send)
        for place, value in enumerate(values):
            self.part(batch.slot(place, _is_read(value))).take(self._protocol, value)

    def part(self, send: Send) -> Part:
        """Return what runs one command of a list."""
        return Part(self.gateway, self.limits, self.version, send, self.busy, self)

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
        check_rid(args)
        if name in Control.__struct_fields__:
            getattr(self, f"_control_{name.lower()}")(args)
        elif protocol == "MRing":
            self._mring(name, args)
        elif protocol == "KV" and name not in messages.Keys.__struct_fields__:
            self._kv_service(name, args)
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
        if isinstance(command, dict) and any(map(command.__contains__, _ALONE)):
            raise BadRequest(f"As holds a command; send {' and '.join(_ALONE)} by themselves")
        self._run(_protocol(protocol), command)

    def _control_auth(self, args: messages.AuthArgs) -> None:
        """Be somebody from now on; what is watched already goes on as it is."""
        guard = self.prove(args.token)
        self.gateway = self.subscriptions.gateway = guard
        shown = None if guard.token is None else replies.token(guard.token)
        self.send(replies.reply(args.rid, 200, shown))

    def _control_subscribe(self, args: messages.SubscribeArgs) -> None:
        self.subscriptions.subscribe(args)

    def _control_unsubscribe(self, args: messages.UnsubscribeArgs) -> None:
        self.subscriptions.unsubscribe(args)

    def _control_status(self, args: messages.Rid) -> None:
        self.send(replies.reply(args.rid, 200, self.gateway.status()))

    def _control_version(self, args: messages.Rid) -> None:
        self.send(replies.reply(args.rid, 200, self.version))

    _status_get = _control_status
    _version_get = _control_version

    # -- KV --------------------------------------------------------------------------------------

    def _kv_get(self, args: messages.GetArgs) -> None:
        if args.consistency not in ("linearizable", "stale"):
            raise BadRequest("consistency must be linearizable or stale")
        self._get(args.rid, decode.check_key(args.key), args.consistency == "stale", self.send)

    def _get(self, rid: int, key: str, stale: bool, send: Send) -> None:
        def done(value: Any) -> None:
            self._answered()
            if isinstance(value, str):
                send(b'{"rid":%d,"code":200,"data":%b}' % (rid, _encode_text(value)))
            elif value is None:
                send(b'{"rid":%d,"code":404,"data":null}' % rid)
            elif isinstance(value, bytes):
                send(replies.reply(rid, 200, value))
            else:
                send(replies.error(rid, value.code, str(value)))

        self._asked()
        self.gateway.query(Get(key), done, stale)

    def _kv_put(self, args: messages.PutArgs) -> None:
        key, store = decode.check_key(args.key), decode.check_value(args.store)
        self._submit_put(args.rid, key, store, self.send)

    def _submit_put(self, rid: int, key: str, store: str, send: Send) -> None:
        def done(result: Any) -> None:
            self._answered()
            if type(result) is Old:
                old = _JSON_NULL if result.value is None else _encode_value(result.value)
                send(b'{"rid":%d,"code":201,"data":%b}' % (rid, old))
            else:
                send(replies.shown(rid, result))

        self._asked()
        self.gateway.submit(Put(key, store), done)

    def _kv_delete(self, args: messages.DeleteArgs) -> None:
        self._submit(args.rid, Delete(decode.check_key(args.key)))

    def _kv_cas(self, args: messages.CasArgs) -> None:
        key, store = decode.check_key(args.key), decode.check_value(args.store)
        check = None if args.check is None else decode.check_value(args.check)
        self._submit(args.rid, Cas(key, check, store))

    def _kv_service(self, name: str, args: Any) -> None:
        if name in kvservices.COMMANDS:
            _, command = kvservices.COMMANDS[name]
            self._submit(args.rid, command(args))
            return

        def done(found: Any) -> None:
            self._answered()
            self.send(kvservices.answer(name, args.rid, found))

        _, query = kvservices.QUERIES[name]
        wanted = query(args)
        self._asked()
        self.gateway.query(wanted, done)

    # -- MRing -----------------------------------------------------------------------------------

    def _mring(self, name: str, args: Any) -> None:
        if name in ring.COMMANDS:
            _, command = ring.COMMANDS[name]
            self._submit(args.rid, command(args))
            return

        def done(value: Any) -> None:
            self._answered()
            value = ringreplies.spelled(value, args)
            if isinstance(value, replies.ANSWERS):
                self.send(replies.shown(args.rid, value))
            else:
                self.send(replies.reply(args.rid, 404 if value is None else 200, value))

        _, query = ring.QUERIES[name]
        wanted = query(args)
        self._asked()
        self.gateway.query(wanted, done)

    # -- URing -----------------------------------------------------------------------------------

    def _uring_getnodes(self, args: messages.Rid) -> None:
        members = self.gateway.members()
        nodes = [{"id": node_id, "address": members[node_id]} for node_id in sorted(members)]
        self.send(replies.reply(args.rid, 200, nodes))

    _uring_members = _uring_getnodes

    def _uring_getnode(self, args: messages.MemberArgs) -> None:
        members = self.gateway.members()
        if args.id not in members:
            self.send(replies.reply(args.rid, 404, None))
        else:
            self.send(replies.reply(args.rid, 200, {"id": args.id, "address": members[args.id]}))

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
                self.send(replies.reply(args.rid, 200, {"id": args.id}))
            elif isinstance(error, UringError):
                self.send(replies.error(args.rid, error.code, str(error)))
            else:
                _log.failure("a membership command failed", failure=result)
                self.send(
                    replies.error(args.rid, 500, "an internal error; the node's log says more")
                )

        act().addBoth(done)

    # -- out -------------------------------------------------------------------------------------

    def _submit(self, rid: int, command: Any) -> None:
        def done(result: Any) -> None:
            self._answered()
            self.send(replies.shown(rid, result))

        self._asked()
        self.gateway.submit(command, done)

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


@define(eq=False)
class Part(Session):
    """Runs one command of a list: its reply goes to ``send``, and it counts for ``whole``.

    What changes the conversation itself is refused: a list holds commands, each with one reply.
    """

    whole: Session

    def _refuse(self, args: Any) -> None:
        raise BadRequest("send Select, Auth, Subscribe, Unsubscribe by themselves, not in a list")

    _control_select = _control_auth = _control_subscribe = _control_unsubscribe = _refuse

    def _asked(self) -> None:
        self.whole._asked()

    def _answered(self) -> None:
        self.whole._answered()


def _protocol(name: str) -> str:
    if name not in PROTOCOLS:
        raise BadRequest(f"unknown protocol {name[:64]!r}; known are {', '.join(PROTOCOLS)}")
    return name


def _is_read(value: Any) -> bool:
    """Tell whether ``value`` is a command that certainly changes nothing."""
    return isinstance(value, dict) and set(value) == {"Get"}
