"""Many commands in one message: each on its own, and one answer for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import orjson
from attrs import define, field
from msgspec import UNSET

from uring.api import decode, replies
from uring.api.messages import RID_MAX, RID_MIN, Plain
from uring.errors import OutcomeUnknown
from uring.machines.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX

PUT_QUOTES = 12
"""Quotation marks in a Put whose texts hold none: with as many, no field can be there twice."""
GET_QUOTES = 8

_PLAIN = msgspec.json.Decoder(Plain)
_PLAIN_LIST = msgspec.json.Decoder(list[Plain])


@define(eq=False)
class Batch:
    """Gathers one reply for each of ``count`` commands, and hands them on in that order.

    ``done`` gets them as one JSON array.  Replies beyond ``bytes_max``
    in all are left out: the error in their place says so.
    """

    count: int
    bytes_max: int
    done: Callable[[bytes], None]
    with_rids: bool = True
    """Whether replies keep their first field; without, their places name the commands."""
    _replies: dict[int, bytes] = field(factory=dict, init=False)
    _size: int = field(default=0, init=False)

    def slot(self, place: int, is_read: bool) -> Callable[[bytes], None]:
        """Return what takes the reply to the command at ``place``, once."""

        def put(reply: bytes) -> None:
            if self._size + len(reply) > self.bytes_max:
                reply = self._too_large(reply, is_read)
            if not self.with_rids:
                reply = b"{" + reply.partition(b",")[2]
            self._size += len(reply)
            self._replies[place] = reply
            if len(self._replies) == self.count:
                self.done(b"[%b]" % b",".join([self._replies[n] for n in range(self.count)]))

        return put

    def _too_large(self, reply: bytes, is_read: bool) -> bytes:
        rid = orjson.loads(reply)["rid"]
        why = f"the answers to a list have at most {self.bytes_max} bytes"
        if is_read:
            return replies.error(rid, 413, f"{why}; read fewer keys at once")
        return replies.error(rid, OutcomeUnknown.code, f"outcome unknown: {why}")


def plain_command(data: bytes) -> Plain | None:
    """Return the Put or Get in ``data``, or None if the long way has to look at it."""
    quotes = data.count(b'"')
    if (quotes != PUT_QUOTES and quotes != GET_QUOTES) or b"\\" in data:
        return None
    try:
        command = _PLAIN.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return command if _plain_quotes(command) == quotes else None


def plain_commands(data: bytes, count_max: int) -> Sequence[Plain] | None:
    """Return the Puts and Gets in the array ``data``, or None if the long way has to look at it."""
    quotes = data.count(b'"')
    if b"\\" in data or not GET_QUOTES <= quotes <= PUT_QUOTES * count_max:
        return None
    # Without a backslash, what is outside of texts is every other piece between the quotes.
    bare = sum(map(len, data.split(b'"')[::2]))
    if bare > decode.COMMAND_STRUCTURE_BYTES_MAX * count_max:
        return None
    try:
        commands = _PLAIN_LIST.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if len(commands) > count_max:
        return None
    found = 0
    for command in commands:
        each = _plain_quotes(command)
        if not each:
            return None
        found += each
    return commands if found == quotes else None


def _plain_quotes(command: Plain) -> int:
    """Return how many quotation marks a good Put or Get has; 0 if it is none.

    Lengths are in characters, of at most four bytes: what may be too long is looked at elsewhere.
    """
    put, get = command.Put, command.Get
    if put is not UNSET:
        good = (
            get is UNSET
            and RID_MIN <= put.rid <= RID_MAX
            and 0 < len(put.key) <= KEY_BYTES_MAX // 4
            and len(put.store) <= VALUE_BYTES_MAX // 4
        )
        return PUT_QUOTES if good else 0
    if get is UNSET:
        return 0
    good = RID_MIN <= get.rid <= RID_MAX and 0 < len(get.key) <= KEY_BYTES_MAX // 4
    return GET_QUOTES if good else 0
