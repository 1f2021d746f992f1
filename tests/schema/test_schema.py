"""A short run of schemathesis, with all its checks, against a follower of a real cluster."""

from __future__ import annotations

from contrib import RaftClient
from tests.integration.base import ProcessTestCase
from tests.schema.runs import EACH, PATIENT, WITH_CONDITIONS, Run, with_conditions, with_tokens
from uring.api.documents import load

SEED = 20_261_125
STREAMS = "^/watch$"
OTHERS = "^/(?!watch)"


class SchemaTests(ProcessTestCase):
    """What somebody from outside would do with the document."""

    timeout = 400

    async def clean(self, name: str, run: Run) -> None:
        """Nothing is found."""
        found = await run.findings(self.directory / name)
        self.assertEqual(found, "", found[-6000:])

    async def follower(self) -> tuple[RaftClient, int]:
        """Return a client of a follower of three, and its port."""
        cluster = await self.formed(3, *PATIENT)
        leader = await self.leader(*cluster.clients)
        pairs = zip(cluster.clients, cluster.servers, strict=True)
        return next((client, each.port) for client, each in pairs if client.node_id != leader)

    async def test_everything(self) -> None:
        """With a token of role admin: every operation, members that come and go included."""
        follower, port = await self.follower()
        made = await follower.rest.add_token("admin", name="schema")
        strict = self.directory / "tokens.json"
        strict.write_bytes(with_tokens(load("openapi.json")))
        run = Run(port, SEED, 4, token=made["token"], only=OTHERS, document=strict)
        await self.clean("all", run)

    async def test_streams(self) -> None:
        """Streams begin as they should, whatever is asked; none is listened to for long."""
        _, port = await self.follower()
        run = Run(port, SEED, 6, only=STREAMS, phases=EACH, request_seconds=0.5)
        await self.clean("streams", run)

    async def test_conditions(self) -> None:
        """Headers that make a request depend on what is there are understood or refused."""
        _, port = await self.follower()
        for but in ("IfMatch", "IfNoneMatch"):
            document = self.directory / f"but-{but}.json"
            document.write_bytes(with_conditions(load("openapi.json"), but))
            run = Run(
                port,
                SEED,
                8,
                only="^/(kv|data)/|^/txn",
                phases="coverage,fuzzing",
                document=document,
                config=WITH_CONDITIONS,
            )
            await self.clean(but, run)
