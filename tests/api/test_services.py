"""Conditions, raw values, lists, transactions, leases over REST."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from tests.support.http import Response, SiteTestCase
from uring.machines.limits import LIST_COUNT_MAX, TXN_OPERATIONS_MAX, VALUE_BYTES_MAX


class ServiceTestCase(SiteTestCase):
    async def put(self, key: str, value: bytes, **headers: str) -> Response:
        """Store raw bytes."""
        fields = {"Host": "127.0.0.1", "Content-Length": str(len(value)), **headers}
        lines = [f"PUT /kv/{key} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
        return await self.raw("\r\n".join(lines).encode() + value)

    async def etag(self, key: str) -> str | None:
        return (await self.request("GET", f"/kv/{key}")).headers.get("etag")


class RawTests(ServiceTestCase):
    async def test_bytes(self) -> None:
        """PUT stores the body as it is, and ?raw=true gives it back, whatever its bytes."""
        value = bytes(range(256))
        stored = await self.put("a", value)
        self.assertEqual((stored.code, stored.json()), (201, {"key": "a", "revision": 1}))
        raw = await self.request("GET", "/kv/a?raw=true")
        self.assertEqual((raw.code, raw.body), (200, value))
        self.assertEqual(raw.headers["content-type"], "application/octet-stream")
        shown = (await self.request("GET", "/kv/a")).json()
        self.assertEqual(list(shown["value"]), ["base64"])

    async def test_text(self) -> None:
        """What is UTF-8 is a text to everybody else."""
        self.assertEqual((await self.put("a", "é".encode())).code, 201)
        self.assertEqual((await self.request("GET", "/kv/a")).json(), {"key": "a", "value": "é"})
        self.assertEqual((await self.put("a", b"")).code, 200)
        self.assertEqual((await self.request("GET", "/kv/a?raw=true")).body, b"")

    async def test_old_bytes(self) -> None:
        """A value that is no text is shown as base64 by what replaces or removes it."""
        await self.put("a", b"\xff")
        posted = await self.request("POST", "/kv/a", {"value": "x"})
        self.assertEqual(posted.json()["old"], {"base64": "/w=="})
        await self.put("a", b"\xff")
        deleted = await self.request("DELETE", "/kv/a")
        self.assertEqual(deleted.json()["value"], {"base64": "/w=="})

    async def test_too_large(self) -> None:
        """A value beyond the limit is refused, and nothing is stored."""
        self.assertEqual((await self.put("a", bytes(VALUE_BYTES_MAX))).code, 201)
        self.assertEqual((await self.put("b", bytes(VALUE_BYTES_MAX + 1))).code, 400)
        self.assertEqual((await self.request("GET", "/kv/b")).code, 404)

    async def test_detail(self) -> None:
        """?detail=true shows revisions and lease; the plain answer stays as it always was."""
        await self.request("POST", "/kv/a", {"value": "1"})
        await self.request("POST", "/kv/a", {"value": "2"})
        shown = await self.request("GET", "/kv/a?detail=true")
        self.assertEqual(shown.json(), {"key": "a", "value": "2", "created": 1, "revision": 2})
        self.assertEqual((await self.request("GET", "/kv/a")).body, b'{"key":"a","value":"2"}')
        self.assertEqual((await self.request("GET", "/kv/a?detail=perhaps")).code, 400)


class ConditionTests(ServiceTestCase):
    async def test_if_match(self) -> None:
        """A write over the revision that was read succeeds once."""
        await self.request("POST", "/kv/a", {"value": "1"})
        tag = await self.etag("a")
        self.assertEqual(tag, '"1"')
        stored = await self.put("a", b"2", **{"If-Match": '"1"'})
        self.assertEqual((stored.code, stored.headers["etag"]), (200, '"2"'))
        late = await self.put("a", b"3", **{"If-Match": '"1"'})
        self.assertEqual((late.code, late.headers["etag"]), (412, '"2"'))
        self.assertEqual((await self.request("GET", "/kv/a")).json()["value"], "2")

    async def test_posts_and_deletes(self) -> None:
        """The same for POST and DELETE."""
        await self.request("POST", "/kv/a", {"value": "1"})
        wrong, right = {"If-Match": '"9"'}, {"If-Match": '"1"'}
        self.assertEqual((await self.request("POST", "/kv/a", {"value": "2"}, **wrong)).code, 412)
        posted = await self.request("POST", "/kv/a", {"value": "2"}, **right)
        self.assertEqual((posted.code, posted.json()["old"]), (201, "1"))
        self.assertEqual((await self.request("DELETE", "/kv/a", **wrong)).code, 412)
        deleted = await self.request("DELETE", "/kv/a", **{"If-Match": '"2"'})
        self.assertEqual((deleted.code, deleted.json()["value"]), (200, "2"))
        self.assertEqual((await self.request("DELETE", "/kv/a", **{"If-Match": "*"})).code, 412)

    async def test_existence(self) -> None:
        """Stars ask for something, or for nothing, to be there."""
        self.assertEqual((await self.put("a", b"1", **{"If-Match": "*"})).code, 412)
        self.assertEqual((await self.put("a", b"1", **{"If-None-Match": "*"})).code, 201)
        self.assertEqual((await self.put("a", b"2", **{"If-None-Match": "*"})).code, 412)
        self.assertEqual((await self.put("a", b"2", **{"If-Match": "*"})).code, 200)

    async def test_not_modified(self) -> None:
        """A reader that has the revision is not sent the value again."""
        await self.request("POST", "/kv/a", {"value": "1"})
        same = await self.request("GET", "/kv/a", **{"If-None-Match": '"7", "1"'})
        self.assertEqual((same.code, same.body, same.headers["etag"]), (304, b"", '"1"'))
        other = await self.request("GET", "/kv/a", **{"If-None-Match": '"7"'})
        self.assertEqual(other.code, 200)

    async def test_bad_conditions(self) -> None:
        """What is no revision of ours is refused, and nothing is stored."""
        for name, value in (
            ("If-Match", "1"),
            ("If-Match", 'W/"1"'),
            ("If-Match", '"1", "2"'),
            ("If-Match", '"0"'),
            ("If-Match", f'"{2**63}"'),
            ("If-Match", '"x"'),
            ("If-None-Match", '"1"'),
            ("Idempotency-Key", ""),
            ("Idempotency-Key", "k" * 256),
        ):
            response = await self.put("a", b"1", **{name: value})
            self.assertEqual(response.code, 400, (name, value))
        both = await self.put("a", b"1", **{"If-Match": "*", "If-None-Match": "*"})
        self.assertEqual(both.code, 400)
        self.assertEqual((await self.request("GET", "/kv/a")).code, 404)


class IdempotencyTests(ServiceTestCase):
    async def test_repeated(self) -> None:
        """A request that is repeated under its key is answered alike, and applied once."""
        once = {"Idempotency-Key": "order-1"}
        for method, body in (
            ("POST", {"value": "1"}),
            ("DELETE", None),
        ):
            first = await self.request(method, "/kv/a", body, **once)
            again = await self.request(method, "/kv/a", body, **once)
            self.assertEqual((first.code, first.body), (again.code, again.body))
            once = {"Idempotency-Key": "order-2"}
        self.assertEqual(self.gateway.machines.revision(self.gateway.state), 2)

    async def test_other_request(self) -> None:
        """The same key for another request is refused."""
        once = {"Idempotency-Key": "k"}
        await self.request("POST", "/kv/a", {"value": "1"}, **once)
        self.assertEqual((await self.request("POST", "/kv/a", {"value": "2"}, **once)).code, 422)

    async def test_cas_and_txn(self) -> None:
        """Compare-and-swap and transactions can be repeated, too."""
        once = {"Idempotency-Key": "cas"}
        for _ in range(2):
            swapped = await self.request("POST", "/kv/a/cas", {"store": "1"}, **once)
            self.assertEqual(swapped.code, 201)
        body = {"then": [{"Put": {"key": "a", "store": "2"}}]}
        replies = [
            await self.request("POST", "/txn", body, **{"Idempotency-Key": "t"}) for _ in range(2)
        ]
        self.assertEqual(replies[0].body, replies[1].body)
        self.assertEqual(replies[0].json()["results"][0]["value"], "1")


class ListTests(ServiceTestCase):
    async def listed(self, query: str) -> Any:
        response = await self.request("GET", f"/kv?{query}")
        self.assertEqual(response.code, 200, response.body)
        return response.json()

    async def test_pages(self) -> None:
        """Keys come in order, page by page, with the revision of the first to watch from."""
        for key in ("a/1", "a/2", "a/3", "b"):
            await self.request("POST", f"/kv/{key}", {"value": key})
        page = await self.listed("prefix=a/&limit=2")
        self.assertEqual([item["key"] for item in page["items"]], ["a/1", "a/2"])
        self.assertEqual(page["revision"], 4)
        rest = await self.listed(f"prefix=a/&limit=2&cursor={page['cursor']}")
        self.assertEqual([item["key"] for item in rest["items"]], ["a/3"])
        self.assertNotIn("cursor", rest)
        self.assertEqual(len((await self.listed(""))["items"]), 4)

    async def test_odd_keys(self) -> None:
        """Cursors carry any key."""
        keys = ["é?&=/+", "z z", "~\u2028"]
        for key in keys:
            await self.request("POST", f"/kv/{quote(key, safe='')}", {"value": "1"})
        found: list[str] = []
        cursor = ""
        while True:
            page = await self.listed(f"limit=1&cursor={cursor}")
            found.extend(item["key"] for item in page["items"])
            cursor = page.get("cursor", "")
            if not cursor:
                break
        self.assertEqual(sorted(found), sorted(keys))

    async def test_bad_queries(self) -> None:
        """What is no number, no cursor, unknown or given twice is refused."""
        for query in (
            "limit=0",
            f"limit={LIST_COUNT_MAX + 1}",
            "limit=x",
            "limit=-1",
            "limit=1&limit=2",
            "cursor=%00",
            "cursor=_",
            "prefix=%ff",
            f"prefix={'a' * 4097}",
            "sort=up",
            "consistency=maybe",
        ):
            response = await self.request("GET", f"/kv?{query}")
            self.assertEqual(response.code, 400, query)


class TxnTests(ServiceTestCase):
    async def test_branches(self) -> None:
        """What holds decides which branch is done, and each operation is answered."""
        body = {
            "compare": [{"key": "a", "target": "created", "to": 0}],
            "then": [{"Put": {"key": "a", "store": "1"}}],
            "else": [{"Get": {"key": "a"}}],
        }
        first = await self.request("POST", "/txn", body)
        self.assertEqual(first.json(), {"succeeded": True, "revision": 1, "results": [None]})
        second = (await self.request("POST", "/txn", body)).json()
        self.assertEqual((second["succeeded"], second["results"][0]["value"]), (False, "1"))

    async def test_values(self) -> None:
        """Values are texts, or bytes in base64, in comparisons as well."""
        put = {"Put": {"key": "a", "store": {"base64": "/w=="}}}
        await self.request("POST", "/txn", {"then": [put]})
        same = {"key": "a", "target": "value", "op": "=", "to": {"base64": "/w=="}}
        body = {"compare": [same], "then": [{"Get": {"key": "a"}}]}
        found = (await self.request("POST", "/txn", body)).json()
        self.assertEqual(found["results"][0]["value"], {"base64": "/w=="})

    async def test_largest(self) -> None:
        """As many operations as are allowed are taken."""
        then = [{"Put": {"key": f"k{n}", "store": "x"}} for n in range(TXN_OPERATIONS_MAX)]
        compare = [{"key": f"k{n}", "target": "revision", "op": "=", "to": 0} for n in range(128)]
        body = {"compare": compare, "then": then, "else": then}
        self.assertEqual((await self.request("POST", "/txn", body)).code, 200)
        many = {"then": [*then, {"Get": {"key": "a"}}]}
        self.assertEqual((await self.request("POST", "/txn", many)).code, 400)

    async def test_refused(self) -> None:
        """What makes no sense is refused as a whole, with what to do."""
        put = {"Put": {"key": "a", "store": "1"}}
        bodies: list[Any] = [
            {},
            {"then": []},
            {"then": [{}]},
            {"then": [{**put, "Get": {"key": "a"}}]},
            {"then": [put, {"Put": {"key": "", "store": "1"}}]},
            {"then": [put, {"Put": {"key": "b", "store": 1}}]},
            {"then": [put, {"Put": {"key": "b", "store": {"base64": "*"}}}]},
            {"then": [put, {"Put": {"key": "b", "store": "1", "lease": -1}}]},
            {"then": [put], "or": []},
            {"then": [put], "compare": [{"key": "a", "target": "age", "to": 1}]},
            {"then": [put], "compare": [{"key": "a", "target": "value", "to": 1}]},
            {"then": [put], "compare": [{"key": "a", "target": "revision", "to": 2**63}]},
            {"then": [put], "compare": [{"key": "a", "target": "revision", "to": 1, "op": "~"}]},
        ]
        for body in bodies:
            response = await self.request("POST", "/txn", body)
            self.assertEqual(response.code, 400, (body, response.body))
            self.assertTrue(response.json()["detail"])
        hanging = {"then": [put, {"Put": {"key": "b", "store": "1", "lease": 9}}]}
        self.assertEqual((await self.request("POST", "/txn", hanging)).code, 409)
        self.assertEqual((await self.request("GET", "/kv/a")).code, 404)


class LeaseTests(ServiceTestCase):
    async def test_life(self) -> None:
        """A lease is made, has keys, is renewed, and takes its keys along when it ends."""
        made = await self.request("POST", "/lease", {"ttl": 60})
        self.assertEqual((made.code, made.json()), (201, {"id": 1, "ttl": 60.0}))
        self.assertEqual((await self.request("POST", "/kv/a?lease=1", {"value": "1"})).code, 201)
        self.assertEqual((await self.put("b?lease=1", b"1")).code, 201)
        shown = await self.request("GET", "/lease/1")
        self.assertEqual(shown.json(), {"id": 1, "ttl": 60.0, "keys": ["a", "b"]})
        self.assertEqual((await self.request("GET", "/kv/a?detail=true")).json()["lease"], 1)
        self.assertEqual((await self.request("POST", "/lease/1")).json(), {"id": 1, "ttl": 60.0})
        self.assertEqual((await self.request("DELETE", "/lease/1")).code, 200)
        self.assertEqual((await self.request("GET", "/kv/a")).code, 404)
        for method in ("GET", "POST", "DELETE"):
            self.assertEqual((await self.request(method, "/lease/1")).code, 404, method)

    async def test_refused(self) -> None:
        """Times and ids that cannot be are refused."""
        for ttl in (0, -1, 0.5, 1e9, 1e308, "60", None, True):
            response = await self.request("POST", "/lease", {"ttl": ttl})
            self.assertEqual(response.code, 400, (ttl, response.body))
        for lease in ("0", "-1", "x", str(2**63), "1e3", "%31%00"):
            response = await self.request("GET", f"/lease/{lease}")
            self.assertEqual(response.code, 400, lease)
        for query in ("lease=0", "lease=x", "lease=1&lease=2"):
            response = await self.request("POST", f"/kv/a?{query}", {"value": "1"})
            self.assertEqual(response.code, 400, (query, response.body))
        response = await self.request("POST", "/kv/a?lease=7", {"value": "1"})
        self.assertEqual(response.code, 409)
        made = await self.request("POST", "/lease", {"ttl": 60})
        self.assertEqual(made.code, 201)
        self.assertEqual((await self.request("DELETE", "/kv/a?lease=1")).code, 400)
        cas = await self.request("POST", "/kv/a/cas?lease=1", {"store": "1"})
        self.assertEqual(cas.code, 400)

    async def test_json(self) -> None:
        """Answers are JSON of the shape that is documented."""
        made = await self.request("POST", "/lease", {"ttl": 1.5})
        self.assertEqual(json.loads(made.body)["ttl"], 1.5)


class SocketTests(ServiceTestCase):
    async def test_transactions_and_lists(self) -> None:
        """The WebSocket has the same transactions, lists and looks."""
        socket = await self.websocket()
        body = {
            "compare": [{"key": "a", "target": "created", "to": 0}],
            "then": [{"Put": {"key": "a", "store": {"base64": "/w=="}}}],
            "else": [{"Get": {"key": "a"}}],
        }
        first = await socket.ask({"Txn": {"rid": 1, **body}})
        self.assertEqual(first["data"], {"succeeded": True, "revision": 1, "results": [None]})
        look = await socket.ask({"Look": {"rid": 2, "key": "a"}})
        self.assertEqual(look["data"]["value"], {"base64": "/w=="})
        self.assertEqual((await socket.ask({"Look": {"rid": 3, "key": "b"}}))["code"], 404)
        page = await socket.ask({"List": {"rid": 4, "prefix": "a", "limit": 5}})
        self.assertEqual([item["key"] for item in page["data"]["items"]], ["a"])
        self.assertEqual((await socket.ask({"Get": {"rid": 5, "key": "a"}}))["code"], 200)
        put = await socket.ask({"Put": {"rid": 6, "key": "a", "store": "x"}})
        self.assertEqual((put["code"], put["data"]), (201, {"base64": "/w=="}))

    async def test_leases(self) -> None:
        """And the same leases."""
        socket = await self.websocket()
        made = await socket.ask({"Grant": {"rid": 1, "ttl": 60}})
        self.assertEqual(made["data"], {"id": 1, "ttl": 60.0})
        then = [{"Put": {"key": "a", "store": "1", "lease": 1}}]
        self.assertEqual((await socket.ask({"Txn": {"rid": 2, "then": then}}))["code"], 200)
        shown = await socket.ask({"Lease": {"rid": 3, "lease": 1}})
        self.assertEqual(shown["data"]["keys"], ["a"])
        self.assertEqual((await socket.ask({"KeepAlive": {"rid": 4, "lease": 1}}))["code"], 200)
        self.assertEqual((await socket.ask({"Revoke": {"rid": 5, "lease": 1}}))["code"], 200)
        for name in ("Lease", "KeepAlive", "Revoke"):
            self.assertEqual((await socket.ask({name: {"rid": 6, "lease": 1}}))["code"], 404, name)

    async def test_refused(self) -> None:
        """What makes no sense is answered, and the socket stays open."""
        socket = await self.websocket()
        bad: list[dict[str, Any]] = [
            {"Txn": {"rid": 1}},
            {"Txn": {"rid": 1, "then": [{"Put": {"key": "", "store": "1"}}]}},
            {"List": {"rid": 1, "limit": 0}},
            {"List": {"rid": 1, "cursor": "\x00"}},
            {"Look": {"rid": 1, "key": ""}},
            {"Grant": {"rid": 1, "ttl": 0}},
            {"Grant": {"rid": 1, "ttl": "60"}},
            {"KeepAlive": {"rid": 1, "lease": -1}},
            {"KeepAlive": {"rid": 1, "lease": 2**63}},
        ]
        for message in bad:
            answer = await socket.ask(message)
            self.assertEqual((answer["rid"], answer["code"]), (1, 400), message)
        hanging = {"Txn": {"rid": 1, "then": [{"Put": {"key": "a", "store": "1", "lease": 9}}]}}
        self.assertEqual((await socket.ask(hanging))["code"], 409)
        self.assertEqual((await socket.ask({"Get": {"rid": 2, "key": "a"}}))["code"], 404)
