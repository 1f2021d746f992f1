"""Operations on the cluster and its nodes: state, members, tokens, watches, backups, documents."""

from __future__ import annotations

from typing import Any

from uring.api.description import answers, parts
from uring.api.description.parts import (
    BYTES,
    JSON,
    TEXT,
    Answer,
    Body,
    Operation,
    json_of,
    problem_of,
)
from uring.api.description.refusals import READ, TOKEN, WRITE
from uring.api.memberroutes import MemberBody
from uring.api.tokens import TokenBody

_MEMBERS = (TOKEN, READ, WRITE)
_TEXT: dict[str, Any] = {"type": "string"}
_NO_MEMBER = problem_of("It is no member.")
_CHECKED: dict[str, Any] = {TEXT: _TEXT}
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "event": {"enum": ["subscribed", "compacted", "snapshot", "progress", "ended"]},
        "id": {"type": "string", "pattern": "^[0-9]+$", "description": "a revision"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["data"],
}
_DOCUMENT: dict[str, Any] = {"type": "object"}


def _shown(summary: str, text: str, shape: Any, *kinds: str) -> dict[str, Operation]:
    return {"get": Operation(summary, {200: json_of(text, shape)}, kinds=kinds)}


def _served(summary: str, kind: str) -> dict[str, Operation]:
    return {"get": Operation(summary, {200: Answer("A part of the dashboard.", {kind: _TEXT})})}


_MEMBER = {
    "get": Operation(
        "Tell whether a node is a member",
        {200: json_of("It is one.", answers.Member), 404: _NO_MEMBER},
        (parts.MEMBER,),
        kinds=(TOKEN,),
    ),
    "post": Operation(
        "Add a member",
        {
            200: json_of("It is a voter, or was one.", answers.MemberName),
            202: json_of(
                "It is added as a learner, and becomes a voter by itself once it has caught up.",
                answers.Learner,
            ),
            409: problem_of("Its address is not known, or belongs to another member."),
        },
        (parts.MEMBER,),
        Body(MemberBody, required=False, examples=({"address": "127.0.0.1:8082"},)),
        _MEMBERS,
    ),
    "delete": Operation(
        "Remove a member",
        {
            200: json_of("It is removed.", answers.MemberName),
            404: _NO_MEMBER,
            409: problem_of(
                "It is the last voter, too few others are alive, or it is the node that was asked: "
                "ask another one."
            ),
        },
        (parts.MEMBER, parts.FORCE),
        kinds=_MEMBERS,
    ),
}
_TOKENS = {
    "get": Operation(
        "List tokens",
        {200: json_of("Them all.", {"type": "array", "items": answers.Token})},
        (parts.CONSISTENCY,),
        kinds=(TOKEN, READ),
    ),
    "post": Operation(
        "Make a token",
        {
            201: json_of("The token, shown this once.", answers.NewToken),
            409: problem_of("The first has to be an admin's, or there are too many."),
        },
        (),
        Body(TokenBody, examples=({"role": "admin", "name": "me"},)),
        _MEMBERS,
    ),
}
_TOKEN = {
    "get": Operation(
        "Look at a token",
        {
            200: json_of("The token.", answers.Token),
            404: problem_of("There is no such token."),
        },
        (parts.TOKEN, parts.CONSISTENCY),
        kinds=(TOKEN, READ),
    ),
    "delete": Operation(
        "Remove a token",
        {
            200: json_of("It is worth nothing from now on.", answers.TokenName),
            404: problem_of("There is no such token."),
            409: problem_of("It is the last admin's, and there are others."),
        },
        (parts.TOKEN,),
        kinds=_MEMBERS,
    ),
}

PATHS: dict[str, dict[str, Operation]] = {
    "/": {
        "get": Operation(
            "The dashboard for browsers, a few words for programs",
            {200: Answer("Either.", {JSON: answers.About, "text/html": _TEXT})},
        )
    },
    "/dashboard": _served("The dashboard", "text/html"),
    "/dashboard/{name}": {
        "get": Operation(
            "What the dashboard loads",
            {
                200: Answer("A part of it.", {"text/css": _TEXT, "text/javascript": _TEXT}),
                404: problem_of("It has no such part."),
            },
            (parts.ASSET,),
            kinds=(TOKEN,),
            public=True,
        )
    },
    "/openapi.json": _shown("This document", "OpenAPI 3.1.", _DOCUMENT),
    "/asyncapi.json": _shown("The same of the WebSocket", "AsyncAPI 3.0.", _DOCUMENT),
    "/version": _shown("The version of this node", "x.y.z", _TEXT),
    "/status": _shown("How this node is", "Its state.", answers.Status, TOKEN),
    "/cluster": _shown(
        "How all nodes are",
        "Every member with what it told of itself.",
        {"type": "array", "items": answers.Report},
        TOKEN,
    ),
    "/cluster/timeline": _shown(
        "What happened lately", "As this node saw it.", answers.Timeline, TOKEN
    ),
    "/disk/probe": {
        "post": Operation(
            "Measure some synced writes",
            {200: json_of("What they took.", answers.DiskProbe)},
            kinds=(TOKEN, READ),
        )
    },
    "/metrics": {
        "get": Operation(
            "Figures for Prometheus", {200: Answer("Figures.", _CHECKED)}, kinds=(TOKEN,)
        )
    },
    "/livez": {
        "get": Operation(
            "Is the process alive?", {200: Answer("It is.", _CHECKED)}, (parts.VERBOSE,)
        )
    },
    "/readyz": {
        "get": Operation(
            "Does the node serve?",
            {
                200: Answer("It does.", _CHECKED),
                503: Answer("A line for each check that failed.", _CHECKED),
            },
            (parts.VERBOSE,),
        )
    },
    "/node/{id}": _MEMBER,
    "/uring/{id}": _MEMBER,
    "/leader/{id}": {
        "post": Operation(
            "Make a member the leader",
            {
                200: json_of("It leads.", answers.NewLeader),
                404: problem_of("It is no voter."),
            },
            (parts.MEMBER,),
            kinds=_MEMBERS,
        )
    },
    "/backup": {
        "get": Operation(
            "The whole state as one file",
            {200: Answer("The file.", {BYTES: None}, ("Disposition",))},
            kinds=(TOKEN, READ),
        )
    },
    "/watch": {
        "get": Operation(
            "Watch changes, as server-sent events",
            {
                200: Answer(
                    "Events without an end: each change has its revision as id; others are named "
                    "subscribed, compacted, snapshot, progress, and ended.",
                    {"text/event-stream": _EVENT},
                )
            },
            (parts.WATCH, parts.SEEN),
            kinds=(TOKEN, READ),
        )
    },
    "/tokens": _TOKENS,
    "/tokens/{id}": _TOKEN,
}
