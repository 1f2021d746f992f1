"""What each command of the WebSocket is answered with, and an example of it.

The commands themselves and their fields are those of :data:`uring.api.messages.PROTOCOLS`.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from msgspec import UnsetType
from msgspec.structs import fields

from uring.api.description import answers
from uring.api.messages import PROTOCOLS, Control
from uring.api.txn import Base64

CONTROL = "Control"
"""The protocol of what is understood at any time."""

NULL: dict[str, Any] = {"type": "null"}
_VALUE: dict[str, Any] = {"anyOf": [{"type": "string"}, Base64]}
_OLD: dict[str, Any] = {"anyOf": [{"type": "string"}, Base64, NULL]}
_RING: dict[str, Any] = {"type": "array", "items": answers.RingNode}
_NODES: dict[str, Any] = {"anyOf": [_RING, answers.RingRanges]}
_SIZE: dict[str, Any] = {"type": "integer", "minimum": 1}
_SET: dict[str, Any] = {"const": "set"}
_TEXT: dict[str, Any] = {"type": "string"}
_MEMBERS: dict[str, Any] = {"type": "array", "items": answers.Member}
_PLAN: dict[str, Any] = {"revision": 1, "digest": "", "add": ["n1"]}
_JOIN: dict[str, Any] = {"node": "n1", "instance": "first", "address": "127.0.0.1:9001"}


@frozen
class Command:
    """One command: fields for an example, and the data of its replies by their code."""

    example: dict[str, Any]
    replies: dict[int, Any]


def _lease(**fields: Any) -> Command:
    return Command({"lease": 1, **fields}, {200: answers.Lease, 404: NULL})


_STATUS = Command({}, {200: answers.Status})
_VERSION = Command({}, {200: _TEXT})
_LOST: dict[int, Any] = {200: answers.Handoff}

COMMANDS: dict[str, dict[str, Command]] = {
    CONTROL: {
        "Auth": Command({"token": "id.secret"}, {200: {"anyOf": [answers.Token, NULL]}}),
        "Status": _STATUS,
        "Version": _VERSION,
    },
    "KV": {
        "Get": Command({"key": "beep"}, {200: _VALUE, 404: NULL}),
        "Put": Command({"key": "beep", "store": "boop"}, {201: _OLD}),
        "Delete": Command({"key": "beep"}, {200: _VALUE, 404: NULL}),
        "Cas": Command({"key": "beep", "check": None, "store": "boop"}, {201: _SET, 409: _OLD}),
        "Look": Command({"key": "beep"}, {200: answers.Found, 404: NULL}),
        "List": Command({"prefix": "b", "limit": 10}, {200: answers.Page}),
        "Txn": Command(
            {
                "compare": [{"key": "a", "target": "revision", "op": "=", "to": 0}],
                "then": [{"Put": {"key": "a", "store": "b"}}],
                "else": [{"Get": {"key": "a"}}],
            },
            {200: answers.TxnResult},
        ),
        "Grant": Command({"ttl": 60}, {200: answers.Lease}),
        "KeepAlive": _lease(),
        "Revoke": _lease(),
        "Lease": Command({"lease": 1}, {200: answers.LeaseKeys, 404: NULL}),
    },
    "MRing": {
        "GetSize": Command({}, {200: _SIZE, 404: NULL}),
        "SetSize": Command({"size": 64}, {200: _SIZE, 409: _SIZE}),
        "GetNodes": Command({"format": "ranges"}, {200: _NODES}),
        "AddNode": Command({"node": "n1"}, {200: _RING}),
        "RemoveNode": Command({"node": "n1"}, {200: _RING}),
        "Plan": Command({"add": ["n1"]}, {200: answers.Plan}),
        "Commit": Command({"plan": _PLAN}, {200: _RING}),
        "GetVnode": Command({"vnode": 0}, {200: answers.Vnode}),
        "GetHandoffs": Command({}, {200: answers.Handoffs}),
        "Limit": Command({"per_node": 4, "in_all": 64}, {200: answers.HandoffLimits}),
        "Abandon": Command({"node": "n1"}, {200: answers.AbandonedVnodes}),
        "Join": Command(_JOIN, {200: answers.RingLease}),
        "Renew": _lease(),
        "BeginHandoff": Command({"vnode": 0, "lease": 1}, _LOST),
        "FinishHandoff": Command({"vnode": 0, "lease": 1, "began": 1}, _LOST),
        "CancelHandoff": Command({"vnode": 0, "lease": 1, "began": 1}, _LOST),
    },
    "URing": {
        "GetNodes": Command({}, {200: _MEMBERS}),
        "Members": Command({}, {200: _MEMBERS}),
        "GetNode": Command({"id": 1}, {200: answers.Member, 404: NULL}),
        "AddNode": Command(
            {"id": 2, "address": "127.0.0.1:8082"},
            {200: answers.MemberName, 202: answers.Learner},
        ),
        "RemoveNode": Command({"id": 2}, {200: answers.MemberName}),
        "TransferLeader": Command({"id": 1}, {200: answers.MemberName}),
    },
    "Status": {"Get": _STATUS},
    "Version": {"Get": _VERSION},
}
"""What is answered by a reply, by protocol and name.  Any of it may be refused."""

CONVERSATION: dict[str, dict[str, Any]] = {
    "Select": {"rid": 1, "protocol": "KV"},
    "As": {"protocol": "MRing", "cmd": {"GetSize": {"rid": 1}}},
    "Subscribe": {"rid": 1, "channel": "kv", "prefix": "a/", "from": 1},
    "Unsubscribe": {"rid": 1, "channel": "kv"},
}
"""Control messages that are answered otherwise, each with an example."""


def grammar() -> dict[str, dict[str, Any]]:
    """Return the type of the fields of every command, by protocol and name."""
    found = {CONTROL: dict(Control.__annotations__)}
    for protocol, shape in PROTOCOLS.items():
        own = [name for name in shape.__struct_fields__ if name not in Control.__struct_fields__]
        found[protocol] = dict.fromkeys(own)
    shapes: dict[str, Any] = {CONTROL: Control, **PROTOCOLS}
    return {
        protocol: {name: _fields_of(shapes[protocol], name) for name in names}
        for protocol, names in found.items()
    }


def _fields_of(shape: Any, name: str) -> Any:
    for field in fields(shape):
        if field.name == name:
            (fields_of,) = (each for each in field.type.__args__ if each is not UnsetType)
            return fields_of
    raise KeyError(name)
