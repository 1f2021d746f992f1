"""Transactions, idempotency keys, and lists of keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.machines.test_table import TableTestCase
from uring.machines.base import MemoryState
from uring.machines.commands import (
    Cas,
    Command,
    Compare,
    DeleteOp,
    Get,
    GetOp,
    Grant,
    Invalid,
    KeepAlive,
    List,
    Look,
    Old,
    Once,
    Op,
    Put,
    PutOp,
    Reused,
    Revoke,
    Swapped,
    Txn,
    TxnDone,
)
from uring.machines.events import KeyPut, numbered
from uring.machines.limits import (
    KEY_BYTES_MAX,
    ONCE_KEPT_MAX,
    TXN_OPERATIONS_MAX,
    VALUE_BYTES_MAX,
)
from uring.machines.proposal import Proposal, encode
from uring.machines.ring.commands import Refused
from uring.machines.table import Machines
from uring.machines.values import Found, text

TEXT = st.text(st.characters(codec="utf-8"), max_size=4)
LEASES = st.integers(0, 3) | st.integers(-(2**63), 2**64 - 1)
OPS = st.one_of(
    st.builds(PutOp, TEXT, st.binary(max_size=4), LEASES),
    st.builds(DeleteOp, TEXT),
    st.builds(GetOp, TEXT),
)
COMPARES = st.builds(
    Compare,
    TEXT,
    st.sampled_from(("revision", "created", "lease", "value")) | TEXT,
    st.sampled_from(("=", "!=", "<", ">")) | TEXT,
    st.integers(-(2**63), 2**64 - 1) | st.integers(0, 3) | st.binary(max_size=3),
)
TXNS = st.builds(
    Txn, st.lists(COMPARES, max_size=3), st.lists(OPS, max_size=3), st.lists(OPS, max_size=3)
)
ANY = st.one_of(
    TXNS,
    st.builds(Once, TEXT, TXNS | st.builds(Put, TEXT, TEXT)),
    st.builds(Grant, LEASES | st.just(1000)),
    st.builds(KeepAlive, LEASES),
    st.builds(Revoke, LEASES),
    st.builds(Put, TEXT, TEXT),
)


class TxnTestCase(TableTestCase):
    def one(self, command: Command) -> object:
        results = self.apply(command).results
        assert results is not None
        return results[0]


class TxnTests(TxnTestCase):
    def test_put_if_absent(self) -> None:
        """A comparison of the creation revision with 0 holds where the key does not exist."""
        absent = Txn([Compare("a", "created", "=", 0)], [PutOp("a", b"1")], [GetOp("a")])
        self.assertEqual(self.one(absent), TxnDone(True, 1, (None,)))
        self.assertEqual(self.one(absent), TxnDone(False, 1, (Found("a", b"1", 1, 1),)))

    def test_swap_by_revision(self) -> None:
        """A value is replaced if its revision is still the one that was read."""
        self.apply(Put("a", "1"), Put("b", "1"), Put("a", "2"))
        stale = Txn([Compare("a", "revision", "=", 1)], [PutOp("a", b"x")])
        self.assertEqual(self.one(stale), TxnDone(False, 3, ()))
        fresh = Txn([Compare("a", "revision", "=", 3)], [PutOp("a", b"3")])
        self.assertEqual(self.one(fresh), TxnDone(True, 4, (Found("a", b"2", 1, 3),)))
        self.assertEqual(self.machines.query(self.state, Look("a")), Found("a", b"3", 1, 4))

    def test_operations_see_each_other(self) -> None:
        """Operations run in order, and each change has a revision and an event of its own."""
        applied = self.apply(
            Txn([], [PutOp("a", b"1"), GetOp("a"), DeleteOp("a"), DeleteOp("a"), PutOp("b", b"2")])
        )
        seen = Found("a", b"1", 1, 1)
        self.assertEqual(applied.results, [TxnDone(True, 3, (None, seen, seen, None, None))])
        self.assertEqual(
            [
                (number, *event.spelled())
                for number, event in numbered(applied.before, applied.events)
            ],
            [(1, "Put"), (2, "Delete"), (3, "Put")],
        )

    def test_values_are_compared(self) -> None:
        """Values compare as bytes; a key that does not exist is unequal to every value."""
        self.apply(Put("a", "b"))
        for operator, operand, holds in (
            ("=", b"b", True),
            ("!=", b"b", False),
            ("<", b"c", True),
            (">", b"c", False),
        ):
            txn = Txn([Compare("a", "value", operator, operand)], [])
            self.assertEqual(self.one(txn), TxnDone(holds, 1, ()), operator)
        for operator in ("=", "<", ">"):
            self.assertEqual(
                self.one(Txn([Compare("x", "value", operator, b"")], [])), TxnDone(False, 1, ())
            )
        self.assertEqual(
            self.one(Txn([Compare("x", "value", "!=", b"")], [])), TxnDone(True, 1, ())
        )

    def test_invalid(self) -> None:
        """What cannot be done is refused as a whole, whichever branch it stands in."""
        put = PutOp("a", b"1")
        for txn in (
            Txn([], [put, PutOp("", b"")]),
            Txn([], [put], [PutOp("k" * (KEY_BYTES_MAX + 1), b"")]),
            Txn([], [put, PutOp("b", bytes(VALUE_BYTES_MAX + 1))]),
            Txn([Compare("a", "size", "=", 0)], [put]),
            Txn([Compare("a", "revision", "==", 0)], [put]),
            Txn([Compare("a", "revision", "=", b"0")], [put]),
            Txn([Compare("a", "value", "=", 0)], [put]),
            Txn([], [put] * (TXN_OPERATIONS_MAX + 1)),
        ):
            self.assertIsInstance(self.one(txn), Invalid, txn)
        for lease in (77, -1):
            self.assertIsInstance(self.one(Txn([], [put, PutOp("b", b"", lease)])), Refused)
        self.assertIsNone(self.machines.query(self.state, Get("a")))

    def test_bytes(self) -> None:
        """A value that is no UTF-8 is stored and shown as bytes, to old commands as well."""
        self.apply(Txn([], [PutOp("a", b"\xff")]))
        self.assertEqual(self.machines.query(self.state, Get("a")), b"\xff")
        applied = self.apply(Cas("a", "x", "y"), Put("a", "1"))
        self.assertEqual(applied.results, [Swapped(False, b"\xff"), Old(b"\xff")])
        self.assertEqual(applied.events[-1], KeyPut("a", "1", b"\xff"))

    @given(st.lists(OPS, max_size=6), TEXT, TEXT)
    def test_a_put_is_a_transaction(self, before: list[Op], key: str, value: str) -> None:
        """A Put leaves, answers and tells what a transaction with it alone does."""

        def outcome(command: Command) -> tuple[object, ...]:
            state, machines = MemoryState(), Machines()
            first = Proposal(1, 1, 1, 1, [Grant(1000), Txn([], before)])
            machines.apply(state, 1, encode(first))
            applied = machines.apply(state, 2, encode(Proposal(1, 1, 2, 2, [command])))
            assert applied.results is not None
            (result,) = applied.results
            if isinstance(result, TxnDone) and result.results:
                found = result.results[0]
                result = Old(None if found is None else text(found.value))
            return machines.digest(state), applied.events, applied.before, type(result), result

        plain = outcome(Put(key, value))
        whole = outcome(Txn([], [PutOp(key, value.encode())]))
        self.assertEqual(plain[:-1], whole[:-1])
        if plain[-2] is Old:
            self.assertEqual(plain[-1], whole[-1])

    @given(st.lists(st.lists(ANY, max_size=3), max_size=4))
    def test_never_raises(self, batches: list[list[Command]]) -> None:
        """Whatever stands in the log, two replicas apply it without raising, with equal results."""
        other = type(self)("test_never_raises")
        self.setUp()
        other.setUp()
        for batch in batches:
            self.assertEqual(self.apply(*batch), other.apply(*batch))
        self.assertEqual(self.machines.digest(self.state), other.machines.digest(other.state))


class OnceTests(TxnTestCase):
    def test_repeated(self) -> None:
        """A command that is repeated under its key answers the same, and changes nothing more."""
        once = Once("order-1", Put("a", "1"))
        self.assertEqual(self.one(once), Old(None))
        self.apply(Put("a", "2"))
        self.assertEqual(self.one(once), Old(None))
        self.assertEqual(self.machines.query(self.state, Get("a")), "2")

    def test_every_kind(self) -> None:
        """Answers of each kind are kept as they were."""
        txn = Txn([], [PutOp("b", b"\xff"), GetOp("b")])
        commands: list[Put | Cas | Txn] = [Put("a", "1"), Cas("a", "0", "2"), txn]
        for number, command in enumerate(commands):
            once = Once(f"k{number}", command)
            self.assertEqual(self.one(once), self.one(once))

    def test_reused(self) -> None:
        """The same key with another command is refused."""
        self.apply(Once("k", Put("a", "1")))
        self.assertEqual(self.one(Once("k", Put("a", "2"))), Reused())

    def test_invalid_is_not_kept(self) -> None:
        """What was refused as invalid may be tried again under its key, repaired or not."""
        self.assertIsInstance(self.one(Once("k", Put("", "1"))), Invalid)
        self.assertEqual(self.one(Once("k", Put("a", "1"))), Old(None))
        self.assertIsInstance(self.one(Once("", Put("a", "1"))), Invalid)

    def test_oldest_go_by_number(self) -> None:
        """So many are kept, and then the oldest is forgotten."""
        from uring.machines import once

        self.patch(once, "ONCE_KEPT_MAX", 3)
        for number in range(4):
            self.apply(Once(f"k{number}", Put("a", str(number))))
        self.assertEqual(self.one(Once("k1", Put("a", "1"))), Old("0"))
        self.assertEqual(self.one(Once("k0", Put("a", "0"))), Old("3"))
        self.assertEqual(len(list(self.state.iterate(b"i"))), 3)
        self.assertEqual(len(list(self.state.iterate(b"j"))), 3)
        self.assertGreaterEqual(ONCE_KEPT_MAX, 1024)

    def test_oldest_go_by_size(self) -> None:
        """So many bytes of answers are kept, but always the newest."""
        from uring.machines import once

        self.patch(once, "ONCE_KEPT_BYTES_MAX", 1000)
        self.apply(Put("a", "x" * 600))
        for number in range(3):
            self.apply(Once(f"k{number}", Put("a", "x" * 600)))
        self.assertEqual(len(list(self.state.iterate(b"i"))), 1)
        self.apply(Put("a", "x" * 2000), Once("big", Put("a", "1")))
        self.assertEqual([key for key, _ in self.state.iterate(b"i")], [b"ibig"])


class ListTests(TxnTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.apply(*(Put(key, key.upper()) for key in ("a/2", "b", "a/1", "a/é", "a")))

    def keys(self, prefix: str, after: str = "", count: int = 10, size: int = 1 << 20) -> object:
        page = self.machines.query(self.state, List(prefix, after, count, size))
        return [item.key for item in page.items], page.more

    def test_prefix(self) -> None:
        """Keys with a prefix come in the order of their bytes, with the state's revision."""
        page = self.machines.query(self.state, List("a/", "", 10, 1 << 20))
        self.assertEqual(page.revision, 5)
        self.assertEqual(page.items[0], Found("a/1", b"A/1", 3, 3))
        self.assertEqual(self.keys("a/"), (["a/1", "a/2", "a/é"], False))
        self.assertEqual(self.keys(""), (["a", "a/1", "a/2", "a/é", "b"], False))
        self.assertEqual(self.keys("c"), ([], False))

    def test_pages(self) -> None:
        """A page ends by count or by size, never empty while there is more; the next goes on."""
        self.assertEqual(self.keys("a", count=2), (["a", "a/1"], True))
        self.assertEqual(self.keys("a", after="a/1", count=2), (["a/2", "a/é"], False))
        self.assertEqual(self.keys("a", size=1), (["a"], True))
        self.assertEqual(self.keys("a", after="zzz"), ([], False))
