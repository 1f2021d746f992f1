"""Members come, go, and come back, over real processes."""

from __future__ import annotations

import shutil

from twisted.internet.defer import Deferred, DeferredList

from contrib import RaftClient
from tests.integration.base import ProcessTestCase
from uring.errors import Conflict, NotFound


class MemberTests(ProcessTestCase):
    """POST, DELETE and GET of /node/{id}."""

    async def test_stranger_and_adding_twice_at_once(self) -> None:
        """A stranger shows its status; adding it twice at once, on a follower, adds it once."""
        cluster = self.cluster(3)
        await cluster.start()
        founder, follower, stranger = cluster.clients
        await self.leader(founder)
        await self.registered(founder, 2)
        status = await stranger.status()
        self.assertEqual((status["members"], status["leader"]), ([], None))
        await self.leader(founder, follower)
        asked = [Deferred.fromCoroutine(follower.register(3)) for _ in range(2)]
        results = await DeferredList(asked, consumeErrors=True)
        self.assertEqual([success for success, _ in results], [True, True])
        await stranger.put("from", "stranger")
        for client in cluster.clients:
            self.assertEqual(await client.get("from"), "stranger")
            self.assertEqual(set(await client.rest.members()), {1, 2, 3})
        index = (await founder.status())["last_index"]
        await follower.register(3)
        self.assertEqual((await founder.status())["last_index"], index)

    async def registered(self, client: RaftClient, node_id: int) -> None:
        async def register() -> bool:
            await client.register(node_id)
            return True

        await self.until(register)

    async def test_node_that_nobody_has_met(self) -> None:
        """A node that has not said hello cannot be added without its address."""
        cluster = await self.formed(2)
        for client in cluster.clients:
            with self.assertRaises(Conflict) as caught:
                await client.register(9)
            self.assertIn("--peer", str(caught.exception))
            with self.assertRaises(NotFound):
                await client.rest.remove_member(9)

    async def test_leader_is_removed(self) -> None:
        """A leader that is removed hands over first; the rest goes on without it."""
        cluster = await self.formed(3)
        leader = await self.leader(*cluster.clients)
        await cluster.clients[leader - 1].put("beep", "boop")
        rest = [client for client in cluster.clients if client.node_id != leader]
        await rest[0].rest.remove_member(leader)
        self.assertNotEqual(await self.leader(*rest), leader)
        self.assertNotIn(leader, await rest[0].rest.members())
        await rest[1].put("beep", "badger")
        self.assertEqual(await rest[0].get("beep"), "badger")

    async def test_leadership_is_handed_over(self) -> None:
        """POST /leader/{id} makes a chosen member the leader."""
        cluster = await self.formed(3)
        for target in (2, 3, 1):
            await cluster.clients[0].rest.transfer(target)
            self.assertEqual(await self.leader(*cluster.clients), target)

    async def test_wiped_member(self) -> None:
        """A member with an emptied disk is no member any more until it is removed and added."""
        cluster = await self.formed(3)
        await cluster.clients[0].put("beep", "boop")
        wiped, client = cluster.servers[2], cluster.clients[2]
        await wiped.die()
        shutil.rmtree(wiped.data_dir)
        wiped.start()
        await client.wait_until_up()
        await self.until(lambda: self.printed(wiped.output, "known with another data directory"))
        self.assertEqual((await client.status())["members"], [])
        self.assertEqual((await client.status())["term"], 0)
        others = cluster.clients[:2]
        await self.leader(*others)
        await others[0].rest.remove_member(3)
        await self.registered(others[0], 3)
        await self.leader(*cluster.clients)
        self.assertEqual(await client.get("beep"), "boop")

    async def printed(self, output: object, text: str) -> bool:
        return text in output()  # type: ignore[operator]

    async def test_members_come_and_go_under_load(self) -> None:
        """Twenty changes while clients write leave one consistent membership and every value."""
        cluster = await self.formed(3)
        founder = cluster.clients[0]
        written = 0
        busy = True

        async def write() -> None:
            nonlocal written
            while busy:
                await founder.put(f"k{written}", str(written))
                written += 1

        writing = Deferred.fromCoroutine(write())
        try:
            for _ in range(10):
                await founder.rest.remove_member(3)
                await self.registered(founder, 3)
        finally:
            busy = False
            await writing
        await self.leader(*cluster.clients)
        for client in cluster.clients:
            self.assertEqual(set(await client.rest.members()), {1, 2, 3})
            self.assertEqual(await client.get(f"k{written - 1}"), str(written - 1))
        self.assertGreater(written, 10)


class SnapshotTests(ProcessTestCase):
    """Followers that need what the log no longer has."""

    async def test_follower_that_was_down_for_long(self) -> None:
        """A follower whose entries were compacted gets the state, then the log, and serves."""
        cluster = await self.formed(3, "--snapshot-entries=40", "--trailing-entries=10")
        late, late_client = cluster.servers[2], cluster.clients[2]
        await late.die()
        client = cluster.clients[0]
        await self.leader(*cluster.clients[:2])
        for number in range(150):
            await client.put(f"k{number}", str(number))
        gone = (await client.status())["first_index"]
        self.assertGreater(gone, 20)
        late.start()
        await late_client.wait_until_up()
        await self.leader(*cluster.clients)

        async def installed() -> bool:
            return "snapshot installed" in late.output()

        await self.until(installed)  # meanwhile it answers that one is
        for number in range(150):
            self.assertEqual(await late_client.get(f"k{number}"), str(number))

    async def test_newcomer_after_a_compaction(self) -> None:
        """A new member gets the state as it is, and survives a kill right after."""
        cluster = self.cluster(3, "--snapshot-entries=40", "--trailing-entries=10")
        await cluster.start()
        founder, _, newcomer = cluster.clients
        await self.leader(founder)
        for number in range(100):
            await founder.put(f"k{number}", str(number))
        await founder.register(2)
        await founder.register(3)
        await cluster.servers[2].die()
        cluster.servers[2].start()
        await newcomer.wait_until_up()
        await self.leader(*cluster.clients)
        for number in range(100):
            self.assertEqual(await newcomer.get(f"k{number}"), str(number))
