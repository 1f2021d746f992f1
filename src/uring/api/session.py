"""One WebSocket's conversation, without a socket: text in, replies out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from uring.api import decode, kvservices, messages, replies, ring, ringreplies, txn
from uring.api.batch import Batch, plain_array, plain_texts
from uring.api.gateway import Gateway
from uring.api.guard import Guard
from uring.api.limits import Limits
from uring.api.messages import PROTOCOLS, Control, PlainArgs, PlainGet, PlainPut, check_rid, rid_of
from uring.api.subscriptions import Subscriptions
from uring.errors import BadRequest, StillLearning, UringError
from uring.machines.commands import (
    Cas,
    Delete,
    Get,
    Put,
)
from uring.machines.limits import RING_NODES_MAX
from uring.together import DoneAll

Send: TypeAlias = Callable[[bytes], None]
SendAll: TypeAlias = Callable[[Sequence[bytes]], None]

_log = Logger(namespace="uring.websocket")
READS = 16
"""Of those that come together, answered in one go: as many of the largest values are 16 MB."""
_ALONE = ("As", "Select", "Auth")
"""What changes the conversation itself."""
_ELEMENTS_MAX = {"MRing": RING_NODES_MAX, "KV": txn.ELEMENTS_MAX}
"""Parts that the largest command of a protocol has, beside a list of commands."""


def _no_tokens(text: str) -> Guard:
    raise BadRequest("tokens are not for here")


@define(eq=False)
class Session:
    """Decodes, asks the gateway, and sends each reply when there is one.

    ``send`` takes a reply, ``send_all`` some that come together; ``busy`` is told when the first
    command beyond the limit is waiting (True) and when half of them are answered (False).
    """

    gateway: Gateway
    limits: Limits
    version: str
    send: Send
    busy: Callable[[bool], None]
    send_all: SendAll = field(kw_only=True)
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

    @send_all.default
    def _send_each(self) -> SendAll:
        def send_all(replies: Sequence[bytes]) -> None:
            for reply in replies:
                self.send(reply)

        return send_all

    def __attrs_post_init__(self) -> None:
        self.subscriptions = Subscriptions(
            self.gateway, self.limits, self.send, self.full, self.hang_up
        )

    # -- in --------------------------------------------------------------------------------------

    def received(self, *texts: bytes) -> None:
        """Take text messages that came together."""
        self.gateway.measures.messages += len(texts)
        if self._protocol == "KV" and (commands := plain_texts(texts)):
            # Good Puts and Gets, nearly all there is, cost little when they come together.
            self._run_plain(commands, lambda place, is_read: self.send_all)
            return
        for text in texts:
            if not self._closed:
                self._received(text)

    def _received(self, data: bytes) -> None:
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
        if not data.startswith(b"["):
            commands = plain_texts((data,))
            if commands:
                self._run_plain(commands, lambda place, is_read: self.send_all)
        else:
            commands = plain_array(data, self.limits.batch_commands)
            if commands:
                batch = Batch(len(commands), self.limits.batch_answer_bytes, self.send)
                self._run_plain(commands, batch.slots)
        return bool(commands)

    def _run_plain(self, commands: list[PlainArgs], taker: Callable[[int, bool], SendAll]) -> None:
        """Run ``commands``, those of a kind that follow each other as one; ``taker`` returns what
        takes the replies to those from a place on, which are reads or are not."""
        start, count = 0, len(commands)
        while start < count:
            kind, end = type(commands[start]), start + 1
            last = count if kind is PlainPut else min(count, start + READS)
            while end < last and type(commands[end]) is kind:
                end += 1
            args: list[Any] = commands[start:end]
            rids = [each.rid for each in args]
            self._asked(len(rids))
            send_all = taker(start, kind is PlainGet)
            if kind is PlainPut:
                puts = [Put(each.key, each.store) for each in args]
                self.gateway.submit_all(puts, self._telling(replies.stored, rids, send_all))
            else:
                gets = [Get(each.key) for each in args]
                self.gateway.query_all(gets, self._telling(replies.read, rids, send_all))
            start = end

    def _telling(
        self,
        spell: Callable[[Sequence[int], Sequence[Any]], list[bytes]],
        rids: Sequence[int],
        send_all: SendAll,
    ) -> DoneAll:
        def done(results: Sequence[Any]) -> None:
            self._answered(len(rids))
            send_all(spell(rids, results))

        return done

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
            raise BadRequest(f"As holds a command; send {', '.join(_ALONE)} by themselves")
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
        key, is_stale = decode.check_key(args.key), args.consistency == "stale"
        done = self._telling(replies.read, [args.rid], self.send_all)
        self._asked()
        self.gateway.query(Get(key), lambda value: done([value]), is_stale)

    def _kv_put(self, args: messages.PutArgs) -> None:
        put = Put(decode.check_key(args.key), decode.check_value(args.store))
        self._asked()
        self.gateway.submit_all([put], self._telling(replies.stored, [args.rid], self.send_all))

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
        decode.check_member_id(args.id)
        members = self.gateway.members()
        if args.id not in members:
            self.send(replies.reply(args.rid, 404, None))
        else:
            self.send(replies.reply(args.rid, 200, {"id": args.id, "address": members[args.id]}))

    def _uring_addnode(self, args: messages.AddMemberArgs) -> None:
        address = None if args.address is None else decode.check_address(args.address)
        self._administer(args, lambda: self.gateway.add_member(args.id, address))

    def _uring_removenode(self, args: messages.RemoveMemberArgs) -> None:
        decode.check_other(args.id, self.gateway.status()["id"])
        self._administer(args, lambda: self.gateway.remove_member(args.id, args.force))

    def _uring_transferleader(self, args: messages.MemberArgs) -> None:
        self._administer(args, lambda: self.gateway.transfer_leadership(args.id))

    def _administer(
        self,
        args: messages.MemberArgs | messages.AddMemberArgs | messages.RemoveMemberArgs,
        act: Callable[[], Deferred[None]],
    ) -> None:
        decode.check_member_id(args.id)
        self._asked()

        def done(result: Any) -> None:
            self._answered()
            error = getattr(result, "value", None)
            if error is None:
                self.send(replies.reply(args.rid, 200, {"id": args.id}))
            elif isinstance(error, StillLearning):
                told = {"id": args.id, "detail": str(error)}
                self.send(replies.reply(args.rid, error.code, told))
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

    def _asked(self, count: int = 1) -> None:
        self.in_flight += count
        if self.in_flight >= self.limits.in_flight and not self._busy:
            self._busy = True
            self.busy(True)

    def _answered(self, count: int = 1) -> None:
        self.in_flight -= count
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

    def _asked(self, count: int = 1) -> None:
        self.whole._asked(count)

    def _answered(self, count: int = 1) -> None:
        self.whole._answered(count)


def _protocol(name: str) -> str:
    if name not in PROTOCOLS:
        raise BadRequest(f"unknown protocol {name[:64]!r}; known are {', '.join(PROTOCOLS)}")
    return name


def _is_read(value: Any) -> bool:
    """Tell whether ``value`` is a command that certainly changes nothing."""
    return isinstance(value, dict) and set(value) == {"Get"}
