"""Tokens in the machine: added and removed, and never left without an admin."""

from __future__ import annotations

from tests.machines.test_txn import TxnTestCase
from uring.machines import tokens
from uring.machines.commands import (
    AddToken,
    GetTokens,
    Invalid,
    Put,
    RecoverToken,
    RemoveToken,
    Token,
    TokenGone,
)
from uring.machines.limits import KEY_BYTES_MAX, TOKEN_NAME_BYTES_MAX, TOKEN_PREFIXES_MAX
from uring.machines.ring.commands import Refused
from uring.machines.turn import Turn

A, B, C = "a" * 16, "b" * 16, "c" * 16
DIGEST = bytes(range(32))


def adding(name: str, role: str, by: str = "", *prefixes: str) -> AddToken:
    return AddToken(name, DIGEST, role, prefixes, "n", by)


class TokenTests(TxnTestCase):
    def ids(self) -> list[str]:
        return [token.id for token in self.machines.query(self.state, GetTokens())]

    def refused(self, command: AddToken | RemoveToken, kind: str = "conflict") -> str:
        before = tokens.every(self.state)
        result = self.one(command)
        assert isinstance(result, Refused), result
        self.assertEqual(result.kind, kind)
        self.assertEqual(tokens.every(self.state), before)
        return result.reason

    def test_added(self) -> None:
        """A token is as it was made; its time is the revision that it found, which stays."""
        self.apply(Put("k", "1"))
        made = self.apply(adding(A, "admin"))
        token = Token(A, DIGEST, "admin", (), "n", 1)
        self.assertEqual((made.results, made.tokens, made.events), ([token], True, []))
        self.one(adding(B, "write", A, "p/", "ü/"))
        self.assertEqual(
            self.machines.query(self.state, GetTokens()),
            [token, Token(B, DIGEST, "write", ("p/", "ü/"), "n", 1)],
        )
        self.assertEqual(self.machines.revision(self.state), 1)
        self.assertFalse(self.apply(Put("k", "2")).tokens)

    def test_the_first_is_an_admin(self) -> None:
        """Without an admin nobody could make or remove tokens any more."""
        for role in ("read", "write"):
            self.assertIn("admin", self.refused(adding(A, role)))
        self.assertEqual(self.ids(), [])

    def test_recovered(self) -> None:
        """An admin's token is added whatever there is, once; another one's id is not taken."""
        self.one(adding(A, "admin"))
        self.one(adding(B, "read", A))
        made = self.apply(RecoverToken(C, DIGEST))
        token = Token(C, DIGEST, "admin", (), "recovered", 0)
        self.assertEqual((made.results, made.tokens), ([token], True))
        again = self.apply(RecoverToken(C, DIGEST))
        self.assertEqual((again.results, again.tokens), ([token], False))
        for name, digest in ((C, bytes(32)), (B, DIGEST)):
            self.assertIsInstance(self.one(RecoverToken(name, digest)), Refused)
        for name, digest in (("x", DIGEST), (C, b"short")):
            self.assertIsInstance(self.one(RecoverToken(name, digest)), Invalid)
        self.assertEqual(self.ids(), [A, B, C])

    def test_recovered_without_any(self) -> None:
        """Where there is no token, it is the first."""
        self.assertIsInstance(self.one(RecoverToken(A, DIGEST)), Token)
        self.assertIn("have changed", self.refused(adding(B, "admin")))

    def test_the_last_admin(self) -> None:
        """The last admin stays as long as there are others, and may go as the last of all."""
        self.apply(adding(A, "admin"), adding(B, "read", A))
        self.assertIn("last", self.refused(RemoveToken(A, A)))
        self.assertEqual(self.one(RemoveToken(B, A)), TokenGone(B))
        self.assertEqual(self.one(RemoveToken(A, A)), TokenGone(A))
        self.assertEqual(self.ids(), [])
        self.apply(adding(A, "admin"), adding(B, "admin", A))
        self.assertEqual(self.one(RemoveToken(A, A)), TokenGone(A))

    def test_who_asks(self) -> None:
        """A node that does not know the newest tokens lets nobody change them who may not."""
        self.apply(adding(A, "admin"), adding(B, "write", A))
        for by in ("", B, C):
            self.refused(adding(C, "admin", by))
            self.refused(RemoveToken(B, by))
        self.assertEqual(self.ids(), [A, B])

    def test_unknown_and_twice(self) -> None:
        """What does not exist cannot be removed, and an id is given once."""
        self.refused(RemoveToken(A), "unknown")
        self.apply(adding(A, "admin"))
        self.refused(RemoveToken(B, A), "unknown")
        self.refused(adding(A, "read", A))

    def test_bounds(self) -> None:
        """What no door would send is refused, and changes nothing."""
        bad = [
            AddToken("", DIGEST, "admin", (), ""),
            AddToken("A" * 16, DIGEST, "admin", (), ""),
            AddToken("a" * 17, DIGEST, "admin", (), ""),
            AddToken("a" * 16 + "\n", DIGEST, "admin", (), ""),
            AddToken(A, DIGEST[1:], "admin", (), ""),
            AddToken(A, DIGEST, "root", (), ""),
            AddToken(A, DIGEST, "admin", ("p/",), ""),
            AddToken(A, DIGEST, "read", ("",), ""),
            AddToken(A, DIGEST, "read", ("x" * (KEY_BYTES_MAX + 1),), ""),
            AddToken(A, DIGEST, "read", ("x",) * (TOKEN_PREFIXES_MAX + 1), ""),
            AddToken(A, DIGEST, "admin", (), "x" * (TOKEN_NAME_BYTES_MAX + 1)),
        ]
        for command in bad:
            self.assertIsInstance(self.one(command), Invalid, command)
        self.assertEqual(self.ids(), [])
        self.patch(tokens, "TOKENS_MAX", 1)
        self.apply(adding(A, "admin"))
        self.assertIn("already", self.refused(adding(B, "read", A)))

    def test_text_that_is_no_text(self) -> None:
        """Half a surrogate is refused without an exception."""
        for command in (
            AddToken(A, DIGEST, "read", ("\ud800",), ""),
            AddToken(A, DIGEST, "admin", (), "\ud800"),
        ):
            self.assertIsInstance(tokens.add(self.state, command, Turn(0)), Invalid)
