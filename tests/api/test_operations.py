"""What machines that watch over nodes ask: /metrics, /livez, /readyz, /cluster."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from tests.support.http import SiteTestCase
from uring.api import health
from uring.errors import Unavailable
from uring.machines.commands import Put


class MetricsTests(SiteTestCase):
    async def scraped(self) -> dict[str, float]:
        response = await self.request("GET", "/metrics")
        self.assertEqual(response.code, 200)
        self.assertEqual(
            response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8"
        )
        return {
            sample.name + "".join(f",{k}={v}" for k, v in sorted(sample.labels.items())): (
                sample.value
            )
            for family in text_string_to_metric_families(response.body.decode())
            for sample in family.samples
        }

    async def test_every_series_from_the_start(self) -> None:
        """Before anything happened each series is there, so that a rate has a beginning."""
        found = await self.scraped()
        for name in (
            "uring_term",
            "uring_has_leader",
            "uring_commands_applied_total",
            "uring_log_write_seconds_count",
            "uring_log_write_seconds_bucket,le=0.001",
            "uring_log_write_seconds_bucket,le=+Inf",
            "uring_commit_seconds_sum",
            "uring_reactor_delay_seconds_count",
            "uring_http_answers_total,code=504",
            "uring_role,role=Leader",
            "uring_role,role=Learner",
            "uring_peer_connected,id=1",
            "process_resident_memory_bytes",
        ):
            self.assertIn(name, found)

    async def test_same_series_afterwards(self) -> None:
        """And none appears later: only values change."""
        before = await self.scraped()
        self.gateway.submit(Put("a", "1"), lambda result: None)
        self.gateway.measures.log_write.observe(0.0003)
        await self.request("GET", "/kv/none")
        after = await self.scraped()
        self.assertEqual(
            {name for name in before if "python_gc" not in name},
            {name for name in after if "python_gc" not in name},
        )
        self.assertEqual(after["uring_log_write_seconds_count"], 1)
        self.assertEqual(after["uring_log_write_seconds_bucket,le=0.00025"], 0)
        self.assertEqual(after["uring_log_write_seconds_bucket,le=0.0005"], 1)
        self.assertEqual(after["uring_http_answers_total,code=404"], 1)
        self.assertEqual(after["uring_http_answers_total,code=200"], 1)


class HealthTests(SiteTestCase):
    async def answered(self, path: str) -> tuple[int, str]:
        response = await self.request("GET", path)
        self.assertEqual(response.headers["content-type"], "text/plain; charset=utf-8")
        return response.code, response.body.decode()

    async def test_well(self) -> None:
        """A node that is well says so in one word, or check by check."""
        self.assertEqual(await self.answered("/livez"), (200, "ok\n"))
        self.assertEqual(await self.answered("/readyz"), (200, "ok\n"))
        code, text = await self.answered("/readyz?verbose")
        self.assertEqual(code, 200)
        self.assertIn("[+]leader ok\n", text)
        self.assertIn(f"[+]member ok: node 1 of cluster {'c' * 32}\n", text)
        self.assertTrue(text.endswith("\nok\n"))

    async def test_without_a_leader(self) -> None:
        """Without a leader it is alive, but not ready."""
        self.gateway.leader = 0
        self.assertEqual((await self.answered("/livez"))[0], 200)
        code, text = await self.answered("/readyz")
        self.assertEqual((code, text), (503, "[-]leader failed: none known\nnot ready\n"))

    async def test_what_else_is_wrong(self) -> None:
        """No member, a fault, a disk nearly full: each is named."""
        self.gateway.known.clear()
        self.gateway.faults.append("the disk hangs")
        self.gateway.disk_free = 1000.0
        code, text = await self.answered("/readyz")
        self.assertEqual(code, 503)
        for part in ("[-]member failed: POST /node/1", "[-]faults failed: the disk hangs"):
            self.assertIn(part, text)
        self.assertIn("[-]disk failed: 1000 bytes left", text)

    async def test_unknown_space(self) -> None:
        """A node that does not know how much space is left is not blamed for it."""
        checks = {check.name: check.ok for check in health.ready(self.gateway.status(), -1)}
        self.assertTrue(checks["disk"])

    async def test_behind(self) -> None:
        """A node with much to apply is not ready."""
        status = {**self.gateway.status(), "commit_index": health.BEHIND_MAX + 1}
        checks = {check.name: check.detail for check in health.ready(status, -1) if not check.ok}
        self.assertEqual(list(checks), ["applied"])


class ClusterTests(SiteTestCase):
    async def test_shown(self) -> None:
        """Every member is listed with what it told of itself."""
        response = await self.request("GET", "/cluster")
        self.assertEqual(response.json()[0]["role"], "Leader")

    async def test_timeline(self) -> None:
        """What happened lately is told, oldest first."""
        response = await self.request("GET", "/cluster/timeline")
        self.assertEqual([each["kind"] for each in response.json()["events"]], ["leader"])

    async def test_disk(self) -> None:
        """The disk is measured when somebody asks; that it cannot be is said."""
        response = await self.request("POST", "/disk/probe")
        self.assertEqual((response.code, response.json()), (200, {"writes_ms": [0.5]}))
        self.gateway.error = Unavailable("nothing can be written")
        self.assertEqual((await self.request("POST", "/disk/probe")).code, 503)


class DashboardTests(SiteTestCase):
    async def test_page(self) -> None:
        """A browser gets the page at the root, a program what it always got."""
        page = await self.request("GET", "/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
        self.assertEqual(
            (page.code, page.headers["content-type"]), (200, "text/html; charset=utf-8")
        )
        self.assertEqual((await self.request("GET", "/dashboard")).body, page.body)
        program = await self.request("GET", "/", Accept="*/*")
        self.assertEqual(program.json()["name"], "uring")

    async def test_nothing_from_elsewhere(self) -> None:
        """All that the page names is its own, and the browser is told to load nothing else."""
        page = await self.request("GET", "/dashboard")
        self.assertIn("default-src 'none'", page.headers["content-security-policy"])
        self.assertIn("frame-ancestors 'none'", page.headers["content-security-policy"])
        for part in re.findall(rb'(?:src|href)="([^"]*)"', page.body):
            if part != b"data:,":
                self.assertEqual((await self.request("GET", part.decode())).code, 200, part)
        script = await self.request("GET", "/dashboard/app.js")
        self.assertEqual(script.headers["content-type"], "text/javascript; charset=utf-8")
        for forbidden in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"eval(", b"http://"):
            self.assertNotIn(forbidden, script.body.replace(b"http://www.w3.org/2000/svg", b""))


class BackupTests(SiteTestCase):
    async def test_streamed(self) -> None:
        """The pieces arrive in order, and the source is let go."""
        client = await self.connect()
        client.write(b"GET /backup HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        received = await client.until_closed()
        self.assertTrue(received.endswith(b"head" + b"x" * 100_000 + b"end"))
        self.assertIn(b"application/octet-stream", received)
        self.assertEqual(self.gateway.backup.closed, 1)

    async def test_refused(self) -> None:
        """Where no backup can be given the answer says why."""
        self.gateway.error = Unavailable("two are being taken already")
        self.assertEqual((await self.request("GET", "/backup")).code, 503)

    async def test_cut_off(self) -> None:
        """A backup that fails in the middle ends without its end, which HTTP shows."""
        self.gateway.backup.pieces = [b"head", Unavailable("a snapshot came")]
        client = await self.connect()
        client.write(b"GET /backup HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        received = await client.until_closed()
        self.assertFalse(received.endswith(b"0\r\n\r\n"))
        self.assertEqual((self.gateway.backup.asked, self.gateway.backup.closed), (2, 1))

    async def test_hanging_up(self) -> None:
        """A client that goes lets the source go."""
        self.gateway.backup.pieces = [b"head", None]
        client = await self.connect()
        client.write(b"GET /backup HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await client.until(lambda received: b"head" in received)
        closed = client.until_closed()
        client.transport.loseConnection()  # type: ignore[union-attr]
        await closed
        await self.alive()
        self.assertEqual(self.gateway.backup.closed, 1)
