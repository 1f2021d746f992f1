"""Every route, as clients see it."""

from __future__ import annotations

from tests.support.http import SiteTestCase, complete, parse
from uring.errors import OutcomeUnknown, Overloaded, StillLearning, Unavailable


class NodeRouteTests(SiteTestCase):
    """What concerns nodes and members."""

    async def test_root_status_and_version(self) -> None:
        """A newcomer's first three requests are answered, without a leader too."""
        self.gateway.error = Unavailable("no leader")
        root = await self.request("GET", "/")
        self.assertEqual((root.code, root.json()["name"]), (200, "uring"))
        status = await self.request("GET", "/status")
        self.assertEqual((status.code, status.json()["id"]), (200, 1))
        version = await self.request("GET", "/version")
        self.assertEqual((version.code, version.body), (200, b'"1.2.3"'))
        self.assertEqual(version.headers["x-content-type-options"], "nosniff")
        self.assertEqual(version.headers["server"], "uring/1.2.3")

    async def test_members(self) -> None:
        """Both roots show, add and remove a member."""
        for root in ("node", "uring"):
            self.assertEqual((await self.request("GET", f"/{root}/1")).code, 200)
            self.assertEqual((await self.request("GET", f"/{root}/2")).code, 404)
            self.assertEqual((await self.request("POST", f"/{root}/2")).code, 409)
            body = {"address": "127.0.0.1:8082"}
            self.assertEqual((await self.request("POST", f"/{root}/2", body)).code, 200)
            self.assertEqual((await self.request("POST", f"/{root}/2")).code, 200)
            self.assertEqual((await self.request("DELETE", f"/{root}/2")).code, 200)
            self.assertEqual((await self.request("DELETE", f"/{root}/2")).code, 404)

    async def test_node_that_is_asked(self) -> None:
        """A node does not remove itself, by force or not: it could not serve its own client."""
        self.gateway.known[2] = "127.0.0.1:8082"
        for query in ("", "?force=true"):
            response = await self.request("DELETE", f"/node/1{query}")
            self.assertEqual(response.code, 409)
            self.assertIn("ask another member", response.json()["detail"])
        self.assertEqual((await self.request("DELETE", "/node/2")).code, 200)

    async def test_learner(self) -> None:
        """A member that does not vote yet is accepted, not unavailable: it was added."""
        self.gateway.error = StillLearning("node 2 is a learner")
        response = await self.request("POST", "/node/2", {"address": "127.0.0.1:8082"})
        self.assertEqual(
            (response.code, response.json()), (202, {"id": 2, "detail": "node 2 is a learner"})
        )

    async def test_leader(self) -> None:
        """Leadership can be handed to a member."""
        self.gateway.known[2] = "127.0.0.1:8082"
        self.assertEqual((await self.request("POST", "/leader/2")).code, 200)
        self.assertEqual(self.gateway.leader, 2)
        self.assertEqual((await self.request("POST", "/leader/9")).code, 404)

    async def test_bad_ids_and_addresses(self) -> None:
        """What is no id or no address gets a 400 that says what one is."""
        for path in ("/node/0", "/node/x", "/node/-1", f"/node/{2**63}", "/node/1e3"):
            self.assertEqual((await self.request("GET", path)).code, 400, path)
        for address in ("nowhere", ":1", "h:0", "h:65536", 7, None):
            response = await self.request("POST", "/node/2", {"address": address})
            self.assertEqual(response.code, 400, address)
        await self.alive()


