"""The client for asyncio in a process of its own, where nobody installed a reactor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.internet.utils import getProcessOutputAndValue

from tests.integration.base import ProcessTestCase
from uring.client import Client

ROOT = Path(__file__).parents[2]

SCRIPT = """
import asyncio, sys
from uring.client import LockLost, LockTimeout
from uring.client.asyncio import Client, ReactorInUse
from uring.errors import NotFound

address, = sys.argv[1:]

async def everything():
    async with Client(address) as client:
        await client.put("a/1", "one")
        assert await client.get("a/1") == "one"
        assert (await client.look("a/1")).revision
        assert [item.key async for item in client.keys("a/")] == ["a/1"]
        try:
            await client.revoke(12345)
        except NotFound:
            pass
        else:
            raise AssertionError("revoked nothing")

        async with client.watch("kv", prefix="a/", start=1) as watch:
            async for change in watch:
                assert change.event["Put"]["new"] == "one", change
                break
            assert watch.next, watch.next
            waiting = asyncio.create_task(watch.__anext__())
            await asyncio.sleep(0)
            await client.put("a/2", "two")
            assert (await waiting).event["Put"]["new"] == "two"

        socket = await client.connect_websocket()
        await socket.select("KV")
        assert await socket.get("a/1") == "one"
        assert (await socket.request("Get", key="a/2")).data == "two"
        await socket.close()

        async with client.lock("l", 5) as lock:
            assert lock.is_held and lock.token
            await lock.put("a/3", "three")
            try:
                await client.lock("l", 5, wait=0).acquire()
            except LockTimeout:
                pass
            else:
                raise AssertionError("had it twice")
            waiting = asyncio.create_task(client.lock("l", 5).acquire())
            while len((await client.page("l/")).items) < 2:
                await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait((waiting,))
            assert waiting.cancelled()
            assert len((await client.page("l/")).items) == 1, "cancelled, and cleaned up"
        try:
            async with client.lock("l", 5) as lock:
                await client.revoke(lock.lease)
                await asyncio.sleep(60)
        except LockLost:
            pass
        else:
            raise AssertionError("not told")

        election = client.election("e", 5)
        async with election.campaign("me") as leadership:
            await leadership.proclaim("me again")
            assert (await election.leader()).value == "me again"
            async for leader in election.observe():
                assert leader.value == "me again"
                break
        try:
            async with asyncio.timeout(0.05):
                async for _ in client.watch("kv", prefix="nothing/"):
                    raise AssertionError("news of nothing")
        except TimeoutError:
            pass

async def again():
    async with Client(address) as client:
        assert await client.get("a/1") == "one"
        assert [change async for change in first(client.watch("kv", prefix="a/", start=1))]

async def first(watch):
    async for change in watch:
        yield change
        break
    await watch.close()

async def elsewhere():
    def other_thread():
        try:
            asyncio.run(again())
        except ReactorInUse:
            return "refused"
    client = Client(address)
    refused = await asyncio.to_thread(other_thread)
    await client.close()
    assert refused == "refused", refused

asyncio.run(everything())
asyncio.run(again())      # another loop has a reactor of its own
asyncio.run(elsewhere())  # but not while one is in use
print("all done")
"""


class AsyncioTests(ProcessTestCase):
    async def run_script(self, *words: str) -> str:
        """Run Python; it must end well, and in time."""
        path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error"}
        running = getProcessOutputAndValue(
            sys.executable, ["-X", "dev", *words], env=environment, path=str(self.directory)
        )
        out, err, code = await running.addTimeout(60, self.reactor)
        self.assertEqual((code, err.decode()), (0, ""), out.decode())
        return str(out.decode())

    async def test_everything(self) -> None:
        """Requests, watches, locks and elections in tasks, in one loop after the other.

        The node is named, so that its address is looked up, in a thread.
        """
        cluster = await self.formed(1)
        port = cluster.servers[0].address.rpartition(":")[2]
        script = self.directory / "script.py"
        script.write_text(SCRIPT)
        self.assertIn("all done", await self.run_script(str(script), f"localhost:{port}"))

    async def test_example(self) -> None:
        """The example does each job once."""
        cluster = await self.formed(1)
        address = cluster.servers[0].address
        client = Client(address)
        self.addCleanup(client.close)
        for number in range(10):
            await client.put(f"jobs/todo/{number}", f"job {number}")
        out = await self.run_script("-m", "examples.tasks", address)
        self.assertIn("10 jobs done", out)
        self.assertEqual((await client.page("jobs/todo/")).items, ())
        done = [item.value async for item in client.keys("jobs/done/")]
        self.assertEqual(
            [str(each).partition(" by ")[0] for each in done], [f"job {n}" for n in range(10)]
        )
        self.assertEqual((await client.page("jobs/lock/")).items, ())
