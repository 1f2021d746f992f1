"""Many commands in one message: each on its own, and one answer for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import orjson
from attrs import define, field
from msgspec import UNSET

from uring.api import decode, replies
from uring.api.fields import RID_MAX, RID_MIN
from uring.api.messages import Plain, PlainArgs
from uring.errors import OutcomeUnknown

PUT_QUOTES = 12
"""Quotation marks in a Put whose texts hold none: with as many, no field can be there twice."""
GET_QUOTES = 8

_PLAIN = msgspec.json.Decoder(Plain)
_PLAIN_PARTS = msgspec.json.Decoder(list[tuple[Plain]])
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

        return lambda reply: self._put(place, is_read, reply)

    def slots(self, place: int, is_read: bool) -> Callable[[Sequence[bytes]], None]:
        """Return what takes the replies to the commands from ``place`` on, once."""

        def put(given: Sequence[bytes]) -> None:
            for number, reply in enumerate(given, place):
                self._put(number, is_read, reply)

        return put

    def _put(self, place: int, is_read: bool, reply: bytes) -> None:
        if self._size + len(reply) > self.bytes_max:
            reply = self._too_large(reply, is_read)
        if not self.with_rids:
            reply = b"{" + reply.partition(b",")[2]
        self._size += len(reply)
        self._replies[place] = reply
        if len(self._replies) == self.count:
            self.done(b"[%b]" % b",".join([self._replies[n] for n in range(self.count)]))

    def _too_large(self, reply: bytes, is_read: bool) -> bytes:
        rid = orjson.loads(reply)["rid"]
        why = f"the answers to a list have at most {self.bytes_max} bytes"
        if is_read:
            return replies.error(rid, 413, f"{why}; read fewer keys at once")
        return replies.error(rid, OutcomeUnknown.code, f"outcome unknown: {why}")


def plain_texts(texts: Sequence[bytes]) -> list[PlainArgs] | None:
    """Return the Puts and Gets in ``texts``, or None if the long way has to look at them.

    All are decoded in one go: for each of 16 that takes half the time that it takes one by one.
    They are as good as alone: the line feed that is put between two cannot be within a string, the
    bracket before it not within an object.  So each is one part or more, and one command or none.
    """
    whole = b"".join(texts)
    if b"\\" in whole:
        return None
    try:
        if len(texts) == 1:
            commands = [_PLAIN.decode(whole)]
        else:
            parts = _PLAIN_PARTS.decode(b"[[%b]]" % b"],\n[".join(texts))
            commands = [command for (command,) in parts]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _arguments(commands, whole.count(b'"')) if len(commands) == len(texts) else None


def plain_array(data: bytes, count_max: int) -> list[PlainArgs] | None:
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
    return _arguments(commands, quotes) if len(commands) <= count_max else None


def _arguments(commands: Sequence[Plain], quotes: int) -> list[PlainArgs] | None:
    """Return what ``commands`` have been given, which were found in a text with so many quotation
    marks; None if it says more than that, or one is no good."""
    found: list[PlainArgs] = []
    for command in commands:
        put = command.Put
        if put is not UNSET:
            quotes -= PUT_QUOTES
            found.append(put)
        elif (get := command.Get) is not UNSET:
            quotes -= GET_QUOTES
            found.append(get)
    good = [args for args in found if RID_MIN <= args.rid <= RID_MAX]
    return good if len(good) == len(commands) and not quotes else None
