"""Leases in the machine: made, renewed, ended, and the keys that hang on them."""

from __future__ import annotations

from tests.machines.test_txn import TxnTestCase
from uring.machines import leases
from uring.machines.commands import (
    Delete,
    Expire,
    Get,
    GetLease,
    Grant,
    Invalid,
    KeepAlive,
    Lease,
    Put,
    PutOp,
    Revoke,
    Txn,
)
from uring.machines.events import KeyDeleted
from uring.machines.limits import LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN
from uring.machines.ring.commands import Refused


class LeaseTests(TxnTestCase):
    def hang(self, key: str, lease: int) -> None:
        self.one(Txn([], [PutOp(key, b"1", lease)]))

    def keys(self, lease: int) -> list[bytes]:
        return leases.keys_of(self.state, lease)

    def test_granted(self) -> None:
        """Each lease has a new id, also after older ones ended."""
        self.assertEqual(self.one(Grant(5000)), Lease(1, 5000, True))
        self.assertEqual(self.one(Grant(6000)), Lease(2, 6000, True))
        self.apply(Revoke(2))
        self.assertEqual(self.one(Grant(7000)), Lease(3, 7000, True))

    def test_bounds(self) -> None:
        """A lease is neither shorter than an election takes nor endless, and there are so many."""
        for ttl in (LEASE_TTL_MS_MIN - 1, LEASE_TTL_MS_MAX + 1, -1):
            self.assertIsInstance(self.one(Grant(ttl)), Invalid)
        self.patch(leases, "LEASES_MAX", 2)
        self.apply(Grant(5000), Grant(5000))
        self.assertIsInstance(self.one(Grant(5000)), Refused)
        self.apply(Revoke(1))
        self.assertEqual(self.one(Grant(5000)), Lease(3, 5000, True))

    def test_keys_bound(self) -> None:
        """A lease has so many keys; those that it has already may be written again."""
        self.patch(leases, "LEASE_KEYS_MAX", 1)
        self.apply(Grant(5000))
        self.hang("a", 1)
        refused = self.one(Txn([], [PutOp("x", b"1"), PutOp("b", b"1", 1)]))
        self.assertIsInstance(refused, Refused)
        self.assertIsNone(self.machines.query(self.state, Get("x")))

    def test_revoked(self) -> None:
        """With a lease its keys go, each with an event."""
        self.apply(Grant(5000), Put("c", "1"))
        for key in ("a", "b"):
            self.hang(key, 1)
        applied = self.apply(Revoke(1))
        self.assertEqual(applied.results, [Lease(1, 5000, False)])
        self.assertEqual(applied.leases, [Lease(1, 5000, False)])
        self.assertEqual([type(event) for event in applied.events], [KeyDeleted] * 2)
        self.assertEqual([key for key, _ in self.state.iterate(b"k")], [b"kc"])
        self.assertEqual(self.one(Revoke(1)), Lease(1, 0, False))

    def test_expiry_of_a_renewed_lease(self) -> None:
        """An expiry that was measured before the last renewal does nothing."""
        self.apply(Grant(5000))
        self.hang("a", 1)
        self.assertEqual(self.one(KeepAlive(1)), Lease(1, 5000, True, 1))
        self.assertEqual(self.one(Expire(1, 0)), Lease(1, 5000, True, 1))
        self.assertEqual(self.machines.query(self.state, Get("a")), "1")
        self.assertEqual(self.one(Expire(1, 1)), Lease(1, 5000, False, 1))
        self.assertIsNone(self.machines.query(self.state, Get("a")))
        self.assertEqual(self.one(KeepAlive(1)), Lease(1, 0, False))

    def test_keys_leave(self) -> None:
        """A key that is written without a lease, with another one, or removed, no longer hangs."""
        self.apply(Grant(5000), Grant(5000))
        for key in ("a", "b", "c", "d"):
            self.hang(key, 1)
        self.apply(Put("a", "2"), Delete("b"))
        self.hang("c", 2)
        self.hang("d", 1)
        self.assertEqual((self.keys(1), self.keys(2)), ([b"d"], [b"c"]))
        self.apply(Revoke(1))
        self.assertEqual(self.machines.query(self.state, Get("a")), "2")
        self.assertEqual(self.machines.query(self.state, Get("c")), "1")

    def test_read(self) -> None:
        """A lease is read with its keys; one that is not there is not alive."""
        self.apply(Grant(5000))
        self.hang("é", 1)
        self.assertEqual(
            self.machines.query(self.state, GetLease(1)), (Lease(1, 5000, True), ["é"])
        )
        for lease in (0, 2, -1, 2**63):
            found, keys = self.machines.query(self.state, GetLease(lease))
            self.assertEqual((found.alive, keys), (False, []))

    def test_every(self) -> None:
        """Leases are read in pieces, ascending."""
        self.apply(*(Grant(5000) for _ in range(5)), Revoke(3))
        ids = [each.id for each in leases.every(self.state, 0, 3)]
        self.assertEqual(ids, [1, 2, 4])
        self.assertEqual([each.id for each in leases.every(self.state, 4, 3)], [5])
