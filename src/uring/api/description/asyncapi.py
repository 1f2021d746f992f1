"""The AsyncAPI document of the WebSocket: every message that comes in, every one that goes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uring.api.description import answers, events
from uring.api.description.commands import COMMANDS, CONTROL, CONVERSATION, Command, grammar
from uring.api.description.openapi import spelled, types_in
from uring.api.description.schemas import Schema, components, reference
from uring.api.fields import RID_MAX, RID_MIN

_DESCRIPTION = """\
One JSON object in each text message. A connection first selects a protocol (`Select`), whose
commands follow; control messages are understood at any time, and `As` runs one command of another
protocol. `rid` is the client's, and is only echoed; replies may come in another order than the
commands. Whatever is wrong with a message is answered by an `Error`, and the socket stays open.

An array of 1 to 1024 commands is answered by one array of replies, in the order of the commands.
What changes the conversation (Select, Auth, Subscribe, Unsubscribe) stands by itself."""

_RID: Schema = {"type": "integer", "minimum": RID_MIN, "maximum": RID_MAX}
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "rid": {"anyOf": [_RID, {"type": "null"}]},
        "code": {"type": "integer", "minimum": 400, "maximum": 599},
        "data": {"type": "null"},
        "error": reference(answers.ErrorDetail),
    },
    "required": ["rid", "code", "data", "error"],
    "additionalProperties": False,
}
_BATCH: Schema = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1024,
    "items": {"type": "object", "minProperties": 1, "maxProperties": 1},
}
_REPLIES: Schema = {
    "type": "array",
    "items": {"type": "object", "required": ["rid", "code", "data"]},
}
_CHANNEL = "#/channels/uring"


def document(version: str) -> Schema:
    """Return the document; ``version`` is that of the node."""
    incoming, outgoing = _incoming(), _outgoing()
    messages = {**incoming, **outgoing}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "uring",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "node": {
                "host": "127.0.0.1:8080",
                "protocol": "ws",
                "description": "Any node; wss where clients are served by TLS.",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {
            "uring": {
                "address": "/uring",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": _operations(incoming),
        "components": {
            "schemas": components(_shapes()),
            "messages": messages,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token, by the handshake or Auth; needed once there are any.",
                }
            },
        },
    }


def reply_name(protocol: str, name: str) -> str:
    """Return how the reply to a command is called."""
    return f"{protocol}.{name}.Reply"


def _message(name: str, payload: Schema, *examples: Any, summary: str = "") -> Schema:
    shown: Schema = {"name": name, "payload": payload}
    if summary:
        shown["summary"] = summary
    if examples:
        shown["examples"] = [{"payload": example} for example in examples]
    return shown


def _one(name: str, payload: Schema) -> Schema:
    """Return an object with one field, which says what it is."""
    return {
        "type": "object",
        "properties": {name: payload},
        "required": [name],
        "additionalProperties": False,
    }


def _incoming() -> dict[str, Schema]:
    found = {
        f"{protocol}.{name}": _message(
            name, _one(name, reference(shape)), {name: _example(protocol, name)}
        )
        for protocol, names in grammar().items()
        for name, shape in names.items()
    }
    batch = [{"Put": {"rid": 1, "key": "a", "store": "1"}}, {"Get": {"rid": 2, "key": "b"}}]
    found["Batch"] = _message("Batch", _BATCH, batch, summary="Commands, answered together")
    return found


def _example(protocol: str, name: str) -> dict[str, Any]:
    if protocol == CONTROL and name in CONVERSATION:
        return CONVERSATION[name]
    return {"rid": 1, **COMMANDS[protocol][name].example}


def _outgoing() -> dict[str, Schema]:
    found = {
        reply_name(protocol, name): _message("Reply", _reply(command))
        for protocol, names in COMMANDS.items()
        for name, command in names.items()
    }
    found["Selected"] = _message(
        "Selected", _one("Selected", reference(events.Selected)), summary="The protocol is selected"
    )
    found["Error"] = _message("Error", _ERROR, summary="A message is refused")
    found["Replies"] = _message("Replies", _REPLIES, summary="Replies to a Batch, in its order")
    for shape in events.MARKS:
        found[shape.__name__] = _message(
            shape.__name__, _one(shape.__name__, reference(shape)), summary=shape.__doc__ or ""
        )
    for channel, kinds in events.EVENTS.items():
        for kind, shape in kinds.items():
            payload = _told(channel, _one(kind, reference(shape)))
            found[f"{channel}.{kind}"] = _message("Msg", payload, summary=shape.__doc__ or "")
    return found


def _told(channel: str, event: Schema) -> Schema:
    about = {
        "type": "object",
        "properties": {
            "channel": {"const": channel},
            "revision": {"type": "integer", "minimum": 0},
            "msg": event,
        },
        "required": ["channel", "revision", "msg"],
        "additionalProperties": False,
    }
    return _one("Msg", about)


def _reply(command: Command) -> Schema:
    branches = [
        {
            "type": "object",
            "properties": {"rid": _RID, "code": {"const": code}, "data": spelled(data)},
            "required": ["rid", "code", "data"],
            "additionalProperties": False,
        }
        for code, data in command.replies.items()
    ]
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def _operations(incoming: Iterable[str]) -> dict[str, Schema]:
    told = [
        *(shape.__name__ for shape in events.MARKS),
        *(f"{channel}.{kind}" for channel, kinds in events.EVENTS.items() for kind in kinds),
    ]
    answered = {
        "Control.Select": ["Selected"],
        "Control.As": [],
        "Control.Subscribe": ["Subscribed"],
        "Control.Unsubscribe": ["Unsubscribed"],
        "Batch": ["Replies"],
    }
    return {
        name: {
            "action": "receive",
            "channel": {"$ref": _CHANNEL},
            "messages": [{"$ref": f"{_CHANNEL}/messages/{name}"}],
            "reply": {
                "channel": {"$ref": _CHANNEL},
                "messages": [
                    {"$ref": f"{_CHANNEL}/messages/{reply}"}
                    for reply in (*answered.get(name, [f"{name}.Reply"]), "Error")
                ],
            },
        }
        for name in incoming
    } | {
        "Told": {
            "action": "send",
            "summary": "What subscriptions tell",
            "channel": {"$ref": _CHANNEL},
            "messages": [{"$ref": f"{_CHANNEL}/messages/{name}"} for name in told],
        }
    }


def _shapes() -> list[type]:
    """Return every struct that a message mentions."""
    found: dict[type, None] = {answers.ErrorDetail: None, events.Selected: None}
    for names in grammar().values():
        found.update(dict.fromkeys(names.values()))
    for commands in COMMANDS.values():
        for command in commands.values():
            found.update(dict.fromkeys(types_in(list(command.replies.values()))))
    found.update(dict.fromkeys(events.MARKS))
    for kinds in events.EVENTS.values():
        found.update(dict.fromkeys(kinds.values()))
    return list(found)
