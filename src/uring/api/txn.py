"""Transactions in JSON, the same over REST and WebSocket.

``{"compare": [{"key": "a", "target": "revision", "op": "=", "to": 17}],
"then": [{"Put": {"key": "a", "store": "b", "lease": 3}}, {"Get": {"key": "c"}}],
"else": [{"Delete": {"key": "a"}}]}``.  What is no text is ``{"base64": "..."}``.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as BadBase64

from msgspec import UNSET, Struct, UnsetType

from uring.api import decode, fields
from uring.errors import BadRequest
from uring.machines.commands import Compare, DeleteOp, GetOp, Op, PutOp, Txn
from uring.machines.limits import (
    LEASE_TTL_MS_MAX,
    LEASE_TTL_MS_MIN,
    TXN_OPERATIONS_MAX,
    VALUE_BYTES_MAX,
)

ELEMENTS_MAX = 3 * TXN_OPERATIONS_MAX
"""Comparisons and operations that one transaction may spell."""


class Base64(Struct, forbid_unknown_fields=True, frozen=True):
    base64: fields.Base64Text


class CompareBody(Struct, forbid_unknown_fields=True, frozen=True):
    key: fields.Key
    target: fields.Compared
    to: fields.Value | fields.Number | Base64
    op: fields.Operator = "="


class PutOpBody(Struct, forbid_unknown_fields=True, frozen=True):
    key: fields.Key
    store: fields.Value | Base64
    lease: fields.Lease = 0


class KeyBody(Struct, forbid_unknown_fields=True, frozen=True):
    key: fields.Key


class OpBody(Struct, forbid_unknown_fields=True, frozen=True):
    """One operation: exactly one of these fields."""

    Put: PutOpBody | UnsetType = UNSET
    Get: KeyBody | UnsetType = UNSET
    Delete: KeyBody | UnsetType = UNSET


class TxnBody(Struct, forbid_unknown_fields=True, frozen=True, rename={"otherwise": "else"}):
    compare: list[CompareBody] = []
    then: list[OpBody] = []
    otherwise: list[OpBody] = []


def command(body: TxnBody) -> Txn:
    """Return the transaction that ``body`` spells.  Raises BadRequest."""
    for part in (body.compare, body.then, body.otherwise):
        if len(part) > TXN_OPERATIONS_MAX:
            raise BadRequest(
                f"compare, then and else have at most {TXN_OPERATIONS_MAX} elements each"
            )
    if not (body.then or body.otherwise):
        raise BadRequest('say what to do: {"then": [{"Put": {"key": "a", "store": "b"}}]}')
    return Txn(
        [_compare(each) for each in body.compare],
        [_op(each) for each in body.then],
        [_op(each) for each in body.otherwise],
    )


def _compare(body: CompareBody) -> Compare:
    to = body.to
    operand = to if isinstance(to, int) else value_bytes(to)
    if isinstance(to, int) and not -(1 << 63) <= to < 1 << 63:
        raise BadRequest("a number to compare with must fit in 64 bits")
    return Compare(decode.check_key(body.key), body.target, body.op, operand)


def _op(body: OpBody) -> Op:
    given = [each for each in (body.Put, body.Get, body.Delete) if each is not UNSET]
    if len(given) != 1:
        raise BadRequest("an operation is one of Put, Get, Delete")
    if body.Get is not UNSET:
        return GetOp(decode.check_key(body.Get.key))
    if body.Delete is not UNSET:
        return DeleteOp(decode.check_key(body.Delete.key))
    assert body.Put is not UNSET
    put = body.Put
    return PutOp(decode.check_key(put.key), value_bytes(put.store), check_lease(put.lease))


def value_bytes(value: str | Base64) -> bytes:
    """Return the bytes of a value.  Raises BadRequest."""
    if isinstance(value, str):
        return decode.check_value(value).encode()
    try:
        found = b64decode(value.base64, validate=True)
    except (BadBase64, ValueError):
        raise BadRequest("base64 holds something that is not base64") from None
    if len(found) > VALUE_BYTES_MAX:
        raise BadRequest(f"a value must have at most {VALUE_BYTES_MAX} bytes")
    return found


def check_lease(lease: int) -> int:
    """Return ``lease`` if it may be the id of one, or 0 for none."""
    if not 0 <= lease < 1 << 63:
        raise BadRequest("lease is the id of one, as it was answered when it was made")
    return lease


def ttl_ms(seconds: float) -> int:
    """Return milliseconds.  Raises BadRequest."""
    least, most = LEASE_TTL_MS_MIN // 1000, LEASE_TTL_MS_MAX // 1000
    if not least <= seconds <= most:
        raise BadRequest(f"ttl is a number of seconds, from {least} to {most}")
    return round(seconds * 1000)
