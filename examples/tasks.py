"""Workers that share jobs, in asyncio: each job is done by one of them, under a lock.

    python examples/tasks.py 127.0.0.1:8081 127.0.0.1:8082 127.0.0.1:8083

Start it as often as you like, on as many machines.  Jobs are the keys under ``jobs/todo/``; what
was done with them is put under ``jobs/done/``, in the same transaction that removes the job, and
only while the lock is held.
"""

from __future__ import annotations

import asyncio
import sys

from uring.client import LockLost, delete_op, put_op
from uring.client.asyncio import Client

TODO, DONE = "jobs/todo/", "jobs/done/"


async def work(client: Client, who: str) -> int:
    """Do jobs until there are none; return how many."""
    count = 0
    while True:
        try:
            async with client.lock("jobs/lock", ttl=5) as lock:
                page = await client.page(TODO, limit=1)
                if not page.items:
                    return count
                (job,) = page.items
                done = put_op(DONE + job.key.removeprefix(TODO), f"{job.value!s} by {who}")
                await lock.txn(then=[delete_op(job.key), done])
                count += 1
        except LockLost as error:
            print(f"{who}: {error}; the job is another's", file=sys.stderr)


async def main(*endpoints: str) -> None:
    """Do what there is with three workers, and show each result as it comes."""
    async with Client(*endpoints, patience=10.0, repeat=True) as client:

        async def show() -> None:
            async with client.watch("kv", prefix=DONE) as results:
                async for change in results:
                    print(change, flush=True)

        showing = asyncio.create_task(show())
        counts = await asyncio.gather(*(work(client, f"worker {n}") for n in range(3)))
        print(f"{sum(counts)} jobs done", flush=True)
        showing.cancel()
        await asyncio.wait((showing,))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
