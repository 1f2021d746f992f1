"""The tokens as this node has applied them: what the doors ask before they let anybody in."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable

from attrs import define, field

from uring.machines.commands import Token

TOKEN_BYTES_MAX = 256
"""Ours have 60; of what is longer nothing is hashed."""


@define(eq=False)
class Access:
    """All tokens, in memory.  ``generation`` changes with them, so that others can keep what they
    worked out."""

    generation: int = 0
    on_change: list[Callable[[], None]] = field(factory=list)
    """Called after each change.  Must not raise."""
    _tokens: dict[str, Token] = field(factory=dict, init=False)

    @property
    def required(self) -> bool:
        """Whether there is any token, so that everybody needs one."""
        return bool(self._tokens)

    def replace(self, tokens: Iterable[Token]) -> None:
        """Take note of what tokens there are now."""
        found = {token.id: token for token in tokens}
        if found == self._tokens:
            return
        self._tokens = found
        self.generation += 1
        for call in self.on_change:
            call()

    def knows(self, token: Token) -> bool:
        """Tell whether ``token`` is still as it was."""
        return self._tokens.get(token.id) == token

    def find(self, text: str) -> Token | None:
        """Return the token that ``text`` ("id.secret") proves, None if it proves none."""
        if len(text) > TOKEN_BYTES_MAX or not text.isascii():
            return None
        name, _, secret = text.partition(".")
        token = self._tokens.get(name)
        if token is None or not hmac.compare_digest(digest(secret), token.digest):
            return None
        return token


def digest(secret: str) -> bytes:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()
