"""Messages of the WebSocket, drawn from its grammar: good ones, and such as are nearly good.

Whether one is good is what the AsyncAPI document says of it; so is what it may be answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache, partial
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import inspect

from uring.api.description.asyncapi import reply_name
from uring.api.description.commands import CONTROL, grammar
from uring.api.documents import load
from uring.api.fields import RID_MAX, RID_MIN
from uring.api.txn import OpBody
from uring.machines.limits import RING_SIZE_MAX

TEXTS = ("a", "b", "n1", "\u20ac", '"\\\n', "")
NUMBERS = (*range(-1, 10), 64, 0.5, 1.5, 1e5, -(1 << 63), (1 << 63) - 1)
JUNK: tuple[Any, ...] = (None, True, -1, 0, 1.5, 1 << 64, "", "a", "\x00:", [], [7], {}, {"a": 1})
"""In the place of something else it is mostly wrong."""
GRAMMAR = grammar()
ALONE = frozenset(("As", "Select", "Auth"))
"""What changes the conversation is not sent by As."""


# -- what the document says -----------------------------------------------------------------------


@cache
def document() -> dict[str, Any]:
    """Return the AsyncAPI document."""
    found: dict[str, Any] = json.loads(load("asyncapi.json"))
    return found


@cache
def validator(name: str) -> Draft202012Validator:
    """Return what checks a message of this name, closed: no field is unknown."""
    payload = document()["components"]["messages"][name]["payload"]
    shapes = document()["components"]["schemas"]
    closed = {
        each: {"additionalProperties": False, **shape} if "properties" in shape else shape
        for each, shape in shapes.items()
    }
    return Draft202012Validator({**payload, "components": {"schemas": closed}})


def errors(name: str, message: Any) -> list[str]:
    """Return what is wrong with a message of this name."""
    return [error.message for error in validator(name).iter_errors(message)]


def named(protocol: str, message: Any) -> str | None:
    """Return how the document calls a message to who has selected ``protocol``."""
    if not isinstance(message, dict) or len(message) != 1:
        return None
    (name,) = message
    for each in (CONTROL, protocol):
        if name in GRAMMAR.get(each, ()):
            return f"{each}.{name}"
    return None


def understood(protocol: str, message: Any) -> str | None:
    """Return how the reply to a message is called; None if the message is not good."""
    name = named(protocol, message)
    if name is None or not validator(name).is_valid(message):
        return None
    if name == f"{CONTROL}.As":
        cmd = message["As"]["cmd"]
        alone = isinstance(cmd, dict) and not ALONE.isdisjoint(cmd)
        return None if alone else understood(message["As"]["protocol"], cmd)
    return reply_name(*name.split("."))


def rid_in(message: Any) -> int | None:
    """Return the rid by which a message is answered, good or not."""
    inner = _only(message)
    if isinstance(inner, dict) and "As" in message:
        inner = _only(inner.get("cmd"))
    rid = inner.get("rid") if isinstance(inner, dict) else None
    return rid if type(rid) is int and RID_MIN <= rid <= RID_MAX else None


def _only(message: Any) -> Any:
    return next(iter(message.values())) if isinstance(message, dict) and len(message) == 1 else None


# -- good ones ------------------------------------------------------------------------------------


@cache
def commands(protocol: str) -> st.SearchStrategy[Any]:
    """Return what draws the commands of a protocol, without their rid."""
    return st.one_of([command(protocol, name) for name in GRAMMAR[protocol]])


@cache
def command(protocol: str, name: str) -> st.SearchStrategy[Any]:
    """Return what draws one command, without its rid."""

    def good(fields: dict[str, Any]) -> bool:
        # What lies between two fields no type says.
        return understood(protocol, {name: {"rid": 0, **fields}}) is not None

    fields = _drawn(inspect.type_info(GRAMMAR[protocol][name]), ("rid",))
    return fields.filter(good).map(partial(_alone, name))


def _drawn(kind: Any, without: tuple[str, ...] = ()) -> st.SearchStrategy[Any]:
    """Return what draws values of a type, as JSON has them."""
    if isinstance(kind, inspect.Metadata):
        schema = dict(kind.extra_json_schema or {})
        inner = kind.type
        return _scalars(inner, schema) if not isinstance(inner, inspect.ListType) else _drawn(inner)
    if isinstance(kind, inspect.StructType):
        if kind.cls is OpBody:
            return st.one_of(
                [_drawn(each.type).map(partial(_alone, each.encode_name)) for each in kind.fields]
            )
        fields = [field for field in kind.fields if field.encode_name not in without]
        return st.fixed_dictionaries(
            {each.encode_name: _drawn(each.type) for each in fields if each.required},
            optional={each.encode_name: _drawn(each.type) for each in fields if not each.required},
        )
    if isinstance(kind, inspect.UnionType):
        return st.one_of(list(map(_drawn, kind.types)))
    if isinstance(kind, inspect.ListType):
        return st.lists(_drawn(kind.item_type), max_size=3)
    if isinstance(kind, inspect.DictType):
        return st.dictionaries(_drawn(kind.key_type), _drawn(kind.value_type), max_size=2)
    return _scalars(kind, {})


def _alone(name: str, value: Any) -> dict[str, Any]:
    return {name: value}


def _scalars(kind: Any, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return what draws numbers, texts and the like within the bounds of ``schema``."""
    if isinstance(kind, inspect.BoolType):
        return st.booleans()
    if isinstance(kind, inspect.NoneType):
        return st.none()
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True).filter(_check(schema))
    pool: tuple[Any, ...] = schema.get("enum", TEXTS)
    if not isinstance(kind, inspect.StrType):
        bounds = [schema[name] for name in ("minimum", "maximum") if name in schema]
        # A ring of that size would take its time.
        pool = (*NUMBERS, *(each for each in bounds if each != RING_SIZE_MAX))
        if isinstance(kind, inspect.IntType):
            pool = tuple(each for each in pool if isinstance(each, int))
    return st.sampled_from(list(filter(_check(schema), pool)))


def _check(schema: dict[str, Any]) -> Any:
    return Draft202012Validator(schema).is_valid


# -- nearly good ones -----------------------------------------------------------------------------


@st.composite
def spoiled(draw: st.DrawFn, message: Any) -> Any:
    """Return ``message`` with one thing changed, anywhere in it; it may be good all the same."""
    message = json.loads(json.dumps(message))
    places = list(_places(message))
    holder, place = draw(st.sampled_from(places))
    how = draw(st.sampled_from(("leave out", "replace", "add", "rename")))
    if how == "replace":
        holder[place] = draw(st.sampled_from(JUNK))
    elif how == "leave out":
        del holder[place]
    elif isinstance(holder, list):
        holder.append(draw(st.sampled_from(JUNK)))
    elif how == "add":
        holder["more"] = draw(st.sampled_from(JUNK))
    else:
        holder[draw(st.sampled_from(("Get", "GetNodes", "key", "x")))] = holder.pop(place)
    return message


def _places(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return every field and element within ``value``, by what holds it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for place, each in pairs:
        yield value, place
        if isinstance(each, dict | list):
            yield from _places(each)


def spelled(message: Any, ascii_only: bool) -> bytes:
    """Return the message as it is sent; how it is spelled decides which decoder looks at it."""
    return json.dumps(message, ensure_ascii=ascii_only).encode()
