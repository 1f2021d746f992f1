"""What operations of the OpenAPI document are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from attrs import field, frozen

from uring.api import fields
from uring.api.dashboard import ASSETS
from uring.api.description.schemas import Schema
from uring.machines.limits import ONCE_KEY_BYTES_MAX

JSON, PROBLEM, TEXT, BYTES = (
    "application/json",
    "application/problem+json",
    "text/plain",
    "application/octet-stream",
)
Method: TypeAlias = Literal["get", "post", "put", "delete"]


@frozen
class Parameter:
    """Something of the path, the query or the headers."""

    name: str
    place: Literal["path", "query", "header"]
    schema: Schema
    description: str = ""
    more: Mapping[str, Any] = field(factory=dict)

    def shown(self) -> Schema:
        """Return it as OpenAPI spells it."""
        shown: Schema = {"name": self.name, "in": self.place, **self.more}
        if self.place == "path":
            shown["required"] = True
        # What a field's type says of itself is said of the parameter.
        schema = dict(self.schema)
        description = self.description or schema.pop("description", "")
        if description:
            shown["description"] = description
        shown["schema"] = schema
        return shown


def of(annotated: Any, **more: Any) -> Schema:
    """Return the schema of a type of :mod:`uring.api.fields`."""
    return {**msgspec.json.schema(annotated), **more}


@frozen
class Body:
    """The body of a request: bytes, or JSON of this shape."""

    shape: Any = bytes
    required: bool = True
    examples: tuple[Any, ...] = ()


@frozen
class Answer:
    """One status of an operation.

    ``shapes`` are by media type: a struct, a schema, or nothing of which more could be said.
    """

    text: str
    shapes: Mapping[str, Any] = field(factory=dict)
    headers: tuple[str, ...] = ()


def json_of(text: str, shape: Any, *headers: str) -> Answer:
    """Return an answer in JSON."""
    return Answer(text, {JSON: shape}, headers)


def problem_of(text: str, shape: Any = None, *headers: str) -> Answer:
    """Return a refusal; of the usual shape where none is given."""
    return Answer(text, {PROBLEM: shape}, headers)


@frozen
class Operation:
    """What one method does at one path."""

    summary: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    kinds: tuple[str, ...] = ()
    """Groups of refusals that it shares with others; see :data:`uring.api.description.refusals`."""
    conditions: tuple[str, ...] = ()
    """Headers by which it depends on what is there, of :data:`CONDITIONS`."""
    links: Mapping[str, Any] = field(factory=dict)
    public: bool = False
    """Whether it needs no token although it may be refused for a wrong one."""


# -- parameters -----------------------------------------------------------------------------------

PATH_TEXT: Schema = {"type": "string", "pattern": fields.PATH_TEXT}
FLAG: Schema = {"type": "boolean", "default": False}

KEY = Parameter(
    "key",
    "path",
    PATH_TEXT,
    "1 to 4096 bytes of UTF-8 without control characters; escape slashes (%2F)",
)
MEMBER = Parameter("id", "path", of(fields.MemberId))
LEASE = Parameter("id", "path", of(fields.Lease, minimum=1))
TOKEN = Parameter("id", "path", PATH_TEXT, "the first part of a token, before the dot")
ASSET = Parameter("name", "path", {"enum": sorted(ASSETS)})
VNODE = Parameter("vnode", "path", of(fields.Vnode))
NAME = Parameter("name", "path", of(fields.PathName))

CONSISTENCY = Parameter("consistency", "query", of(fields.Consistency, default="linearizable"))
RAW = Parameter("raw", "query", FLAG, "answer with the bytes of the value")
DETAIL = Parameter("detail", "query", FLAG, "tell the revisions and the lease, too")
LEASE_OF_KEY = Parameter(
    "lease", "query", of(fields.Lease, minimum=1), "the key goes when this lease ends"
)
PREFIX = Parameter("prefix", "query", of(fields.Prefix))
LIMIT = Parameter("limit", "query", of(fields.Count, default=100))
CURSOR = Parameter("cursor", "query", of(fields.Cursor))
FORCE = Parameter("force", "query", FLAG, "even if too few voters are left alive")
VERBOSE = Parameter("verbose", "query", {"type": "string"}, "given at all: show every check")
SOURCE = Parameter("source", "query", of(fields.Source))
HANDOFFS_START = Parameter("start", "query", of(fields.HandoffsStart, default=0))
HANDOFFS_COUNT = Parameter("count", "query", of(fields.HandoffsCount, default=100))
FORM = Parameter("format", "query", of(fields.Form, default="vnodes"))
NODES_START = Parameter("start", "query", of(fields.NodesStart, default=0))
NODES_COUNT = Parameter("count", "query", of(fields.NodesCount))
KNOWN = Parameter(
    "If-None-Match", "header", {"type": "string"}, "ETags of what the client has already, or *"
)
SEEN = Parameter(
    "Last-Event-ID",
    "header",
    of(fields.Revision),
    "the revision of the last event seen; goes before from and snapshot",
)

CONDITIONS: dict[str, Parameter] = {
    "IfMatch": Parameter(
        "If-Match",
        "header",
        {"type": "string", "pattern": '^(?:\\*|"[1-9][0-9]{0,18}")$'},
        "do it only if the key has the revision of this ETag; *: if it exists",
    ),
    "IfNoneMatch": Parameter(
        "If-None-Match", "header", {"const": "*"}, "*: do it only if the key does not exist"
    ),
    "IdempotencyKey": Parameter(
        "Idempotency-Key",
        "header",
        {"type": "string", "minLength": 1, "maxLength": ONCE_KEY_BYTES_MAX},
        "repeated under the same key the request is answered as before, and not done again",
    ),
}
"""Headers by which the same request is served at one time and refused at another."""


def _watched(channel: str, **more: Schema) -> Schema:
    properties = {"channel": {"const": channel}, "progress": of(fields.Progress), **more}
    return {
        "type": "object",
        "properties": properties,
        "required": ["channel"],
        "additionalProperties": False,
    }


_FROM: Schema = of(fields.Revision, description="the first revision to be told")
_SNAPSHOT: Schema = {"const": "true", "description": "first what there is, then the changes"}

WATCH = Parameter(
    "watch",
    "query",
    {
        "anyOf": [
            _watched("kv", prefix=of(fields.Prefix)),
            _watched("kv", prefix=of(fields.Prefix), **{"from": _FROM}),
            _watched("kv", prefix=of(fields.Prefix), snapshot=_SNAPSHOT),
            _watched("mring"),
            _watched("mring", **{"from": _FROM}),
            _watched("mring", snapshot=_SNAPSHOT),
            _watched("uring"),
        ]
    },
    "what is watched, and from where on: each property is a parameter of its own, as in "
    "?channel=kv&prefix=a/&from=17",
    {"style": "form", "explode": True, "required": True},
)
