"""Locks over real processes: one holder at a time, whoever leads, and none is lost."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.integration.base import ProcessTestCase
from uring.client import Client, LockLost, put_op
from uring.errors import OutcomeUnknown

TTL = 6.0
TURNS = 4


class LockTests(ProcessTestCase):
    async def test_leader_is_killed(self) -> None:
        """The leader dies while a lock is held and others wait: nobody loses it, none has it twice.

        Each holder adds one to a number under its token; a write by two at a time would be lost.
        """
        cluster = await self.formed(3)
        addresses = [server.address for server in cluster.servers]
        self.tokens: list[int] = []
        self.holders = 0
        clients = [Client(*addresses, patience=30.0, repeat=True) for _ in range(4)]
        for client in clients:
            self.addCleanup(client.close)
        first = clients[0].lock("jobs", TTL)
        await first.acquire()
        await first.put("number", "0")
        working = gatherResults(
            [Deferred.fromCoroutine(self.work(client)) for client in clients], consumeErrors=True
        )

        async def all_wait() -> bool:
            return len(await self.keys(clients[0])) == 1 + len(clients)

        await self.until(all_wait)
        leader = await self.leader(*cluster.clients)
        (server,) = (each for each in cluster.servers if each.node_id == leader)
        await server.die()
        await first.put("number", "0")
        self.assertTrue(first.is_held)
        self.tokens.append(first.token)
        await first.release()
        await working
        self.assertEqual(await clients[0].get("number"), str(TURNS * len(clients)))
        self.assertEqual(self.tokens, sorted(set(self.tokens)))
        self.assertEqual(await self.keys(clients[0]), [])

    async def work(self, client: Client) -> None:
        """Take the lock some times, and add one each time."""
        for _ in range(TURNS):
            async with client.lock("jobs", TTL) as lock:
                self.holders += 1
                self.assertEqual(self.holders, 1)
                self.tokens.append(lock.token)
                number = int(await client.get("number") or "0")
                await lock.put("number", str(number + 1))
                self.holders -= 1

    async def keys(self, client: Client) -> list[str]:
        """Return the keys of those who have or want the lock."""
        return [item.key async for item in client.keys("jobs/")]

    async def test_holder_is_gone(self) -> None:
        """A holder that hears of nobody is told; its writes are refused, and the next one goes on.

        The holder's client alone is cut off: its node hangs, as one whose machine has died.
        """
        cluster = await self.formed(3)
        leader = await self.leader(*cluster.clients)
        follower = next(each for each in cluster.servers if each.node_id != leader)
        others = [each.address for each in cluster.servers if each is not follower]
        cut_off, other = Client(follower.address), Client(*others, patience=10.0)
        for client in (cut_off, other):
            self.addCleanup(client.close)
        lock = cut_off.lock("jobs", 2.0)
        await lock.acquire()
        told: Any = lock.when_lost()
        token, fence = lock.token, lock.fence
        follower.signal("STOP")
        next_lock = other.lock("jobs", 2.0)
        taking = Deferred.fromCoroutine(next_lock.acquire())
        taking.addCallback(lambda _: self.assertFalse(lock.is_held))
        self.assertIsInstance(await told, LockLost)
        await taking
        self.assertGreater(next_lock.token, token)
        self.assertFalse((await other.txn([fence], [put_op("number", "2")])).succeeded)
        follower.signal("CONT")
        try:
            await lock.put("number", "1")
        except (LockLost, OutcomeUnknown):
            pass
        else:
            self.fail("a lost lock wrote")
        self.assertIsNone(await other.get("number"))
        await lock.release()
        self.assertTrue(next_lock.is_held)
        await next_lock.release()
