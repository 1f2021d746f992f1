"""JSON from strangers: strict, bounded, with errors that say what to do."""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar

import msgspec

from uring.errors import BadRequest, Conflict
from uring.machines.limits import (
    ADDRESS_BYTES_MAX,
    KEY_BYTES_MAX,
    NODE_NAME_BYTES_MAX,
    RING_SIZE_MAX,
    VALUE_BYTES_MAX,
)

T = TypeVar("T")

_DIGITS_MAX = 20
"""As many as 2**64 has.  A whole number with more is none that we could mean."""
_WHOLE_MAX = 1 << 63

_STRUCTURE_BYTES_MAX = 1024
"""What a message may have beside its texts and spaces; our longest has about a hundred bytes."""
_TEXTS_MAX = 64
COMMAND_STRUCTURE_BYTES_MAX = 64
"""The same for each command of a list, beside the list's own; a Put has about thirty."""
_COMMAND_TEXTS_MAX = 12
_LIST = re.compile(rb"[ \t\r\n]*\[")
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""One without an end reaches to the message's end: a search that fails would begin anew at every
quote, and take the square of the message's length."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("an object names a field twice; name each field once")
    return found


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _DIGITS_MAX else _float(text)


def _float(text: str) -> int | float:
    """Return a number; to JSON, 5.0 and 5 are the same.  Minus zero is no whole number to us."""
    number = float(text)
    if not math.isfinite(number):
        raise BadRequest("a number is out of range")
    is_minus_zero = not number and math.copysign(1, number) < 0
    is_whole = number.is_integer() and abs(number) < _WHOLE_MAX and not is_minus_zero
    return int(number) if is_whole else number


def _constant(text: str) -> Any:
    raise BadRequest(f"{text} is no JSON")


_JSON = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)
"""Made once: json.loads would make one for each request."""


def parse(data: bytes, depth_max: int, commands_max: int = 0, elements_max: int = 0) -> Any:
    """Return the value of a JSON text.  Raises BadRequest, and nothing else.

    A list may be as large as ``commands_max`` commands are, if that is not 0; anything else as
    ``elements_max`` parts of a command of as many parts.
    """
    if not data.strip():
        raise BadRequest("the body is empty; send a JSON object")
    # A million small values would hold up everybody else while they are being looked at.
    is_list = commands_max and _LIST.match(data)
    many = commands_max if is_list else elements_max
    texts_max = _TEXTS_MAX + many * _COMMAND_TEXTS_MAX
    bare = _TEXT.sub(b"", data, count=texts_max).translate(None, b" \t\r\n")
    if len(bare) > _STRUCTURE_BYTES_MAX + many * COMMAND_STRUCTURE_BYTES_MAX:
        if is_list:
            raise BadRequest(f"a list must hold 1 to {many} commands")
        raise BadRequest("no request has that many fields, levels or digits")
    try:
        value = _JSON.decode(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadRequest("the text is not UTF-8") from None
    except RecursionError:
        raise BadRequest(f"JSON may be nested {depth_max} levels deep") from None
    except ValueError as problem:
        raise BadRequest(f"no valid JSON: {problem}") from None
    _check(value, depth_max)
    return value


def _check(value: Any, depth_max: int) -> None:
    """Refuse what is nested too deeply, and text that UTF-8 cannot carry."""
    level = [value]
    for _ in range(depth_max):
        deeper: list[Any] = []
        for each in level:
            if isinstance(each, str):
                check_text(each)
            elif isinstance(each, dict):
                deeper.extend(each)
                deeper.extend(each.values())
            elif isinstance(each, list):
                deeper.extend(each)
        if not deeper:
            return
        level = deeper
    raise BadRequest(f"JSON may be nested {depth_max} levels deep")


def check_text(text: str) -> None:
    """Refuse half a surrogate pair: it has no bytes in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest("a text holds half a surrogate pair; send whole characters") from None


def convert(value: Any, shape: type[T]) -> T:
    """Return ``value`` as a ``shape``.  Raises BadRequest that names the field."""
    if not isinstance(value, dict):
        raise BadRequest("send a JSON object")
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as problem:
        raise BadRequest(str(problem).replace("`", "")) from None


def check_key(key: str) -> str:
    """Return ``key`` if it may be one."""
    if not 0 < len(key.encode()) <= KEY_BYTES_MAX:
        raise BadRequest(f"a key must have 1 to {KEY_BYTES_MAX} bytes")
    return key


def check_value(value: str) -> str:
    """Return ``value`` if it may be stored."""
    if len(value) > VALUE_BYTES_MAX or len(value.encode()) > VALUE_BYTES_MAX:
        raise BadRequest(f"a value must have at most {VALUE_BYTES_MAX} bytes")
    return value


def check_name(name: str) -> str:
    """Return ``name`` if a node of the ring, or a zone, may have it."""
    if not name:
        raise BadRequest("a node's name must not be empty")
    return check_short(name, NODE_NAME_BYTES_MAX, "a name")


def check_short(text: str, bytes_max: int, what: str) -> str:
    """Return ``text`` if it has few bytes, by a rule that can be told in characters."""
    if len(text) > (bytes_max if text.isascii() else bytes_max // 4):
        raise BadRequest(
            f"{what} has at most {bytes_max} characters of ASCII, or {bytes_max // 4} of any"
        )
    return text


def check_size(size: int) -> int:
    """Return ``size`` if a ring may have it: what the log cannot carry must not get there."""
    if not 1 <= size <= RING_SIZE_MAX:
        raise BadRequest(f"the size must be from 1 to {RING_SIZE_MAX}")
    return size


def check_strategy(strategy: str) -> str:
    """Return ``strategy`` if it may be the name of one."""
    if len(strategy) > 64:
        raise BadRequest("unknown strategy; leave it out for the usual one")
    return strategy


def check_member_id(node_id: int) -> int:
    """Return ``node_id`` if a node may have it."""
    if not 0 < node_id < 1 << 63:
        raise BadRequest("a node's id is a whole number from 1 to 9223372036854775807")
    return node_id


def check_other(node_id: int, asked: int) -> None:
    """Refuse to remove the node that is asked: afterwards it could serve nobody, not even its
    answer would be sure to arrive."""
    if node_id == asked:
        raise Conflict(f"a node does not remove itself; ask another member to remove node {asked}")


def check_address(address: str) -> str:
    """Return ``address`` if it is "host:port"."""
    host, _, port = address.rpartition(":")
    plain = address.isascii() and address.isprintable() and " " not in address
    if not (host and plain and len(address) <= ADDRESS_BYTES_MAX and port.isdecimal()):
        raise BadRequest('write the address as {"address": "host:port"}')
    if port.startswith("0") or len(port) > 5 or int(port) > 65535:
        raise BadRequest("a port is a whole number from 1 to 65535")
    return address
