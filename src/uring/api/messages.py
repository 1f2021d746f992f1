"""The grammar of the WebSocket: one object with one field, which names what is wanted.

``{"Put": {"rid": 2, "key": "snot", "store": "badger"}}``: each protocol has a class with one
optional field for each of its commands, so that one call decodes and checks a message.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from uring.api import fields, kvservices, ring
from uring.api.fields import RID_MAX, RID_MIN
from uring.errors import BadRequest
from uring.machines.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX


class _Args(Struct, forbid_unknown_fields=True, frozen=True):
    pass


class Rid(_Args, frozen=True):
    rid: fields.Rid


class SelectArgs(_Args, frozen=True):
    rid: fields.Rid
    protocol: fields.Protocol


class AsArgs(_Args, frozen=True):
    protocol: fields.Protocol
    cmd: Raw


class AuthArgs(_Args, frozen=True):
    rid: fields.Rid
    token: str


class SubscribeArgs(_Args, frozen=True):
    channel: fields.Channel
    rid: fields.Rid | None = None
    prefix: fields.Prefix | None = None
    start: fields.Revision | None = msgspec.field(name="from", default=None)
    snapshot: bool = False
    progress: fields.Progress = 10.0


class UnsubscribeArgs(_Args, frozen=True):
    channel: fields.Channel
    rid: fields.Rid | None = None
    prefix: fields.Prefix | None = None


class GetArgs(_Args, frozen=True):
    rid: fields.Rid
    key: fields.Key
    consistency: fields.Consistency = "linearizable"


class PutArgs(_Args, frozen=True):
    rid: fields.Rid
    key: fields.Key
    store: fields.Value


class DeleteArgs(_Args, frozen=True):
    rid: fields.Rid
    key: fields.Key


class CasArgs(_Args, frozen=True):
    rid: fields.Rid
    key: fields.Key
    store: fields.Value
    check: fields.Value | None = None


class MemberArgs(_Args, frozen=True):
    rid: fields.Rid
    id: fields.MemberId


class AddMemberArgs(_Args, frozen=True):
    rid: fields.Rid
    id: fields.MemberId
    address: fields.MemberAddress | None = None


class RemoveMemberArgs(_Args, frozen=True):
    rid: fields.Rid
    id: fields.MemberId
    force: bool = False


class Control(Struct, forbid_unknown_fields=True, frozen=True):
    """What works whatever protocol is selected."""

    Select: SelectArgs | UnsetType = UNSET
    As: AsArgs | UnsetType = UNSET
    Auth: AuthArgs | UnsetType = UNSET
    Subscribe: SubscribeArgs | UnsetType = UNSET
    Unsubscribe: UnsubscribeArgs | UnsetType = UNSET
    Status: Rid | UnsetType = UNSET
    Version: Rid | UnsetType = UNSET


def _with_rid(name: str, shape: type[Struct]) -> type[Struct]:
    return msgspec.defstruct(
        f"{name}Args",
        [("rid", fields.Rid)],
        bases=(shape,),
        kw_only=True,
        frozen=True,
        forbid_unknown_fields=True,
    )


def _protocol_of(name: str, base: type[Control], module: Any) -> type[Control]:
    """Return ``base`` with the commands that ``module`` has, each with a rid."""
    return cast(
        type[Control],
        msgspec.defstruct(
            name,
            [
                (command, _with_rid(command, shape) | UnsetType, UNSET)
                for command, (shape, _) in (*module.QUERIES.items(), *module.COMMANDS.items())
            ],
            bases=(base,),
            frozen=True,
            forbid_unknown_fields=True,
        ),
    )


class Keys(Control, forbid_unknown_fields=True, frozen=True):
    """Keys and values, as the first clients knew them."""

    Get: GetArgs | UnsetType = UNSET
    Put: PutArgs | UnsetType = UNSET
    Delete: DeleteArgs | UnsetType = UNSET
    Cas: CasArgs | UnsetType = UNSET


KV = _protocol_of("KV", Keys, kvservices)
MRing = _protocol_of("MRing", Control, ring)


class URing(Control, forbid_unknown_fields=True, frozen=True):
    """The members of the cluster."""

    GetNodes: Rid | UnsetType = UNSET
    Members: Rid | UnsetType = UNSET
    GetNode: MemberArgs | UnsetType = UNSET
    AddNode: AddMemberArgs | UnsetType = UNSET
    RemoveNode: RemoveMemberArgs | UnsetType = UNSET
    TransferLeader: MemberArgs | UnsetType = UNSET


class Told(Control, forbid_unknown_fields=True, frozen=True):
    """The protocols Status and Version: Get answers what the control message of the name does."""

    Get: Rid | UnsetType = UNSET


# Lengths are in characters, of at most four bytes: what may be too long is looked at elsewhere.
_PlainKey = Annotated[str, Meta(min_length=1, max_length=KEY_BYTES_MAX // 4)]
_PlainValue = Annotated[str, Meta(max_length=VALUE_BYTES_MAX // 4)]


class PlainGet(_Args, frozen=True, gc=False):
    rid: int
    key: _PlainKey


class PlainPut(_Args, frozen=True, gc=False):
    rid: int
    key: _PlainKey
    store: _PlainValue


class Plain(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """The two commands that there are most of, alone: decoded in half the time of KV."""

    Get: PlainGet | UnsetType = UNSET
    Put: PlainPut | UnsetType = UNSET


PlainArgs: TypeAlias = PlainGet | PlainPut


PROTOCOLS: dict[str, type[Control]] = {
    "KV": KV,
    "MRing": MRing,
    "URing": URing,
    "Status": Told,
    "Version": Told,
}


def rid_of(value: Any) -> int | None:
    """Return the request's id wherever it is, to name it even in an error."""
    for _ in range(4):
        if not isinstance(value, dict):
            return None
        rid = value.get("rid")
        if type(rid) is int and RID_MIN <= rid <= RID_MAX:
            return rid
        value = value.get("cmd") or (next(iter(value.values())) if len(value) == 1 else None)
    return None


def check_rid(args: Struct) -> None:
    """Refuse an id that does not fit in 64 bits."""
    rid = getattr(args, "rid", None)
    if rid is not None and not RID_MIN <= rid <= RID_MAX:
        raise BadRequest("rid must fit in 64 bits")
