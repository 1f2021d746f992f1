"""Set-ups that are broken on purpose, over real processes: the doctor names each of them."""

from __future__ import annotations

import os
import socket
from typing import Any

from contrib import Cluster, UringServer
from contrib.certificates import Authority
from tests.integration.base import CommandTestCase, free_ports
from uring.cli import exits

SHIM = """\
import os
import time

_time, _sync = time.time, os.fdatasync
time.time = lambda: _time() + float(os.environ.get("TEST_CLOCK", "0"))


def _slow(handle):
    time.sleep(float(os.environ.get("TEST_SYNC", "0")))
    _sync(handle)


os.fdatasync = _slow
"""
"""Imported by every Python at its start: a wall clock that is off, and syncs that take long."""


class DoctorTests(CommandTestCase):
    async def three(self, *options: str) -> Cluster:
        cluster = await self.formed(3, *options)
        self.endpoints = ",".join(server.address for server in cluster.servers)
        return cluster

    async def found(self, *words: str) -> dict[str, dict[str, Any]]:
        """Return what the doctor finds, by name."""
        told = await self.json(*words, "doctor", code=exits.FINDINGS)
        self.assertFalse(told["healthy"])
        for finding in told["findings"]:
            self.assertTrue(finding["subject"] and finding["text"] and finding["next"], finding)
        return {each["name"]: each for each in told["findings"]}

    async def well(self) -> None:
        """Wait until nothing is wrong."""

        async def is_well() -> bool:
            try:
                return bool((await self.json("doctor"))["healthy"])
            except self.failureException:
                return False

        await self.until(is_well)

    def starting(self, server: UringServer, **environment: str) -> None:
        """Start a node that imports the shim."""
        shim = self.directory / "shim"
        shim.mkdir(exist_ok=True)
        (shim / "sitecustomize.py").write_text(SHIM)
        server.environment = {"PYTHONPATH": str(shim), **environment}
        server.start()

    async def test_members_that_are_gone(self) -> None:
        """All is well; then a member is down, then most: no quorum, seen from any endpoint."""
        cluster = await self.three()
        await self.well()
        self.assertTrue((await self.uring("doctor")).endswith("healthy\n"))
        await cluster.servers[2].die()
        found = await self.found()
        self.assertEqual(list(found), ["member-down"])
        self.assertIn("node 3", found["member-down"]["subject"])
        await cluster.servers[1].die()
        for endpoints in (self.endpoints, cluster.servers[0].address):
            self.endpoints = endpoints
            found = await self.found()
            self.assertEqual(list(found), ["no-quorum"])
            self.assertIn("2 of 3 voters", found["no-quorum"]["text"])
            self.assertIn("node 2", found["no-quorum"]["evidence"][0])
            self.assertIn("-i 2", found["no-quorum"]["next"][0])
        self.endpoints = cluster.servers[1].address
        self.assertEqual(list(await self.found()), ["unreachable"])

    async def test_member_that_stands_still(self) -> None:
        """A member that is stopped while others write lags; two of three make no quorum."""
        cluster = await self.three()
        stopped = cluster.servers[2]
        stopped.signal("STOP")
        for number in range(3):
            await self.uring("put", f"k{number}", "v")
        finding = (await self.found())["lagging-member"]
        self.assertIn("node 3", finding["subject"])
        self.assertEqual(finding["next"], [f"kill -CONT {stopped.pid()}"])
        cluster.servers[1].signal("STOP")
        finding = (await self.found())["no-quorum"]
        self.assertIn(f"kill -CONT {stopped.pid()}", finding["next"])
        for server in cluster.servers[1:]:
            server.signal("CONT")
        await self.well()

    async def test_member_that_lost_its_disk(self) -> None:
        """A wiped member is named, whoever is asked; what is to be typed then heals it."""
        cluster = await self.three()
        wiped = cluster.servers[2]
        await wiped.die()
        wiped.reset()
        wiped.start()
        await cluster.clients[2].wait_until_up()
        everybody = self.endpoints
        for endpoints in (wiped.address, everybody):
            self.endpoints = endpoints

            async def named() -> Any:
                return (await self.found()).get("wiped-member")

            finding = await self.until(named)
            self.assertIn("node 3", finding["subject"])
        for command in finding["next"]:
            await self.uring(*command.split()[1:])
        await self.well()

    async def test_founder_that_lost_its_disk(self) -> None:
        """The founder, started again as it was at first, has founded another cluster."""
        cluster = await self.three()
        founder = cluster.servers[0]
        await founder.die()
        founder.reset()
        founder.start()
        await cluster.clients[0].wait_until_up()

        async def named() -> Any:
            return (await self.found()).get("wiped-member")

        finding = await self.until(named)
        self.assertIn("node 1", finding["subject"])
        self.assertIn("--bootstrap", finding["evidence"][0])
        self.assertIn("without --bootstrap", " ".join(finding["next"]))

    async def test_two_clusters(self) -> None:
        """Endpoints of two clusters, and a --peer that leads from one to the other."""
        one = self.cluster(1)
        self.directory = self.directory / "two"
        self.directory.mkdir()
        two = self.cluster(1)
        for cluster in (one, two):
            await cluster.start()
            await cluster.join()
        first, second = one.servers[0].address, two.servers[0].address
        self.endpoints = f"{first},{second}"
        finding = (await self.found())["wrong-cluster"]
        self.assertEqual(finding["subject"], "the endpoints")
        self.assertIn(f"export URING_ENDPOINTS={first}", " ".join(finding["next"]))

        # A node of the first that is told to know one of the second, and one that nobody added.
        await one.servers[0].stop()
        one.servers[0].peers.append(second)
        one.servers[0].start()
        await one.clients[0].wait_until_up()
        newcomer = self.server(7, free_ports(1)[0], [second])
        newcomer.start()
        self.endpoints = first

        async def refused() -> Any:
            return (await self.found()).get("wrong-cluster")

        finding = await self.until(refused)
        self.assertIn(first, finding["subject"])
        self.assertIn(f"--peer {second}", " ".join(finding["next"]))
        self.endpoints = f"{first},{newcomer.address}"

        async def led_astray() -> bool:
            told = await self.json("doctor", code=exits.FINDINGS)
            return any("node 7" in each["subject"] for each in told["findings"])

        await self.until(led_astray)

    async def test_slow_disk_and_wrong_clock(self) -> None:
        """A disk whose syncs take long, and a wall clock an hour ahead."""
        cluster = await self.three()
        await cluster.servers[1].stop()
        await cluster.servers[2].stop()
        self.starting(cluster.servers[1], TEST_SYNC="0.1")
        self.starting(cluster.servers[2], TEST_CLOCK="3600")
        await self.leader(*cluster.clients)
        found = await self.found()
        self.assertIn("node 2", found["slow-disk"]["subject"])
        self.assertIn("node 3", found["clock-far-off"]["subject"])
        self.assertIn("3600", found["clock-far-off"]["text"])
        self.endpoints = cluster.servers[0].address
        self.assertEqual(set(await self.found()), {"slow-disk", "clock-far-off"})

    async def test_disk_nearly_full(self) -> None:
        """A disk with less than the reserve; without a token that is all that can be told."""
        await self.three("--disk-reserve-mb=1000000000")

        async def told() -> Any:
            return (await self.found()).get("disk-nearly-full")

        self.assertIn("df -h", (await self.until(told))["next"][0])

    async def test_tokens(self) -> None:
        """Without a token that a token is missing, and whether there is a leader."""
        cluster = await self.three()
        token = self.directory / "token"
        token.write_text(await self.uring("token", "add", "ops", "--role", "admin"))
        self.assertEqual(list(await self.found()), ["no-token"])
        told = await self.json("--token-file", str(token), "doctor")
        self.assertTrue(told["healthy"])
        for server in cluster.servers[1:]:
            await server.die()

        async def told_by_nobody() -> Any:
            return "no-quorum" in await self.found()

        await self.until(told_by_nobody)
        found = await self.found("--token-file", str(token))
        self.assertIn("2 of 3 voters", found["no-quorum"]["text"])

    async def test_port_taken(self) -> None:
        """Before the start of a node: who has its port; and once nobody has, that it may start."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            words = ("doctor", "twistd", "-n", "uring", "-e", address, "-i", "3")
            told = await self.json(*words, code=exits.FINDINGS)
            (finding,) = (each for each in told["findings"] if each["name"] == "port-taken")
            self.assertEqual(finding["subject"], address)
            self.assertIn(f"process {os.getpid()} ", " ".join(finding["evidence"]))
            self.assertEqual(finding["next"][0], f"kill {os.getpid()}")
        told = await self.json(*words, code=exits.FINDINGS)
        self.assertEqual([each["name"] for each in told["findings"]], ["not-running"])

    async def test_node_of_this_machine(self) -> None:
        """A node that runs as it should is well, by its own options alone."""
        cluster = await self.formed(1)
        server = cluster.servers[0]
        words = server.command()
        self.endpoints = server.address
        await self.uring("doctor", *words[words.index("uring") :])
        other = ["-e", server.address, "-i", "2", "-d", str(self.directory / "other")]
        told = await self.json("doctor", "--", *other, code=exits.FINDINGS)
        self.assertIn("port-taken", [each["name"] for each in told["findings"]])

    async def test_tls(self) -> None:
        """Nodes that speak TLS are looked at by it; without, what to write is said."""
        (port,) = free_ports(1)
        authority = Authority.create(self.directory / "pki")
        path = authority.issue("server", "localhost", "127.0.0.1")
        key = path.with_suffix(".key")
        endpoint = f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={path}"
        self.server(1, port, [], bootstrap=True, options=["-e", endpoint]).start()
        self.endpoints = f"https://localhost:{port}"

        async def well() -> bool:
            try:
                return bool((await self.json("--ca", str(authority.path), "doctor"))["healthy"])
            except self.failureException:
                return False

        await self.until(well)
        self.assertEqual(list(await self.found()), ["tls"])
        self.endpoints = f"localhost:{port}"
        finding = (await self.found())["tls"]
        self.assertIn(f"uring -e https://localhost:{port}", finding["next"][0])
