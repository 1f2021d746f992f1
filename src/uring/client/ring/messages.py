"""What nodes of the ring say to each other: one JSON object a frame, each acknowledged.

    -> {"HandoffStart":{"src":"n1","vnode":4,"began":17}}      <- {"ack":"HandoffStart","next":0}
    -> {"HandoffData":{"vnode":4,"chunk":0,"data":"..."}}      <- {"ack":"HandoffData","chunk":0}
    -> {"HandoffFinish":{"vnode":4}}                           <- {"ack":"HandoffFinish"}

A frame is its length in four bytes, then the object; ``data`` is base64.  ``next`` is the first
chunk that is missing: a transfer that was cut off goes on there.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct, UnsetType

CHUNK_BYTES_MAX = 1024 * 1024
FRAME_BYTES_MAX = CHUNK_BYTES_MAX * 4 // 3 + 1024


class Start(Struct, forbid_unknown_fields=True):
    """``src`` begins to send ``vnode``, or goes on with it."""

    src: str
    vnode: int
    began: int


class Data(Struct, forbid_unknown_fields=True):
    """One chunk."""

    vnode: int
    chunk: int
    data: bytes


class Finish(Struct, forbid_unknown_fields=True):
    """There are no more chunks."""

    vnode: int


class Message(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one of these."""

    HandoffStart: Start | UnsetType = UNSET
    HandoffData: Data | UnsetType = UNSET
    HandoffFinish: Finish | UnsetType = UNSET


class Ack(Struct, omit_defaults=True):
    """The answer to one message; with an ``error`` it was not done."""

    ack: str
    next: int = 0
    chunk: int = 0
    error: str = ""


encode = msgspec.json.Encoder().encode
decode_message = msgspec.json.Decoder(Message).decode
decode_ack = msgspec.json.Decoder(Ack).decode
