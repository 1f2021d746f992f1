"""Disks that are full or cannot be written to: real ones, in memory."""

from __future__ import annotations

import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest

from contrib import RaftClient, UringServer
from tests.integration.base import ProcessTestCase, free_ports
from uring.errors import DiskFull, UringError

MIB = 1 << 20


class SmallDiskTestCase(ProcessTestCase):
    """Nodes whose data is on a file system of 40 MiB."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = self.directory / "disk"
        self.disk.mkdir()
        self.mount("-t", "tmpfs", "-o", f"size={40 * MIB}", "none")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.disk)], check=False)

    def mount(self, *words: str) -> None:
        done = subprocess.run(["mount", *words, str(self.disk)], capture_output=True, check=False)
        if done.returncode:
            raise SkipTest(f"cannot mount here: {done.stderr.decode().strip()}")

    async def node(self, reserve: int) -> tuple[UringServer, RaftClient]:
        """Start one with so many MiB of reserve."""
        (port,) = free_ports(1)
        words = ("--disk-reserve-mb", str(reserve))
        server = self.server(1, port, [], bootstrap=True, options=words)
        server.data_dir = self.disk / "data"
        server.start()
        client = RaftClient(port, node_id=1, reactor=self.reactor)
        self.clients.append(client)
        return server, client

    async def up(self, client: RaftClient) -> None:
        await client.wait_until_up()
        await self.leader(client)


class SmallDiskTests(SmallDiskTestCase):
    """ENOSPC, EROFS."""

    async def test_reserve(self) -> None:
        """Below the reserve writes get 507, reads and deletes go on, and it clears by itself."""
        _, client = await self.node(16)
        await self.up(client)
        await client.put("k", "v")
        filler = self.disk / "filler"
        filler.write_bytes(bytes(24 * MIB))

        async def refused() -> bool:
            try:
                await client.put("l", "v")
            except DiskFull:
                return True
            return False

        async def taken() -> bool:
            return not await refused()

        await self.until(refused)
        self.assertEqual(await client.get("k"), "v")
        await client.rest.delete("k")
        filler.unlink()
        await self.until(taken)

    async def test_full(self) -> None:
        """A node that finds no space ends and says so; with room again it has what it took."""
        server, client = await self.node(1)
        await self.up(client)
        await client.put("k", "v")
        filler = self.disk / "filler"
        filler.write_bytes(bytes(22 * MIB))
        taken = 0
        with self.assertRaises(UringError):
            while taken < 100:
                await client.put(f"large-{taken}", "v" * (MIB - 100))
                taken += 1
        if server.running:  # within the reserve, and the disk has others who fill it
            _fill(self.disk / "rest")
            for n in range(100):
                if not server.running:
                    break
                try:
                    await client.rest.delete(f"large-{n}")
                except UringError:
                    continue
        self.assertEqual(await server.ended(), 1)
        self.assertIn("No space left on device", server.output())
        _fill(self.disk / "rest")
        full, _ = await self.node(1)
        self.assertNotEqual(await full.ended(), 0)
        self.assertIn("is on a disk that is full", full.output())
        filler.unlink()
        (self.disk / "rest").unlink()
        _, again = await self.node(1)
        await self.up(again)
        self.assertEqual(await again.get("k"), "v")

    async def test_read_only(self) -> None:
        """What has become read-only is refused as such."""
        server, client = await self.node(1)
        await self.up(client)
        await server.stop()
        self.mount("-o", "remount,ro")
        server, _ = await self.node(1)
        self.assertNotEqual(await server.ended(), 0)
        self.assertIn("mount it read-write", server.output())


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        for size in (MIB, 1024):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
