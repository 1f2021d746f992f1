"""The OpenAPI document of the REST surface, put together from operations and schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from uring.api.description import answers, clusterspace, keyspace, ringspace
from uring.api.description.parts import (
    BYTES,
    CONDITIONS,
    JSON,
    PROBLEM,
    Answer,
    Body,
    Operation,
)
from uring.api.description.refusals import EVERY, HEADER_NAMES, HEADERS, REFUSALS, TOKEN
from uring.api.description.schemas import Schema, components, reference

PATHS: dict[str, dict[str, Operation]] = {
    **clusterspace.PATHS,
    **keyspace.PATHS,
    **ringspace.PATHS,
}
"""Every path and method."""

_DESCRIPTION = """\
Every node serves this; any may be asked.

Bodies are JSON, whatever their Content-Type says. A request that a web page of another origin makes
is refused, unless its origin is allowed. Once there are tokens, every request but those without
security needs one. A refusal is a problem object (RFC 9457); where it was refused before anything
of it was understood, as with malformed headers, the answer is a bare 400.

What is bounded in bytes of UTF-8 has no maxLength here: that counts characters.

Some headers make the outcome of a request depend on what is there already: If-Match and
If-None-Match on writes (answered 412 when they do not hold), and Idempotency-Key (422 when it was
used for another request). An operation lists those that it takes as `x-conditions`, which refer to
`components/parameters`; they are no ordinary parameters, since no well-formed value of theirs is
sure to be accepted.

`GET /uring` with an upgrade opens the WebSocket, which /asyncapi.json describes."""

_TAGS = {
    "Keys and values": ("/kv", "/data", "/txn", "/lease"),
    "The ring": ("/mring",),
    "Watching": ("/watch",),
    "Tokens": ("/tokens",),
    "The cluster": ("/node", "/uring", "/leader", "/cluster", "/backup"),
    "The node": ("/", "/status", "/disk"),
}


def document(version: str) -> Schema:
    """Return the document; ``version`` is that of the node."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "uring",
            "version": version,
            "summary": "A key/value store and a managed ring of vnodes",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in _TAGS],
        "security": [{}, {"token": []}],
        "paths": {
            path: {
                method: _operation(path, method, operation) for method, operation in methods.items()
            }
            for path, methods in PATHS.items()
        },
        "components": {
            "schemas": components(_shapes()),
            "responses": {
                f"{kind.title()}{code}": _answer(answer)
                for kind, group in REFUSALS.items()
                for code, answer in group.items()
            },
            "parameters": {name: each.shown() for name, each in CONDITIONS.items()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token as POST /tokens showed it; needed once there are any.",
                }
            },
        },
    }


def statuses(operation: Operation) -> set[int]:
    """Return every status that an operation may be answered with."""
    shared = (code for kind in (EVERY, *operation.kinds) for code in REFUSALS[kind])
    return {*operation.answers, *shared}


def operation_id(path: str, method: str) -> str:
    """Return the name of an operation for generators of code."""
    words = path.replace(".", "/").replace("{", "").replace("}", "").split("/")
    return method + ("".join(word.capitalize() for word in words) or "Root")


def _operation(path: str, method: str, operation: Operation) -> Schema:
    shown: Schema = {
        "operationId": operation_id(path, method),
        "summary": operation.summary,
        "tags": [_tag(path)],
    }
    if operation.public or TOKEN not in operation.kinds:
        shown["security"] = []
    if operation.parameters:
        shown["parameters"] = [each.shown() for each in operation.parameters]
    if operation.conditions:
        shown["x-conditions"] = [
            {"$ref": f"#/components/parameters/{name}"} for name in operation.conditions
        ]
    if operation.body is not None:
        shown["requestBody"] = _body(operation.body)
    found: dict[int, Schema] = {
        code: {"$ref": f"#/components/responses/{kind.title()}{code}"}
        for kind in (EVERY, *operation.kinds)
        for code in REFUSALS[kind]
    }
    found.update({code: _answer(answer) for code, answer in operation.answers.items()})
    if operation.links:
        first = min(operation.answers)  # that of success
        found[first] = {**found[first], "links": dict(operation.links)}
    shown["responses"] = {str(code): found[code] for code in sorted(found)}
    return shown


def _tag(path: str) -> str:
    for tag, prefixes in _TAGS.items():
        if any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes):
            return tag
    return "The node"


def _body(body: Body) -> Schema:
    if body.shape is bytes:
        return {"required": body.required, "content": {BYTES: {}}}
    media: Schema = {"schema": spelled(body.shape)}
    if body.examples:
        media["examples"] = {
            f"example{number}": {"value": example}
            for number, example in enumerate(body.examples, 1)
        }
    return {"required": body.required, "content": {JSON: media}}


def _answer(answer: Answer) -> Schema:
    shown: Schema = {"description": answer.text}
    if answer.headers:
        shown["headers"] = {HEADER_NAMES.get(name, name): HEADERS[name] for name in answer.headers}
    content = {kind: _media(kind, shape) for kind, shape in answer.shapes.items()}
    if content:
        shown["content"] = content
    return shown


def _media(kind: str, shape: Any) -> Schema:
    if shape is None and kind != PROBLEM:
        return {}
    return {"schema": spelled(answers.Problem if shape is None else shape)}


def spelled(shape: Any) -> Any:
    """Return the schema of a struct, of alternatives, or of what a schema spells with structs."""
    if isinstance(shape, type):
        return reference(shape)
    if isinstance(shape, list):
        return {"anyOf": [spelled(each) for each in shape]}
    if isinstance(shape, Mapping):
        return {name: _spelled(value) for name, value in shape.items()}
    return shape


def _spelled(value: Any) -> Any:
    """Return part of a schema; a list in it is no choice between shapes."""
    return [spelled(each) for each in value] if isinstance(value, list) else spelled(value)


def _shapes() -> list[type]:
    """Return every struct that the operations mention."""
    found: dict[type, None] = {answers.Problem: None}
    for methods in PATHS.values():
        for operation in methods.values():
            found.update(dict.fromkeys(types_in(operation.body.shape if operation.body else None)))
            for answer in operation.answers.values():
                found.update(dict.fromkeys(types_in(list(answer.shapes.values()))))
    return list(found)


def types_in(shape: Any) -> Iterator[type]:
    """Yield the structs that part of a schema is spelled with."""
    if isinstance(shape, type) and shape is not bytes:
        yield shape
    elif isinstance(shape, Mapping):
        for each in shape.values():
            yield from types_in(each)
    elif isinstance(shape, list):
        for each in shape:
            yield from types_in(each)
