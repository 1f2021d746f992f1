"""Operations on keys and values, transactions and leases."""

from __future__ import annotations

from typing import Any

from uring.api import keys, kvservices, txn
from uring.api.description import answers, parts
from uring.api.description.parts import BYTES, JSON, Answer, Body, Operation, json_of, problem_of
from uring.api.description.refusals import GROW, READ, TOKEN, WRITE

_READ = (TOKEN, READ)
_WRITE = (TOKEN, READ, WRITE)
_GROW = (TOKEN, READ, WRITE, GROW)
_WRITE_CONDITIONS = ("IfMatch", "IfNoneMatch", "IdempotencyKey")
_NO_KEY = problem_of("There is no such key.")
_NO_LEASE = problem_of("There is no such lease; its time may be over.")
_NO_LEASE_TO_HANG_ON = problem_of("The lease does not exist, or holds too many keys.")
_REUSED = problem_of("The Idempotency-Key was used for another request.")
_FAILED = problem_of(
    "A condition of the headers does not hold.", answers.ConditionProblem, "MaybeETag"
)

COMMANDS: list[Any] = [
    {"Put": {"key": "beep", "store": "boop"}},
    {"Get": {"key": "beep", "consistency": "stale"}},
    {"Cas": {"key": "beep", "check": "boop", "store": "bop"}},
    {"Look": {"key": "beep"}},
    {"List": {"prefix": "b", "limit": 10}},
    {"Txn": {"then": [{"Get": {"key": "beep"}}]}},
    {"Grant": {"ttl": 60}},
    {"Lease": {"lease": 1}},
    {"KeepAlive": {"lease": 1}},
    {"Revoke": {"lease": 1}},
    {"Delete": {"key": "beep"}},
]
_LIST = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1024,
    "items": {
        "description": "A command of the KV protocol of the WebSocket, without its rid "
        "(see /asyncapi.json). What is none is answered in its place by 400, and the others run.",
    },
}
_TXN = {
    "compare": [{"key": "a", "target": "revision", "op": "=", "to": 0}],
    "then": [{"Put": {"key": "a", "store": "b"}}, {"Get": {"key": "c"}}],
    "else": [{"Delete": {"key": "a"}}],
}


def _key(root: str) -> dict[str, Operation]:
    del root  # they differ in compare-and-swap alone
    return {
        "get": Operation(
            "Read a key",
            {
                200: Answer(
                    "What the key holds.",
                    {JSON: [answers.Entry, answers.Found], BYTES: None},
                    ("ETag",),
                ),
                304: Answer("The client has it already.", {}, ("ETag",)),
                404: _NO_KEY,
            },
            (parts.KEY, parts.CONSISTENCY, parts.RAW, parts.DETAIL, parts.KNOWN),
            kinds=_READ,
        ),
        "post": Operation(
            "Store a text",
            {
                201: json_of("It is stored.", answers.Stored, "MaybeETag"),
                409: _NO_LEASE_TO_HANG_ON,
                412: _FAILED,
                422: _REUSED,
            },
            (parts.KEY, parts.LEASE_OF_KEY),
            Body(keys.PutBody, examples=({"value": "boop"},)),
            _GROW,
            _WRITE_CONDITIONS,
        ),
        "put": Operation(
            "Store any bytes",
            {
                200: json_of("It is stored over an older value.", answers.Written, "ETag"),
                201: json_of("It is stored where nothing was.", answers.Written, "ETag"),
                409: _NO_LEASE_TO_HANG_ON,
                412: _FAILED,
                422: _REUSED,
            },
            (parts.KEY, parts.LEASE_OF_KEY),
            Body(required=False),
            _GROW,
            _WRITE_CONDITIONS,
        ),
        "delete": Operation(
            "Remove a key",
            {
                200: json_of("It is removed; what it held.", answers.Entry),
                404: _NO_KEY,
                412: _FAILED,
                422: _REUSED,
            },
            (parts.KEY,),
            kinds=_WRITE,
            conditions=_WRITE_CONDITIONS,
        ),
    }


def _swap(summary: str) -> dict[str, Operation]:
    return {
        "post": Operation(
            summary,
            {
                201: json_of("It is stored.", answers.Entry),
                409: problem_of("The key holds another value.", answers.SwapProblem),
                422: problem_of(
                    "The Idempotency-Key was used for another request.", answers.SwapProblem
                ),
            },
            (parts.KEY,),
            Body(keys.CasBody, examples=({"check": None, "store": "boop"},)),
            _GROW,
            ("IdempotencyKey",),
        )
    }


def _lease(summary: str, text: str, shape: type, *kinds: str) -> Operation:
    parameters = (parts.LEASE, parts.CONSISTENCY) if kinds == _READ else (parts.LEASE,)
    return Operation(summary, {200: json_of(text, shape), 404: _NO_LEASE}, parameters, kinds=kinds)


PATHS: dict[str, dict[str, Operation]] = {
    "/kv": {
        "get": Operation(
            "List keys, page by page",
            {200: json_of("Keys in the order of their bytes.", answers.Page)},
            (parts.PREFIX, parts.LIMIT, parts.CURSOR, parts.CONSISTENCY),
            kinds=_READ,
        ),
        "post": Operation(
            "Run a list of commands",
            {
                200: json_of(
                    "What came of each, in their order.",
                    {"type": "array", "items": answers.Outcome},
                )
            },
            (parts.CONSISTENCY,),
            Body(_LIST, examples=(COMMANDS,)),
            (TOKEN,),
        ),
    },
    "/kv/{key}": _key("kv"),
    "/kv/{key}/cas": _swap("Store a text if the key holds another one"),
    "/data/{key}": _key("data"),
    "/data/{key}/cas": _swap(
        "The same, more leniently: a missing key is created, a value that equals store will do"
    ),
    "/txn": {
        "post": Operation(
            "Compare, then do one thing or the other",
            {
                200: json_of("The branch that was taken, and what it found.", answers.TxnResult),
                409: _NO_LEASE_TO_HANG_ON,
                422: _REUSED,
            },
            (),
            Body(txn.TxnBody, examples=(_TXN,)),
            _GROW,
            ("IdempotencyKey",),
        )
    },
    "/lease": {
        "post": Operation(
            "Make a lease",
            {
                201: json_of("The lease.", answers.Lease),
                409: problem_of("There are too many leases; revoke some."),
            },
            (),
            Body(kvservices.GrantBody, examples=({"ttl": 60},)),
            _GROW,
            links={
                name: {"operationId": f"{name}LeaseId", "parameters": {"id": "$response.body#/id"}}
                for name in ("get", "post", "delete")
            },
        )
    },
    "/lease/{id}": {
        "get": _lease("Look at a lease", "The lease and its keys.", answers.LeaseKeys, *_READ),
        "post": _lease("Begin its time again", "The lease.", answers.Lease, *_WRITE),
        "delete": _lease("End a lease", "It is over, its keys are gone.", answers.Lease, *_WRITE),
    },
}
