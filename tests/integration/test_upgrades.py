"""Processes of two versions in one cluster, upgraded one by one."""

from __future__ import annotations

from typing import Any

from contrib import RaftClient, UringServer
from tests.integration.base import ProcessTestCase, free_ports
from uring.errors import PreconditionFailed
from uring.machines.levels import FIRST, LEVEL


class Program(UringServer):
    """A node whose program supports another feature level than this tree."""

    level = LEVEL

    def command(self) -> list[str]:
        """Return the words that start the node; whatever needs the level is imported later."""
        words = super().command()
        place = words.index("-c") + 1
        said = f"import uring.machines.levels as levels; levels.LEVEL = {self.level}; "
        return [*words[:place], said + words[place], *words[place + 1 :]]


class UpgradeTests(ProcessTestCase):
    """Three members that are stopped and started with a newer program, one after the other."""

    def programs(self, level: int) -> list[Program]:
        ports = free_ports(3)
        found = []
        for node_id, port in enumerate(ports, 1):
            program = Program(
                node_id,
                port,
                bootstrap=node_id == 1,
                peers=[f"127.0.0.1:{other}" for other in ports if other != port],
                data_dir=self.directory / f"raft-leveldb-{node_id}",
                log_file=self.directory / f"node-{node_id}.log",
                reactor=self.reactor,
            )
            program.level = level
            found.append(program)
        self.servers.extend(found)
        self.clients.extend(
            RaftClient(port, host="127.0.0.1", reactor=self.reactor) for port in ports
        )
        return found

    async def form(self, programs: list[Program]) -> None:
        for program in programs:
            program.start()
        founder = self.clients[0]
        for node_id in (2, 3):

            async def register(node_id: int = node_id) -> bool:
                await founder.register(node_id)
                return True

            await self.until(register)

    async def levels(self, level: int) -> bool:
        """Tell whether every node says that the cluster is of ``level``."""
        return {(await client.status())["feature_level"] for client in self.clients} == {level}

    async def token(self, client: RaftClient) -> Any:
        return await client.rest.add_token("admin", "ops")

    async def upgrade(self, program: Program, level: int) -> None:
        await program.stop()
        program.level = level
        program.start()

    async def test_one_by_one(self) -> None:
        """A cluster goes on while its nodes are upgraded, and has the new features at the end."""
        programs = self.programs(FIRST)
        await self.form(programs)
        await self.until(lambda: self.levels(FIRST))
        for number, program in enumerate(programs):
            client = self.clients[number]
            await self.upgrade(program, LEVEL)
            await self.leader(*self.clients)
            await client.put(f"during {number}", "written")
            if number < 2:
                with self.assertRaises(PreconditionFailed) as caught:
                    await self.token(client)
                self.assertIn("upgrade every member", str(caught.exception))
                waits = (await client.status())["feature_level_waits_for"]
                self.assertEqual(waits, [each.node_id for each in programs[number + 1 :]])
        await self.until(lambda: self.levels(LEVEL))
        self.assertIn(".", (await self.token(self.clients[0]))["token"])

    async def test_no_way_back(self) -> None:
        """After that an older program does not start, and says which one would."""
        programs = self.programs(LEVEL)
        await self.form(programs)
        await self.until(lambda: self.levels(LEVEL))
        older = programs[2]
        await older.stop()
        older.level = FIRST
        older.start()
        self.assertNotIn(await older.ended(), (0, None))
        self.assertIn("start the newer uring", older.output())
        await self.upgrade(older, LEVEL)
        await self.clients[2].wait_until_up()
        await self.leader(*self.clients)
        await self.clients[2].put("back", "again")

    async def test_newer_than_this(self) -> None:
        """A newer program works in a cluster of this one: its level waits for the others."""
        programs = self.programs(LEVEL)
        await self.form(programs)
        await self.upgrade(programs[1], LEVEL + 1)
        await self.leader(*self.clients)
        await self.clients[1].put("from", "the future")
        state = await self.clients[1].status()
        self.assertEqual(state["feature_level_waits_for"], [1, 3])
        self.assertTrue(await self.levels(LEVEL))
