"""Backups that a process takes from time to time, and a new cluster from the newest of them."""

from __future__ import annotations

import sys

from twisted.internet.utils import getProcessOutputAndValue

from contrib import RaftClient
from tests.integration.base import ProcessTestCase, free_ports


class BackupTests(ProcessTestCase):
    """--backup-dir, --backup-interval-s, --backup-keep."""

    async def test_restored(self) -> None:
        """The newest backup has all that was written before it; older ones go; it restores."""
        place = self.directory / "backups"
        place.mkdir()
        (port,) = free_ports(1)
        options = ["--backup-dir", str(place), "--backup-interval-s", "1", "--backup-keep", "2"]
        server = self.server(1, port, [], bootstrap=True, options=options)
        server.start()
        client = RaftClient(port, host="127.0.0.1", reactor=self.reactor)
        self.clients.append(client)
        await client.wait_until_up()
        await self.leader(client)
        for number in range(50):
            await client.put(f"key {number}", "v" * 1000)
        written = (await client.status())["revision"]
        names: set[str] = set()

        async def taken() -> bool:
            names.add((await client.status())["backup"]["last"])
            return len(names) >= 5

        await self.until(taken)
        self.assertEqual((await client.status())["faults"], [])
        await server.die()
        found = sorted(path for path in place.iterdir() if not path.name.startswith("."))
        self.assertEqual(len(found), 2)
        restored = self.directory / "raft-leveldb-7"
        (port,) = free_ports(1)
        words = ["-m", "uring.restore", "--id", "7", "--advertise", f"127.0.0.1:{port}"]
        words += ["--data-dir", str(restored), str(found[-1])]
        out, err, code = await getProcessOutputAndValue(
            sys.executable, words, env={"PYTHONPATH": ":".join(sys.path)}
        )
        self.assertEqual(code, 0, (out, err))
        again = self.server(7, port, [])
        again.start()
        client = RaftClient(port, host="127.0.0.1", reactor=self.reactor)
        self.clients.append(client)
        await client.wait_until_up()
        await self.leader(client)
        self.assertEqual(await client.get("key 49"), "v" * 1000)
        self.assertGreater((await client.status())["revision"], written)
