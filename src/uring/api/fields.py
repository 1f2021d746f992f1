"""Fields of requests: their types, and what the documents of the API say of them beside that.

msgspec checks the types alone.  The bounds are checked where a request is turned into a command, by
words that say what to do; they stand here for the documents, and the tests hold both together.
What is bounded in bytes of UTF-8 has no ``maxLength``: JSON Schema counts characters.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from uring.machines.limits import (
    ADDRESS_BYTES_MAX,
    HANDOFFS_MAX,
    INSTANCE_BYTES_MAX,
    KEY_BYTES_MAX,
    LEASE_TTL_MS_MAX,
    LEASE_TTL_MS_MIN,
    LIST_COUNT_MAX,
    NODE_NAME_BYTES_MAX,
    NODE_WEIGHT_MAX,
    REPLICAS_MAX,
    RING_NODES_MAX,
    RING_SIZE_MAX,
    TOKEN_NAME_BYTES_MAX,
    TOKEN_PREFIXES_MAX,
    VALUE_BYTES_MAX,
)

RID_MIN, RID_MAX = -(1 << 63), (1 << 64) - 1
_INT64_MAX = (1 << 63) - 1
_PORT = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
ADDRESS = f"^[!-~]+:{_PORT}$"
BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
PATH_TEXT = "^[^\\u0000-\\u001f\\u007f]+$"
"""What stands in a path; it holds no control characters."""
CURSOR = "^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?$"


def _said(description: str, **schema: Any) -> Meta:
    return Meta(description=description, extra_json_schema=schema)


def _whole(description: str, least: int, most: int) -> Meta:
    return _said(description, minimum=least, maximum=most)


def _short(most: int, text: str = "^[\\u0000-\\u007f]*$") -> list[dict[str, Any]]:
    """Return the rule of :func:`uring.api.decode.check_short`."""
    return [{"pattern": text, "maxLength": most}, {"maxLength": most // 4}]


Key: TypeAlias = Annotated[str, _said(f"1 to {KEY_BYTES_MAX} bytes of UTF-8", minLength=1)]
Value: TypeAlias = Annotated[str, _said(f"at most {VALUE_BYTES_MAX} bytes of UTF-8")]
Prefix: TypeAlias = Annotated[str, _said(f"at most {KEY_BYTES_MAX} bytes of UTF-8")]
Cursor: TypeAlias = Annotated[
    str, _said("where the page before ended, as it was answered; empty to begin", pattern=CURSOR)
]
Count: TypeAlias = Annotated[int, _whole("items on a page", 1, LIST_COUNT_MAX)]
Consistency: TypeAlias = Annotated[
    str,
    _said("stale: what this node knows, at once", enum=["linearizable", "stale"]),
]
Base64Text: TypeAlias = Annotated[
    str, _said(f"at most {VALUE_BYTES_MAX} bytes, as base64", pattern=BASE64)
]
Revision: TypeAlias = Annotated[int, _whole("the number of a change", 0, _INT64_MAX)]
Lease: TypeAlias = Annotated[int, _whole("the id of a lease, 0 for none", 0, _INT64_MAX)]
Seconds: TypeAlias = Annotated[
    float,
    _whole("seconds", LEASE_TTL_MS_MIN // 1000, LEASE_TTL_MS_MAX // 1000),
]
Compared: TypeAlias = Annotated[
    str,
    _said("what of the key is looked at", enum=["revision", "created", "lease", "value"]),
]
Number: TypeAlias = Annotated[
    int, _whole("to compare a revision, created or lease with", -(1 << 63), _INT64_MAX)
]
Operator: TypeAlias = Annotated[str, _said("how", enum=["=", "!=", "<", ">"])]

RingSize: TypeAlias = Annotated[int, _whole("vnodes", 1, RING_SIZE_MAX)]
Strategy: TypeAlias = Annotated[str, _said("how vnodes are placed", enum=["minimal", "continuous"])]
Replicas: TypeAlias = Annotated[
    int, _whole("copies of each vnode; no more than there are vnodes", 1, REPLICAS_MAX)
]
NodeName: TypeAlias = Annotated[
    str,
    _said(
        f"1 to {NODE_NAME_BYTES_MAX} characters of ASCII, or {NODE_NAME_BYTES_MAX // 4} of any",
        minLength=1,
        anyOf=_short(NODE_NAME_BYTES_MAX),
    ),
]
PathName: TypeAlias = Annotated[
    str,
    _said(
        "a name without control characters",
        pattern=PATH_TEXT,
        anyOf=_short(NODE_NAME_BYTES_MAX, "^[ -~]*$"),
    ),
]
Zone: TypeAlias = Annotated[
    str,
    _said(
        "where it stands; empty for nowhere",
        anyOf=_short(NODE_NAME_BYTES_MAX),
    ),
]
Weight: TypeAlias = Annotated[int, _whole("its share, relative to others", 1, NODE_WEIGHT_MAX)]
Form: TypeAlias = Annotated[
    str, _said("whether vnodes are listed one by one", enum=["vnodes", "ranges"])
]
Vnode: TypeAlias = Annotated[int, _whole("a vnode", 0, RING_SIZE_MAX - 1)]
NodesStart: TypeAlias = Annotated[int, _whole("the place of the first, from 0", 0, RING_NODES_MAX)]
NodesCount: TypeAlias = Annotated[int, _whole("how many at most", 1, RING_NODES_MAX)]
HandoffsStart: TypeAlias = Annotated[
    int, _whole("the first vnode to be looked at", 0, RING_SIZE_MAX)
]
HandoffsCount: TypeAlias = Annotated[int, _whole("how many at most", 1, 1000)]
HandoffLimit: TypeAlias = Annotated[int, _whole("hand-offs at a time", 1, HANDOFFS_MAX)]
Source: TypeAlias = Annotated[
    str,
    _said(
        "of this node alone; empty for all",
        anyOf=_short(NODE_NAME_BYTES_MAX),
    ),
]
Began: TypeAlias = Annotated[int, _whole("the number of the hand-off", 0, _INT64_MAX)]
Digest: TypeAlias = Annotated[
    str, _said("what would come of the plan, as it was answered", maxLength=64)
]
Instance: TypeAlias = Annotated[
    str, _said(f"which start of the node it is, 1 to {INSTANCE_BYTES_MAX} bytes", minLength=1)
]
RingAddress: TypeAlias = Annotated[
    str,
    _said(f"where it is reached, 1 to {ADDRESS_BYTES_MAX} bytes, for others to read", minLength=1),
]

MemberId: TypeAlias = Annotated[int, _whole("the id of a node", 1, _INT64_MAX)]
MemberAddress: TypeAlias = Annotated[
    str, _said("where it listens", pattern=ADDRESS, maxLength=ADDRESS_BYTES_MAX)
]
Role: TypeAlias = Annotated[str, _said("what it may do", enum=["read", "write", "admin"])]
TokenName: TypeAlias = Annotated[
    str,
    _said(
        "for people",
        anyOf=_short(TOKEN_NAME_BYTES_MAX),
    ),
]
TokenPrefixes: TypeAlias = Annotated[
    list[Annotated[str, _said(f"1 to {KEY_BYTES_MAX} bytes of UTF-8", minLength=1)]],
    _said("of the keys that it is for; none for all", maxItems=TOKEN_PREFIXES_MAX),
]

Rid: TypeAlias = Annotated[int, _whole("yours; only echoed", RID_MIN, RID_MAX)]
Channel: TypeAlias = Annotated[str, _said("what is told", enum=["kv", "mring", "uring"])]
Progress: TypeAlias = Annotated[
    float,
    _said(
        "seconds without an event after which a mark is sent, 0 for never",
        anyOf=[{"const": 0}, {"minimum": 1, "maximum": 3600}],
    ),
]
Protocol: TypeAlias = Annotated[
    str, _said("the grammar of what follows", enum=["KV", "MRing", "URing", "Status", "Version"])
]
