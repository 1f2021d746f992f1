"""Every status of the OpenAPI document is real, and every body is of its documented shape."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from klein import Klein

from tests.support.gateway import FakeGateway
from tests.support.http import Response, SiteTestCase, complete, has_head, parse
from uring.access import digest
from uring.api.description.openapi import PATHS, statuses
from uring.api.documents import load
from uring.api.limits import Limits
from uring.errors import DiskFull, OutcomeUnknown, StillLearning, Unavailable
from uring.machines import leases
from uring.machines.commands import AddNode, AddToken, Grant, Put, SetSize
from uring.machines.ring.commands import JoinRing

VALUE, SWAP, SIZE = {"value": "v"}, {"store": "w"}, {"size": 8}
PLAN: dict[str, Any] = {"revision": 99, "digest": "", "add": ["n9"]}
TOKEN = "1" * 16
ONCE = {"Idempotency_Key": "k"}
ADDRESS = {"address": "127.0.0.1:8082"}
TXN = {"then": [{"Put": {"key": "a", "store": "1"}}]}
HANGING = {"then": [{"Put": {"key": "a", "store": "1", "lease": 9}}]}

Case = tuple[int, str, Any, dict[str, str]]
"""What is answered, the path, the body, and headers with underscores for dashes."""


def case(code: int, path: str, body: Any = None, **headers: str) -> Case:
    """Return one request and how it is answered."""
    return code, path, body, headers


def _key(root: str) -> dict[tuple[str, str], list[Case]]:
    path, there, none = f"/{root}/{{key}}", f"/{root}/k", f"/{root}/none"
    used = case(201, "/kv/other", VALUE, **ONCE)
    return {
        ("get", path): [
            case(200, there),
            case(200, f"{there}?detail=true"),
            case(200, f"{there}?raw=true"),
            case(304, there, None, If_None_Match="*"),
            case(404, none),
        ],
        ("post", path): [
            case(201, there, VALUE),
            case(201, f"{there}?lease=1", VALUE),
            case(409, f"{there}?lease=9", VALUE),
            case(412, there, VALUE, If_Match='"99"'),
            used,
            case(422, there, VALUE, **ONCE),
        ],
        ("put", path): [
            case(200, there, b"\xff"),
            case(201, f"/{root}/new", b"\xff"),
            case(409, f"{there}?lease=9", b"v"),
            case(412, none, b"v", If_Match="*"),
            used,
            case(422, there, b"v", **ONCE),
        ],
        ("delete", path): [
            case(412, there, None, If_Match='"99"'),
            used,
            case(422, there, None, **ONCE),
            case(200, there),
            case(404, none),
        ],
        ("post", f"{path}/cas"): [
            case(201, f"{there}/cas", {"check": "v", **SWAP}),
            case(409, f"{there}/cas", {"check": "x", "store": "y"}),
            used,
            case(422, f"{there}/cas", SWAP, **ONCE),
        ],
    }


CASES: dict[tuple[str, str], list[Case]] = {
    ("get", "/"): [case(200, "/"), case(200, "/", None, Accept="text/html")],
    ("get", "/watch"): [case(200, "/watch?channel=kv")],
    ("get", "/kv"): [case(200, "/kv?prefix=k&limit=1")],
    ("post", "/kv"): [case(200, "/kv", [{"Get": {"key": "k"}}, 7])],
    **_key("kv"),
    **_key("data"),
    ("post", "/txn"): [
        case(200, "/txn", TXN),
        case(409, "/txn", HANGING),
        case(201, "/kv/other", VALUE, **ONCE),
        case(422, "/txn", TXN, **ONCE),
    ],
    ("post", "/lease"): [case(201, "/lease", {"ttl": 5})],
    ("get", "/lease/{id}"): [case(200, "/lease/1"), case(404, "/lease/9")],
    ("post", "/lease/{id}"): [case(200, "/lease/1"), case(404, "/lease/9")],
    ("delete", "/lease/{id}"): [case(404, "/lease/9"), case(200, "/lease/1")],
    ("get", "/mring"): [case(200, "/mring")],
    ("post", "/mring"): [case(200, "/mring", SIZE), case(409, "/mring", {"size": 9})],
    ("get", "/mring/node"): [case(200, "/mring/node"), case(200, "/mring/node?format=ranges")],
    ("post", "/mring/node"): [case(200, "/mring/node", {"node": "n2"})],
    ("delete", "/mring/node/{name}"): [
        case(404, "/mring/node/n9"),
        case(200, "/mring/node/n1"),
    ],
    ("post", "/mring/plan"): [
        case(200, "/mring/plan", {"add": ["n2"], "format": "ranges"}),
        case(404, "/mring/plan", {"remove": ["n9"]}),
        case(409, "/mring/plan", {"add": ["n1"]}),
    ],
    ("post", "/mring/commit"): [
        case(409, "/mring/commit", {"plan": PLAN}),
        case(404, "/mring/commit", {"plan": {**PLAN, "revision": 3, "remove": ["n8"]}}),
        case(200, "/mring/commit", {"plan": "made"}),
    ],
    ("get", "/mring/vnode/{vnode}"): [case(200, "/mring/vnode/1"), case(404, "/mring/vnode/99")],
    ("get", "/mring/handoff"): [case(200, "/mring/handoff")],
    ("post", "/mring/handoff/limits"): [
        case(200, "/mring/handoff/limits", {"per_node": 1, "in_all": 1})
    ],
    ("post", "/mring/abandon"): [
        case(200, "/mring/abandon", {"node": "n1"}),
        case(404, "/mring/abandon", {"node": "n9"}),
    ],
    **{
        (method, f"/{root}/{{id}}"): cases
        for root in ("node", "uring")
        for method, cases in (
            ("get", [case(200, f"/{root}/1"), case(404, f"/{root}/9")]),
            ("post", [case(409, f"/{root}/2"), case(200, f"/{root}/2", ADDRESS)]),
            (
                "delete",
                [
                    case(404, f"/{root}/9"),
                    case(409, f"/{root}/1"),
                    case(200, f"/{root}/2", ADDRESS),
                ],
            ),
        )
    },
    ("post", "/leader/{id}"): [case(200, "/leader/1"), case(404, "/leader/9")],
    ("get", "/tokens"): [case(200, "/tokens")],
    ("post", "/tokens"): [
        case(409, "/tokens", {"role": "read"}),
        case(201, "/tokens", {"role": "admin"}),
    ],
    ("get", "/tokens/{id}"): [case(404, "/tokens/9")],
    ("delete", "/tokens/{id}"): [case(404, "/tokens/9")],
}
"""What is asked of a node with a key, a lease, and a ring of one node; what is not here: GET it."""

ELSEWHERE: dict[tuple[str, str], set[int]] = {
    ("get", "/mring"): {404},
    **{("get", path): {412} for path in ("/mring/node", "/mring/vnode/{vnode}", "/mring/handoff")},
    **{
        ("post", f"/mring/{name}"): {412}
        for name in ("node", "plan", "commit", "abandon", "handoff/limits")
    },
    ("delete", "/mring/node/{name}"): {412},
}
"""What is answered while the ring has no size."""


class StatusTests(SiteTestCase):
    """What is documented happens."""

    timeout = 120
    limits = Limits(token_failures=1)

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.document: dict[str, Any] = json.loads(load("openapi.json"))
        for shape in self.document["components"]["schemas"].values():
            if "properties" in shape:
                shape.setdefault("additionalProperties", False)
        self.seen: dict[tuple[str, str], set[int]] = {
            (method, path): set() for path in PATHS for method in PATHS[path]
        }

    def do(self, command: Any) -> Any:
        results: list[Any] = []
        self.gateway.submit(command, results.append)
        return results[0]

    async def again(self, furnished: bool = True) -> None:
        """Begin with another site; if it is furnished with a key, a lease and a small ring."""
        await self.tearDown()
        await super().setUp()
        if furnished:
            for command in (Put("k", "v"), Grant(60_000), SetSize(8), AddNode("n1")):
                self.do(command)

    def check(self, operation: tuple[str, str], found: Response) -> None:
        """The answer is documented: its status, its type, its body and its headers."""
        method, path = operation
        about = (operation, found.code, found.body)
        self.seen[operation].add(found.code)
        responses = self.document["paths"][path][method]["responses"]
        self.assertIn(str(found.code), responses, about)
        documented = responses[str(found.code)]
        if "$ref" in documented:
            documented = self.document["components"]["responses"][
                documented["$ref"].rpartition("/")[2]
            ]
        for name, header in documented.get("headers", {}).items():
            value = found.headers.get(name.lower())
            self.assertTrue(value is not None or not header.get("required"), (about, name))
        content = documented.get("content")
        if not content:
            self.assertEqual(found.body, b"", about)
            return
        kind = found.headers["content-type"].partition(";")[0]
        self.assertIn(kind, content, about)
        if "json" in kind and "schema" in content[kind]:
            schema = {**content[kind]["schema"], "components": self.document["components"]}
            errors = [
                each.message for each in Draft202012Validator(schema).iter_errors(found.json())
            ]
            self.assertEqual(errors, [], about)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Ask, and return the answer, or the head of a stream."""
        text = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        fields = {"Host": f"127.0.0.1:{self.number}", "Content-Length": str(len(text)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        client = await self.connect()
        client.write(f"{method.upper()} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + text)
        received = await client.until(has_head)
        if b"content-length" in received.lower() and b" 304 " not in received[:20]:
            received = await client.until(complete)
        found = parse(received)
        assert client.transport is not None
        client.transport.abortConnection()  # type: ignore[attr-defined]
        await client.until_closed()
        return found

    def example(self, operation: tuple[str, str]) -> tuple[str, Any]:
        """Return a path and a body that are served."""
        path = operation[1]
        named = {"/dashboard/{name}": "/dashboard/app.js"}
        spelled = named.get(path, re.sub(r"\{[^}]*\}", "1", path))
        if operation in CASES:
            _, spelled, body, _ = CASES[operation][0]
            return spelled, body
        return spelled, None

    async def test_every_status(self) -> None:
        """Each operation is answered by every status of its own, and by no others."""
        for operation in self.seen:
            await self.again()
            await self.own(operation)
            for code in ELSEWHERE.get(operation, ()):
                await self.again(furnished=False)
                path, body = self.example(operation)
                if operation == ("get", "/mring/node"):
                    path = "/mring/node?format=ranges"
                await self.expect(operation, code, path, body)
            await self.refusals(operation)
        await self.others()
        for (method, path), seen in self.seen.items():
            self.assertEqual(seen, statuses(PATHS[path][method]), (method, path))

    async def own(self, operation: tuple[str, str]) -> None:
        """Ask what the table has."""
        if operation[0] == "delete":
            self.gateway.known[2] = "127.0.0.1:8082"
        path, _ = self.example(operation)
        for code, asked, body, headers in CASES.get(operation, [case(200, path)]):
            if isinstance(body, dict) and body.get("plan") == "made":
                made = await self.ask("post", "/mring/plan", {"add": ["n2"]})
                body = {"plan": made.json()["plan"]}
            await self.expect(operation, code, asked, body, **headers)

    async def expect(
        self, operation: tuple[str, str], code: int, path: str, body: Any = None, **headers: str
    ) -> None:
        found = await self.ask(
            operation[0] if path != "/kv/other" else "post", path, body, **headers
        )
        self.assertEqual(found.code, code, (operation, path, found.body))
        if path != "/kv/other":
            self.check(operation, found)

    async def refusals(self, operation: tuple[str, str]) -> None:
        """Ask so that it is refused in every way that many share."""
        method, path = operation
        documented = statuses(PATHS[path][method])
        await self.again()
        asked, body = self.example(operation)
        for code, headers in (
            (400, {"X-A": "\x0b"}),
            (413, {"Content-Length": "99999999"}),
            (415, {"Content-Encoding": "gzip"}),
            (421, {"Host": "evil.example"}),
            (403, {"Origin": "http://evil.example", "Upgrade": "h2c"}),
        ):
            await self.expect(operation, code, asked, body if code != 413 else None, **headers)
        await self.expect(operation, 414, f"{asked}{'&' if '?' in asked else '?'}{'x' * 13_000}")
        for code, error in (
            (503, Unavailable("no leader")),
            (504, OutcomeUnknown("unknown")),
            (507, DiskFull("full")),
        ):
            if code not in documented:
                continue
            await self.again()
            self.gateway.error, self.gateway.stopping, self.gateway.leader = error, True, 0
            if method == "delete":
                self.gateway.known[2] = "127.0.0.1:8082"
                asked = asked.replace("/9", "/2")
            await self.expect(operation, code, asked, body)
        await self.again()
        self.fail_inside()
        await self.expect(operation, 500, asked, body)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        for patch in self.patched:
            patch.restore()
        if 401 in documented:
            await self.again()
            self.do(AddToken(TOKEN, digest("s"), "admin", (), "", ""))
            # Of the dashboard only what does not exist is not for everybody.
            hidden = asked.replace("app.js", "none.js")
            await self.expect(operation, 401, hidden, body)
            wrong = {"Authorization": "Bearer nobody.nothing"}
            await self.ask(method, hidden, body, **wrong)
            await self.expect(operation, 429, hidden, body, **wrong)

    def fail_inside(self) -> None:
        """Let everything that answers fail."""

        def fails(*args: Any, **more: Any) -> Any:
            raise ZeroDivisionError

        targets = ((Klein, "execute_endpoint"), (FakeGateway, "query"), (FakeGateway, "submit"))
        self.patched = [self.patch(owner, name, fails) for owner, name in targets]

    async def others(self) -> None:
        """Ask for what takes more than a request."""
        for root in ("node", "uring"):
            await self.again()
            self.gateway.error = StillLearning("not yet")
            await self.expect(("post", f"/{root}/{{id}}"), 202, f"/{root}/2", ADDRESS)
        await self.again()
        self.do(JoinRing("n1", "i", "h:1", 60_000, 1, ""))
        await self.expect(("post", "/mring/abandon"), 409, "/mring/abandon", {"node": "n1"})
        await self.again(furnished=False)
        self.do(SetSize(8, "continuous"))
        uneven = {"node": "n1", "weight": 2}
        await self.expect(("post", "/mring/node"), 409, "/mring/node", uneven)
        self.patch(leases, "LEASES_MAX", 0)
        await self.expect(("post", "/lease"), 409, "/lease", {"ttl": 5})
        await self.again()
        await self.expect(("get", "/dashboard/{name}"), 404, "/dashboard/none.js")
        self.do(AddToken(TOKEN, digest("s"), "admin", (), "", ""))
        self.do(AddToken("2" * 16, digest("t"), "read", (), "", TOKEN))
        bearer = {"Authorization": f"Bearer {TOKEN}.s"}
        for method, code, name in (
            ("get", 200, TOKEN),
            ("delete", 409, TOKEN),
            ("delete", 200, "2" * 16),
        ):
            await self.expect((method, "/tokens/{id}"), code, f"/tokens/{name}", None, **bearer)
