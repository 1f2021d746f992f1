"""The command line client against a real node: its output, and its exit codes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue

from tests.integration.base import ProcessTestCase, free_ports

SOURCE = Path(__file__).parents[2] / "src"


class CommandTests(ProcessTestCase):
    endpoints = ""

    async def uring(self, *words: str, code: int = 0) -> str:
        """Run the client, and return what it printed; its exit code must be ``code``."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "URING_ENDPOINTS": self.endpoints,
            "URING_PATIENCE": "5" if code != 4 else "0",
        }
        out, err, found = await getProcessOutputAndValue(
            sys.executable, ["-m", "uring", *words], env=environment, path=str(self.directory)
        )
        self.assertEqual(found, code, f"{words}: {(out + err).decode()}")
        self.assertNotIn(b"Traceback", err)
        self.assertTrue(code or not err, err)
        return out.decode()

    async def json(self, *words: str) -> Any:
        return json.loads(await self.uring("-o", "json", *words))

    async def test_commands(self) -> None:
        """Keys, members and the ring, by a client that is told of a dead node first."""
        cluster = await self.formed(1)
        (dead,) = free_ports(1)
        self.endpoints = f"127.0.0.1:{dead},{cluster.servers[0].address}"
        await self.uring("put", "beep", "boop")
        self.assertEqual(await self.uring("get", "beep"), "boop\n")
        item = {"key": "beep", "value": "boop", "created": 1, "revision": 1, "lease": 0}
        self.assertEqual(await self.json("get", "beep"), item)
        await self.uring("cas", "beep", "snot", "--check", "boop")
        await self.uring("cas", "beep", "snot", code=3)
        self.assertEqual(await self.uring("del", "beep"), "snot\n")
        await self.uring("del", "beep", code=1)
        await self.uring("get", "beep", code=1)

        await self.uring("ring", "size", code=1)
        await self.uring("ring", "add", "n1", code=3)
        self.assertEqual(await self.uring("ring", "size", "8"), "8\n")
        await self.uring("ring", "add", "n1")
        self.assertEqual(
            await self.uring("ring", "add", "n2"),
            "node  load  vnodes\nn1       4  0-3\nn2       4  4-7\n",
        )
        await self.uring("ring", "remove", "n9", code=1)

        (member,) = await self.json("members")
        self.assertEqual((member["id"], member["voter"]), (1, True))
        self.assertIn("leader", await self.uring("members"))
        await self.uring("members", "add", "7", code=3)
        await self.uring("members", "remove", "7", code=1)

    async def test_services(self) -> None:
        """Conditions, lists, transactions, and leases."""
        cluster = await self.formed(1)
        self.endpoints = cluster.servers[0].address
        self.assertEqual(await self.json("put", "a/1", "x"), {"key": "a/1", "revision": 1})
        await self.uring("put", "a/1", "y", "--if-absent", code=3)
        await self.uring("put", "a/1", "y", "--if-revision", "7", code=3)
        await self.uring("put", "a/1", "y", "--if-revision", "1")
        await self.uring("del", "a/1", "--if-revision", "1", code=3)
        lease = (await self.uring("lease", "grant", "60")).strip()
        await self.uring("put", "a/2", "z", "--lease", lease)
        self.assertEqual(await self.uring("lease", "show", lease), "a/2\n")
        self.assertEqual(await self.uring("lease", "keep-alive", lease), "60\n")
        self.assertEqual(await self.uring("list", "--keys", "a/"), "a/1\na/2\n")
        self.assertEqual(
            (await self.uring("list", "a/")).splitlines()[1], "a/1         2      -  y"
        )
        await self.uring("lease", "revoke", lease)
        await self.uring("get", "a/2", code=1)
        await self.uring("lease", "keep-alive", lease, code=1)
        body = self.directory / "txn.json"
        body.write_text(
            '{"compare": [{"key": "a/1", "target": "revision", "to": 2}],'
            ' "then": [{"Put": {"key": "a/1", "store": "t"}}]}'
        )
        done = json.loads(await self.uring("txn", str(body)))
        self.assertTrue(done["succeeded"])
        await self.uring("txn", str(body), code=3)
        told = await self.uring("watch", "a/", "--from", "1", "--count", "2")
        self.assertEqual([json.loads(line)["revision"] for line in told.splitlines()], [1, 2])
        body.write_text("[]")
        await self.uring("txn", str(body), code=2)

    async def test_backup(self) -> None:
        """A backup of a running cluster becomes a new cluster with the same keys."""
        cluster = await self.formed(1)
        self.endpoints = cluster.servers[0].address
        await self.uring("put", "beep", "boop")
        file = str(self.directory / "a.backup")
        await self.uring("backup", file)
        await self.uring("backup", file, code=2)
        await self.uring("restore", file, "--check")
        (port,) = free_ports(1)
        data = str(self.directory / "raft-leveldb-7")
        words = ("restore", file, "--id", "7", "--advertise", f"127.0.0.1:{port}")
        await self.uring(*words, "--data-dir", data)
        await self.uring(*words, "--data-dir", data, code=6)
        restored = self.server(7, port, [])
        restored.start()
        self.endpoints = restored.address
        self.assertEqual(await self.uring("get", "beep"), "boop\n")

    async def test_unreachable(self) -> None:
        """Where no node answers nothing was done, and the exit code says so."""
        (dead,) = free_ports(1)
        self.endpoints = f"127.0.0.1:{dead}"
        await self.uring("put", "a", "1", code=4)
        await self.uring("status", code=4)