class KeyRouteTests(SiteTestCase):
    """Keys and values."""

    async def test_life_of_a_key(self) -> None:
        """Both roots store, read, swap and delete, with the status lines that scripts look for."""
        for root in ("data", "kv"):
            path = f"/{root}/beep-{root}"
            missing = await self.request("GET", path)
            self.assertEqual(missing.line, "HTTP/1.1 404 Not Found")
            for _ in range(2):
                stored = await self.request("POST", path, {"value": "boop"})
                self.assertEqual(stored.line, "HTTP/1.1 201 Created")
            read = await self.request("GET", path)
            self.assertEqual(read.line, "HTTP/1.1 200 OK")
            self.assertEqual(read.json(), {"key": f"beep-{root}", "value": "boop"})
            deleted = await self.request("DELETE", path)
            self.assertEqual((deleted.code, deleted.json()["value"]), (200, "boop"))
            self.assertEqual((await self.request("DELETE", path)).code, 404)

    async def test_compare_and_swap(self) -> None:
        """A swap stores, or answers 409 with what is there; no check means that nothing may be."""
        path = "/kv/k/cas"
        self.assertEqual((await self.request("POST", path, {"check": "x", "store": "a"})).code, 409)
        self.assertEqual((await self.request("POST", path, {"store": "a"})).code, 201)
        conflict = await self.request("POST", path, {"check": None, "store": "b"})
        self.assertEqual((conflict.code, conflict.json()["value"]), (409, "a"))
        self.assertEqual((await self.request("POST", path, {"check": "a", "store": "b"})).code, 201)

    async def test_compare_and_swap_of_the_old_path(self) -> None:
        """On /data a missing key is created whatever the check says; an equal value is stored."""
        path = "/data/k/cas"
        for _ in range(2):
            response = await self.request("POST", path, {"check": "x", "store": "a"})
            self.assertEqual(response.code, 201)
        self.assertEqual((await self.request("POST", path, {"check": "x", "store": "b"})).code, 409)

    async def test_any_content_type_is_json(self) -> None:
        """The body is read as JSON whatever its type is called."""
        for kind in ("applicaiton/json", "text/plain", "application/x-www-form-urlencoded"):
            response = await self.request("POST", "/kv/k", {"value": "v"}, Content_Type=kind)
            self.assertEqual(response.code, 201, kind)

    async def test_keys_of_all_kinds(self) -> None:
        """Slashes, escapes and any script make keys that are stored as they are."""
        for path, key in {
            "a/b": "a/b",
            "a%2fb": "a/b",
            "a//b": "a//b",
            "%C3%A9": "é",
            "e%CC%81": "e\u0301",
            "%F0%9F%90%8D": "🐍",
            "%E2%80%AE": "\u202e",
            "a%20b+c%25": "a b+c%",
            "..": "..",
            "%2e%2e": "..",
            "cas": "cas",
            "x" * 4096: "x" * 4096,
        }.items():
            stored = await self.request("POST", f"/kv/{path}", {"value": path})
            self.assertEqual(stored.code, 201, path)
            read = await self.request("GET", f"/kv/{path}")
            self.assertEqual(read.json(), {"key": key, "value": path})

    async def test_stale_reads_need_no_leader(self) -> None:
        """Without a leader only a stale read is answered."""
        await self.request("POST", "/kv/k", {"value": "v"})
        self.gateway.error = Unavailable("no leader at the moment")
        refused = await self.request("GET", "/kv/k")
        self.assertEqual((refused.code, refused.headers["retry-after"]), (503, "1"))
        self.assertEqual((await self.request("GET", "/kv/k?consistency=stale")).code, 200)
        self.assertEqual((await self.request("GET", "/kv/k?consistency=maybe")).code, 400)

    async def test_errors_are_problem_details(self) -> None:
        """Errors have RFC 9457's form; an unknown outcome is called so."""
        for error, code in (
            (Unavailable("no leader"), 503),
            (Overloaded("too much"), 503),
            (OutcomeUnknown("outcome unknown: not applied in time"), 504),
        ):
            self.gateway.error = error
            response = await self.request("POST", "/kv/k", {"value": "v"})
            self.assertEqual(response.code, code)
            self.assertEqual(response.headers["content-type"], "application/problem+json")
            self.assertEqual(response.json()["status"], code)
        self.assertIn("outcome unknown", response.json()["detail"])

    async def test_hanging_up_does_not_cancel(self) -> None:
        """A client that goes before its answer has its command applied, and harms nobody."""
        self.gateway.holding = True
        client = await self.connect()
        client.write(
            b'POST /kv/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{"value":"v"}'
        )
        while not self.gateway.held:
            await self.clock_turn()
        assert client.transport is not None
        client.transport.loseConnection()
        await client.until_closed()
        await self.clock_turn()
        self.gateway.holding = False
        self.gateway.release()
        self.assertEqual((await self.request("GET", "/kv/k")).json()["value"], "v")

    async def clock_turn(self) -> None:
        from twisted.internet.task import deferLater

        await deferLater(self.reactor, 0, lambda: None)

    async def test_pipelined_requests_are_answered_in_order(self) -> None:
        """A hundred requests in one write get a hundred answers, in order."""
        client = await self.connect()
        await self.request("POST", "/kv/k", {"value": "v"})
        for number in range(100):
            path = "/kv/k" if number % 2 else "/version"
            client.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = await client.until(lambda data: data.count(b"HTTP/1.1 200 OK") == 100)
        bodies = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
        self.assertEqual(bodies[0].strip(), b'"1.2.3"')
        self.assertTrue(complete(received))
        self.assertEqual(parse(received).code, 200)
        self.assertEqual([body[:1] for body in bodies], [b'"', b"{"] * 50)


class RingRouteTests(SiteTestCase):
    """The ring."""

    async def test_life_of_a_ring(self) -> None:
        """A ring gets a size once, then nodes; each answer is the ring as it then is."""
        self.assertEqual((await self.request("GET", "/mring")).code, 404)
        self.assertEqual((await self.request("POST", "/mring/node", {"node": "n1"})).code, 412)
        for _ in range(2):
            sized = await self.request("POST", "/mring", {"size": 8})
            self.assertEqual((sized.code, sized.json()), (200, {"size": 8}))
        conflict = await self.request("POST", "/mring", {"size": 9})
        self.assertEqual((conflict.code, conflict.json()["size"]), (409, 8))
        self.assertEqual((await self.request("GET", "/mring")).json(), {"size": 8})
        self.assertEqual((await self.request("GET", "/mring/node")).json(), [])
        one = [{"id": "n1", "vnodes": list(range(8))}]
        two = [{"id": "n1", "vnodes": [0, 1, 2, 3]}, {"id": "n2", "vnodes": [4, 5, 6, 7]}]
        for name, ring in (("n1", one), ("n2", two), ("n2", two)):
            added = await self.request("POST", "/mring/node", {"node": name})
            self.assertEqual((added.code, added.json()), (200, ring))
        self.assertEqual((await self.request("GET", "/mring/node")).json(), two)
        self.assertEqual((await self.request("DELETE", "/mring/node/n9")).code, 404)
        self.assertEqual((await self.request("DELETE", "/mring/node/n2")).json(), one)
        self.assertEqual((await self.request("DELETE", "/mring/node/n1")).json(), [])

    async def test_bad_sizes(self) -> None:
        """Sizes that are none leave the ring without one."""
        for size in (0, -1, 2**63, 2**24 + 1, "64", 1.5, True, None):
            response = await self.request("POST", "/mring", {"size": size})
            self.assertEqual(response.code, 400, size)
        self.assertEqual((await self.request("GET", "/mring")).code, 404)
