"""JSON Schemas of the documents: made from the structs that decode requests and spell answers.

What lies between two fields of a body no type can say; it stands here, by the name of the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, TypeAlias

import msgspec

from uring.machines.limits import REPLICAS_MAX, TXN_OPERATIONS_MAX

Schema: TypeAlias = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"


def reference(shape: type) -> Schema:
    """Return what refers to the schema of ``shape``."""
    return {"$ref": REFERENCE.format(name=shape.__name__)}


def components(shapes: Iterable[type]) -> dict[str, Schema]:
    """Return the schemas of ``shapes`` and of all that they hold, by their names."""
    _, found = msgspec.json.schema_components(shapes, ref_template=REFERENCE)
    for name, schema in found.items():
        # A struct without a docstring of its own must not show one that it inherits.
        if not schema.get("required", True):
            del schema["required"]
        if name in _RULES:
            found[name] = _RULES[name](schema)
    return found


def _one_field(schema: Schema) -> Schema:
    return {**schema, "minProperties": 1, "maxProperties": 1}


def _with(schema: Schema, required: Iterable[str] = (), **properties: Schema) -> Schema:
    """Return ``schema`` with more said of some properties, and more of them required."""
    found = deepcopy(schema)
    for name, more in properties.items():
        found["properties"][name].update(more)
    for name in required:
        found["properties"][name].pop("default", None)
    wanted = {*found.get("required", ()), *required}
    if wanted:
        found["required"] = sorted(wanted)
    return found


def _either(schema: Schema, *branches: Schema) -> Schema:
    """Return ``branches`` as alternatives, under the title and description of ``schema``."""
    for branch in branches:
        branch.pop("title", None)
        branch.pop("description", None)
    about: Schema = {name: schema[name] for name in ("title", "description") if name in schema}
    return {**about, "anyOf": list(branches)}


def _compare(schema: Schema) -> Schema:
    text, number, base64 = schema["properties"]["to"]["anyOf"]
    numbers, values = deepcopy(schema), deepcopy(schema)
    numbers["properties"]["to"] = number
    numbers["properties"]["target"]["enum"] = ["revision", "created", "lease"]
    values["properties"]["to"] = {"anyOf": [text, base64]}
    values["properties"]["target"]["enum"] = ["value"]
    return _either(schema, numbers, values)


def _transaction(schema: Schema) -> Schema:
    most = {"maxItems": TXN_OPERATIONS_MAX}
    bounded = _with(schema, compare=most, then=most, **{"else": most})
    return _either(
        schema,
        _with(bounded, ["then"], then={"minItems": 1}),
        _with(bounded, ["else"], **{"else": {"minItems": 1}}),
    )


def _size(schema: Schema) -> Schema:
    branches = [
        _with(schema, size={"minimum": replicas}, replicas={"maximum": replicas})
        for replicas in range(1, REPLICAS_MAX + 1)
    ]
    return _either(schema, *branches)


def _subscription(schema: Schema) -> Schema:
    """Say what :meth:`uring.watch.Hub.subscribe` and the doors refuse."""
    whole = {"from": {"const": None}, "snapshot": {"const": False}}
    rules = (
        ({"channel": {"const": "kv"}}, {"prefix": {"enum": [None, ""]}}),
        ({"from": {"const": None}}, {"snapshot": {"const": False}}),
        ({"channel": {"enum": ["kv", "mring"]}}, whole),
    )
    each: list[Schema] = [{"anyOf": [{"properties": one} for one in rule]} for rule in rules]
    named = {"required": ["rid"], "properties": {"rid": {"type": "integer"}}}
    return {**schema, "allOf": [*each, {"anyOf": [named, {"properties": whole}]}]}


def _token(schema: Schema) -> Schema:
    # The role admin is for everything.
    return _either(
        schema,
        _with(schema, role={"enum": ["read", "write"]}),
        _with(schema, role={"enum": ["admin"]}, prefixes={"maxItems": 0}),
    )


_RULES = {
    "OpBody": _one_field,
    "CompareBody": _compare,
    "TxnBody": _transaction,
    "TxnArgs": _transaction,
    "SizeArgs": _size,
    "SetSizeArgs": _size,
    "SubscribeArgs": _subscription,
    "TokenBody": _token,
}
