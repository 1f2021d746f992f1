"""Elections: who leads is known to all who look, and so is what it proclaims."""

from __future__ import annotations

from typing import Any

from tests.client.test_locks import TTL, NearbyTestCase
from uring.client import Leader, Leadership, LockLost


class ElectionTests(NearbyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.election = self.client.election("boss", TTL)

    def campaign(self, value: str) -> Leadership:
        """Return a candidacy that is given up when the test ends."""
        leadership = self.election.campaign(value)
        self._locks.append(leadership)
        return leadership

    def test_campaign(self) -> None:
        """One leads, the next one follows when it resigns, and everybody can see who."""
        self.assertIsNone(self.done(self.election.leader()))
        one, two = (self.campaign(name) for name in ("one", "two"))
        first, second = self.start(one.acquire()), self.start(two.acquire())
        token = self.successResultOf(first)
        self.assertEqual(self.done(self.election.leader()), Leader("one", token, token, one.key))
        self.done(one.proclaim("one at home"))
        self.assertEqual(self.done(self.election.leader()).value, "one at home")
        self.assertNoResult(second)
        self.done(one.resign())
        self.successResultOf(second)
        self.assertEqual(self.done(self.election.leader()).value, "two")
        self.failureResultOf(self.start(one.proclaim("x")), LockLost)

    def test_proclaim_keeps_the_lease(self) -> None:
        """What is proclaimed goes with the leader, as its first word would have."""
        one = self.campaign("one")
        self.done(one.acquire())
        self.done(one.proclaim("still one"))
        self.pass_time(3 * TTL)
        self.assertTrue(one.is_held)
        self.cluster.leave()
        self.pass_time(2 * TTL)
        self.cluster.away = False
        self.assertEqual(self.keys(), [])

    def test_proclaim_after_the_loss(self) -> None:
        """Who leads no more cannot proclaim anything."""
        one = self.campaign("one")
        self.done(one.acquire())
        self.done(self.cluster.client().revoke(one.lease))
        self.failureResultOf(self.start(one.proclaim("still one")), LockLost)
        self.assertIsNone(self.done(self.election.leader()))

    def test_observe(self) -> None:
        """Observers are told who leads now, then of each change, and when nobody does."""
        one = self.campaign("one")
        self.done(one.acquire())
        seen = self.election.observe()

        async def following() -> Any:
            leader = await seen.__anext__()
            return leader.value if leader is not None else None

        self.assertEqual(self.done(following()), "one")
        two = self.campaign("two")
        waiting = self.start(two.acquire())
        change = self.start(following())
        self.assertNoResult(change)
        self.done(one.proclaim("uno"))
        self.assertEqual(self.successResultOf(change), "uno")
        self.done(one.resign())
        self.assertEqual(self.done(following()), "two")
        self.successResultOf(waiting)
        self.done(two.resign())
        self.assertIsNone(self.done(following()))
        self.done(seen.aclose())  # type: ignore[attr-defined]
