"""Tokens: who may do what, once there is any.

The machine keeps them and knows what must not happen to them; what a token allows is decided where
requests come in.  A token's secret is 256 bits of chance, made at the door and shown once.  Here is
only its SHA-256: a slow or salted hash would make guessing a password dear, but of 2**256 secrets
none can be guessed, and no two are equal.

Kept under ``t`` and the id: everything but the id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from uring.machines.base import Readable, Transaction
from uring.machines.commands import (
    AddToken,
    Invalid,
    RecoverToken,
    RemoveToken,
    Result,
    Token,
    TokenGone,
)
from uring.machines.limits import (
    KEY_BYTES_MAX,
    TOKEN_DIGEST_BYTES,
    TOKEN_NAME_BYTES_MAX,
    TOKEN_PREFIXES_MAX,
    TOKENS_MAX,
)
from uring.machines.ring.commands import Refused
from uring.machines.turn import Turn

ROLES = ("read", "write", "admin")
RECOVERED = "recovered"
"""The name of a token that was added in nobody's name."""
_PREFIX = b"t"
_ID = re.compile(r"[0-9a-f]{16}")
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[bytes, str, tuple[str, ...], str, int])


def every(state: Readable) -> list[Token]:
    """Return all tokens, in the order of their ids."""
    return [
        Token(key[len(_PREFIX) :].decode(), *_DECODER.decode(record))
        for key, record in state.iterate(_PREFIX)
    ]


def add(transaction: Transaction, command: AddToken, turn: Turn) -> Result:
    """Add a token: nobody's word will do for the first one, an admin's only for others."""
    why = _fault(command)
    if why:
        return Invalid(why)
    tokens = every(transaction)
    if len(tokens) >= TOKENS_MAX:
        return Refused("conflict", f"there are {TOKENS_MAX} tokens already; remove some")
    if any(token.id == command.id for token in tokens):
        return Refused("conflict", "there is a token of that id; try again")
    if not tokens and command.role != "admin":
        return Refused(
            "conflict",
            "the first token must have the role admin: without one nobody could make or remove "
            "tokens any more",
        )
    stale = _unentitled(tokens, command.by)
    if stale is not None:
        return stale
    record = (command.digest, command.role, command.prefixes, command.name, turn.revision)
    transaction.put(_PREFIX + command.id.encode(), _ENCODER.encode(record))
    turn.tokens = True
    return Token(command.id, *record)


def recover(transaction: Transaction, command: RecoverToken, turn: Turn) -> Result:
    """Add an admin's token whatever there is, unless it is there already."""
    why = _fault(AddToken(command.id, command.digest, "admin", (), ""))
    if why:
        return Invalid(why)
    for token in every(transaction):
        if token.id == command.id:
            same = (token.digest, token.role) == (command.digest, "admin")
            return token if same else Refused("conflict", "there is another token of that id")
    record = (command.digest, "admin", (), RECOVERED, turn.revision)
    transaction.put(_PREFIX + command.id.encode(), _ENCODER.encode(record))
    turn.tokens = True
    return Token(command.id, *record)


def is_id(text: str) -> bool:
    """Tell whether ``text`` can be the id of a token."""
    return _ID.fullmatch(text) is not None


def remove(transaction: Transaction, command: RemoveToken, turn: Turn) -> Result:
    """Remove a token, unless others would be left without an admin."""
    tokens = every(transaction)
    found = next((token for token in tokens if token.id == command.id), None)
    if found is None:
        return Refused("unknown", "there is no such token")
    stale = _unentitled(tokens, command.by)
    if stale is not None:
        return stale
    admins = [token for token in tokens if token.role == "admin"]
    if admins == [found] and len(tokens) > 1:
        return Refused(
            "conflict",
            "this is the last token with the role admin; remove all others first, or add another",
        )
    transaction.delete(_PREFIX + found.id.encode())
    turn.tokens = True
    return TokenGone(found.id)


def _unentitled(tokens: Sequence[Token], by: str) -> Refused | None:
    """Return why who asks may not: the node that let it may not have known the newest tokens."""
    if not tokens or any(token.id == by and token.role == "admin" for token in tokens):
        return None
    return Refused("conflict", "the tokens have changed meanwhile; ask with a token of role admin")


def _fault(command: AddToken) -> str:
    if not is_id(command.id):
        return "the id of a token has 16 hexadecimal digits"
    if len(command.digest) != TOKEN_DIGEST_BYTES:
        return f"the digest of a token has {TOKEN_DIGEST_BYTES} bytes"
    if command.role not in ROLES:
        return f"a role is one of {', '.join(ROLES)}"
    if command.role == "admin" and command.prefixes:
        return "the role admin is for everything: it has no prefixes"
    if len(command.prefixes) > TOKEN_PREFIXES_MAX:
        return f"a token has at most {TOKEN_PREFIXES_MAX} prefixes"
    try:
        sizes = [len(prefix.encode()) for prefix in command.prefixes]
        named = len(command.name.encode())
    except UnicodeEncodeError:
        return "text must be encodable as UTF-8"
    if not all(0 < size <= KEY_BYTES_MAX for size in sizes):
        return f"a prefix has 1 to {KEY_BYTES_MAX} bytes; leave prefixes out for all keys"
    if named > TOKEN_NAME_BYTES_MAX:
        return f"the name of a token has at most {TOKEN_NAME_BYTES_MAX} bytes"
    return ""
