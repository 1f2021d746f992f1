"""Tokens at the doors: every route and every command, for everybody who might ask."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from tests.api.permissions import ADMIN, COMMANDS, CONVERSATION, NOBODY, READ, ROUTES, WRITE
from tests.support.http import Response, SiteTestCase, WebSocketClient, complete, has_head, parse
from uring.access import digest
from uring.api.doors import Doors
from uring.api.limits import Limits
from uring.api.messages import PROTOCOLS, Control
from uring.api.rest import Rest
from uring.machines.commands import AddToken, Grant, PutOp, Txn
from uring.machines.ring.commands import JoinRing

ROLES = (NOBODY, READ, WRITE, ADMIN)
TENANT = "tenant"
WHO = (*ROLES, TENANT)


def expected(who: str, role: str, tenant: bool) -> int:
    """Return how a request is refused, 0 if it is not."""
    if role == NOBODY:
        return 0
    if who == NOBODY:
        return 401
    allowed = tenant if who == TENANT else ROLES.index(who) >= ROLES.index(role)
    return 0 if allowed else 403


class AccessTestCase(SiteTestCase):
    """A site with a token for each role; ``tokens`` holds their texts."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.tokens = {
            who: f"{number:016x}.secret-of-{who}" for number, who in enumerate(WHO) if number
        }
        if self.protect_at_once:
            self.protect()

    protect_at_once = True

    def protect(self) -> None:
        for who in (ADMIN, READ, WRITE, TENANT):
            name, _, secret = self.tokens[who].partition(".")
            role, prefixes = (WRITE, ("p/",)) if who == TENANT else (who, ())
            by = self.tokens[ADMIN].partition(".")[0]
            self.do(AddToken(name, digest(secret), role, prefixes, who, by))

    def do(self, command: Any) -> Any:
        results: list[Any] = []
        self.gateway.submit(command, results.append)
        return results[0]

    def lease_with(self, key: str) -> int:
        lease: int = self.do(Grant(60_000)).id
        self.do(Txn([], [PutOp(key, b"1", lease)]))
        return lease

    def bearer(self, who: str) -> dict[str, str]:
        return {} if who == NOBODY else {"Authorization": f"Bearer {self.tokens[who]}"}

    async def head(self, method: str, path: str, body: Any, who: str) -> Response:
        """Ask, and return what the head of the answer says; a stream would never end."""
        text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body)
        text = text if isinstance(text, bytes) else text.encode()
        fields = {"Host": f"127.0.0.1:{self.number}", "Content-Length": str(len(text))}
        lines = "".join(f"{k}: {v}\r\n" for k, v in {**fields, **self.bearer(who)}.items())
        client = await self.connect()
        client.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + text)
        found = parse(await client.until(has_head))
        if "content-length" in found.headers and method != "HEAD":
            found = parse(await client.until(complete))
        assert client.transport is not None
        client.transport.abortConnection()  # type: ignore[attr-defined]
        await client.until_closed()
        return found

    async def socket(self, who: str, protocol: str = "KV", by_header: bool = True) -> Any:
        client, response = await self.handshake(**(self.bearer(who) if by_header else {}))
        self.assertEqual(response.code, 101)
        socket = WebSocketClient(client, client.received.index(b"\r\n\r\n") + 4)
        await socket.ask({"Select": {"rid": 0, "protocol": protocol}})
        return socket


class RouteTests(AccessTestCase):
    """Over REST."""

    timeout = 120

    async def test_every_cell(self) -> None:
        """Each route, for each who might ask: served, or refused with nothing done."""
        for method, path, body, role, tenant in ROUTES:
            for who in WHO:
                mine, other = self.lease_with("p/k"), self.lease_with("q/k")
                before = self.gateway.applied, dict(self.gateway.known)
                asked = path.replace("{mine}", str(mine)).replace("{other}", str(other))
                found = await self.head(method, asked, body, who)
                wanted = expected(who, role, tenant)
                about = (method, path, who, found.code, found.body)
                if not wanted:
                    self.assertNotIn(found.code, (401, 403, 405, 429, 500, 501), about)
                    continue
                self.assertEqual(found.code, wanted, about)
                self.assertEqual((self.gateway.applied, self.gateway.known), before, about)
                self.assertEqual("www-authenticate" in found.headers, wanted == 401, about)
                if wanted == 401:
                    self.assertTrue(found.headers["www-authenticate"].startswith("Bearer"))
                if method != "HEAD":
                    self.assertEqual(found.headers["content-type"], "application/problem+json")
                    why = found.json()["detail"]
                    self.assertTrue(any(word in why for word in ("token", "Bearer")), why)

    def test_every_route_is_there(self) -> None:
        """There is no route that the table does not name."""
        adapter = Rest.app.url_map.bind("localhost")
        named = set()
        for method, path, *_ in ROUTES:
            if path == "/nowhere" or path.startswith(("/kv/", "/data/")):
                continue  # keys have a door of their own
            rule, _ = adapter.match(path.partition("?")[0], method=method, return_rule=True)
            named.add((rule.rule, method))
        there = {
            (rule.rule, method)
            for rule in Rest.app.url_map.iter_rules()
            for method in (rule.methods or ())
            if method not in ("HEAD", "OPTIONS")
            # klein makes a second rule of each that has branches, for what follows.
            and not rule.rule.endswith("<path:__rest__>")
        }
        # A branch is matched by the rule for what follows.
        named |= {(rule.replace("<path:__rest__>", ""), method) for rule, method in named}
        self.assertEqual(there - named, set())

    async def test_lists_of_commands(self) -> None:
        """In a list each command is refused or served on its own."""
        batch = [
            {"Put": {"key": "p/a", "store": "1"}},
            {"Put": {"key": "q/a", "store": "1"}},
            {"Get": {"key": "p/a"}},
            {"Get": {"key": "q/a"}},
            {"Delete": {"key": "q/a"}},
        ]
        codes = {
            READ: [403, 403, 404, 404, 403],
            TENANT: [201, 403, 200, 403, 403],
            WRITE: [201, 201, 200, 200, 200],
        }
        for who, wanted in codes.items():
            found = await self.head("POST", "/kv", batch, who)
            self.assertEqual([each["code"] for each in found.json()], wanted, who)
        self.assertEqual((await self.head("POST", "/kv", batch, NOBODY)).code, 401)

    async def test_a_lease_of_the_ring(self) -> None:
        """Who may not change the ring ends no lease that a node of it lives by."""
        await self.head("POST", "/mring", {"size": 8}, ADMIN)
        joined = self.do(JoinRing("n1", "i", "h:1", 60_000))
        path = f"/lease/{joined.lease}"
        self.assertEqual((await self.head("DELETE", path, None, TENANT)).code, 403)
        self.assertEqual((await self.head("DELETE", path, None, WRITE)).code, 200)

    async def test_pipelined(self) -> None:
        """Plain requests behind each other, of which one has a token: only that is served."""
        plain = f"GET /kv/p/a HTTP/1.1\r\nHost: 127.0.0.1:{self.number}\r\n"
        token = f"Authorization: Bearer {self.tokens[READ]}\r\n"
        client = await self.connect()
        client.write(f"{plain}\r\n{plain}{token}\r\n{plain}\r\n".encode())
        received = await client.until(lambda data: data.count(b"HTTP/1.1 ") == 3)
        codes = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
        self.assertEqual(codes, [b"401", b"404", b"401"])

    async def test_quick_with_a_token(self) -> None:
        """A plain request with a right token takes the short way; no other does."""
        long: list[bytes] = []
        enter = self.site.doors.enter

        def entered(request: Any) -> Any:
            long.append(request.uri)
            return enter(request)

        self.patch(Doors, "enter", lambda doors, request: entered(request))
        for number, who in enumerate(WHO):
            found = await self.request("GET", f"/kv/p/{number}", **self.bearer(who))
            self.assertEqual(found.code, 401 if who == NOBODY else 404)
        wrong = await self.request("GET", "/kv/p/wrong", Authorization="Bearer x.y")
        self.assertEqual(wrong.code, 401)
        self.assertEqual(long, [b"/kv/p/0", b"/kv/p/wrong"])
        found = await self.request("GET", "/kv/q/a", **self.bearer(TENANT))
        self.assertEqual((found.code, len(long)), (403, 2))

    async def test_bad_headers(self) -> None:
        """What is no token of ours is told how to send one; spelling of the scheme is free."""
        for value in ("", "Bearer", "Bearer x", "Basic dTpw", self.tokens[READ], "Bearer \xfc.x"):
            found = await self.request("GET", "/status", Authorization=value)
            self.assertEqual(found.code, 401, value)
        right = await self.request("GET", "/status", Authorization=f"bEARER  {self.tokens[READ]} ")
        self.assertEqual(right.code, 200)
        line = f"Authorization: Bearer {self.tokens[READ]}\r\n"
        twice = f"GET /status HTTP/1.1\r\nHost: 127.0.0.1:{self.number}\r\n{line}{line}\r\n"
        self.assertEqual((await self.raw(twice.encode())).code, 401)


class CommandTests(AccessTestCase):
    """Over the WebSocket."""

    timeout = 120

    async def test_every_cell(self) -> None:
        """Each command, selected, by As and in a list, by header and by message."""
        self.do(Grant(60_000))
        sockets = {who: await self.socket(who) for who in WHO}
        for who in WHO[1:]:
            sockets[f"{who} by message"] = await self.socket(who, by_header=False)
            told = await sockets[f"{who} by message"].ask(
                {"Auth": {"rid": 9, "token": self.tokens[who]}}
            )
            self.assertEqual((told["rid"], told["code"], told["data"]["name"]), (9, 200, who))
        for protocol, name, fields, role, tenant in COMMANDS:
            for who, socket in sockets.items():
                wanted = expected(who.partition(" ")[0], role, tenant)
                leases: dict[Any, int] = {}
                if "lease" in fields:
                    leases = {"{mine}": self.lease_with("p/k"), "{other}": self.lease_with("q/k")}
                given = {
                    key: leases.get(value, value) if isinstance(value, str) else value
                    for key, value in fields.items()
                }
                command = {name: {"rid": 1, **given}}
                await socket.ask({"Select": {"rid": 0, "protocol": protocol}})
                before = self.gateway.applied
                if name != "Subscribe":
                    await self._check(socket, command, wanted, who)
                    await self._check(socket, [command], wanted, who)
                await socket.ask({"Select": {"rid": 0, "protocol": "Version"}})
                await self._check(
                    socket, {"As": {"protocol": protocol, "cmd": command}}, wanted, who
                )
                if wanted:
                    self.assertEqual(self.gateway.applied, before, (who, command))

    async def _check(self, socket: Any, message: Any, wanted: int, who: str) -> None:
        count = len(socket.texts)
        socket.send(message)
        reply: Any = None
        while reply is None:
            texts = await socket.receive(count + 1)
            told = texts[count:]
            # What was subscribed to before tells its changes in between.
            replies = [each for each in told if not ("Msg" in each or "Selected" in each)]
            reply = replies[0] if replies else None
            count = len(texts)
        reply = reply[0] if isinstance(reply, list) else reply
        about = (who, message, reply)
        if wanted:
            self.assertEqual(reply["code"], wanted, about)
            self.assertIn("token", reply["error"]["detail"].lower(), about)
        else:
            self.assertNotIn(reply.get("code"), (401, 403, 500), about)

    def test_every_command_is_there(self) -> None:
        """There is no command that the table does not name."""
        named = {(protocol, name) for protocol, name, *_ in COMMANDS}
        general = {name for _, name in named}
        for protocol, shape in PROTOCOLS.items():
            for name in shape.__struct_fields__:
                common = name in Control.__struct_fields__
                known = name in general if common else (protocol, name) in named
                self.assertTrue(known or name in CONVERSATION, (protocol, name))

    async def test_handshake(self) -> None:
        """A wrong token in the handshake is refused before there is a WebSocket."""
        _, response = await self.handshake(Authorization="Bearer x.y")
        self.assertEqual(response.code, 401)
        self.assertIn("www-authenticate", response.headers)

    async def test_auth_alone(self) -> None:
        """Auth is no part of a list, nor of As; a wrong one leaves who one was."""
        socket = await self.socket(READ)
        auth = {"Auth": {"rid": 1, "token": self.tokens[ADMIN]}}
        self.assertEqual((await socket.ask([auth]))[0]["code"], 400)
        self.assertEqual((await socket.ask({"As": {"protocol": "KV", "cmd": auth}}))["code"], 400)
        wrong = {"Auth": {"rid": 1, "token": self.tokens[ADMIN] + "x"}}
        self.assertEqual((await socket.ask(wrong))["code"], 401)
        self.assertEqual((await socket.ask({"Get": {"rid": 1, "key": "a"}}))["code"], 404)
        put = {"Put": {"rid": 1, "key": "a", "store": "1"}}
        self.assertEqual((await socket.ask(put))["code"], 403)
        self.assertEqual((await socket.ask(auth))["code"], 200)
        self.assertEqual((await socket.ask(put))["code"], 201)


class LifeTests(AccessTestCase):
    """Tokens come and go."""

    protect_at_once = False

    async def ask(self, method: str, path: str, body: Any = None, token: str = "") -> Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.request(method, path, body, **headers)

    async def test_life_of_a_cluster(self) -> None:
        """From open to closed and back, with nothing but curl."""
        self.assertEqual((await self.ask("GET", "/tokens")).json(), [])
        self.assertEqual((await self.ask("GET", "/kv/a", token="whatever")).code, 404)
        first = await self.ask("POST", "/tokens", {"role": "write"})
        self.assertEqual(first.code, 409)
        self.assertIn("admin", first.json()["detail"])
        made = await self.ask("POST", "/tokens", {"role": "admin", "name": "ops"})
        self.assertEqual(made.code, 201)
        admin = made.json()
        self.assertEqual((admin["name"], admin["role"], admin["prefixes"]), ("ops", "admin", []))
        self.assertEqual(admin["token"].partition(".")[0], admin["id"])
        self.assertGreaterEqual(len(admin["token"].partition(".")[2]), 43)
        self.assertEqual((await self.ask("GET", "/kv/a")).code, 401)
        body = {"role": "write", "name": "app", "prefixes": ["p/"]}
        app = (await self.ask("POST", "/tokens", body, admin["token"])).json()
        listed = await self.ask("GET", "/tokens", token=admin["token"])
        shown = {key: value for key, value in app.items() if key != "token"}
        self.assertIn(shown, listed.json())
        for each in (admin, app):
            self.assertNotIn(each["token"].partition(".")[2].encode(), listed.body)
        path = f"/tokens/{app['id']}"
        self.assertEqual((await self.ask("GET", path, token=admin["token"])).json(), shown)
        self.assertEqual(
            (await self.ask("POST", "/kv/p/a", {"value": "1"}, app["token"])).code, 201
        )
        last = await self.ask("DELETE", f"/tokens/{admin['id']}", token=admin["token"])
        self.assertEqual(last.code, 409)
        self.assertEqual((await self.ask("DELETE", path, token=admin["token"])).code, 200)
        self.assertEqual((await self.ask("DELETE", path, token=admin["token"])).code, 404)
        self.assertEqual((await self.ask("GET", "/kv/p/a", token=app["token"])).code, 401)
        last = await self.ask("DELETE", f"/tokens/{admin['id']}", token=admin["token"])
        self.assertEqual(last.code, 200)
        self.assertEqual((await self.ask("GET", "/kv/p/a")).code, 200)

    async def test_nothing_secret_is_kept(self) -> None:
        """Neither the state nor what is proposed holds a secret."""
        made = (await self.ask("POST", "/tokens", {"role": "admin"})).json()
        secret = made["token"].partition(".")[2].encode()
        state = b"".join(key + value for key, value in self.gateway.state.iterate(b""))
        self.assertIn(made["id"].encode(), state)
        self.assertNotIn(secret, state)

    async def test_bad_bodies(self) -> None:
        """What cannot be made is answered with what can."""
        bad: list[Any] = [
            {},
            {"role": "root"},
            {"role": 1},
            {"role": "admin", "prefixes": ["p/"]},
            {"role": "admin", "name": "x" * 256},
            {"role": "admin", "secret": "mine"},
        ]
        for body in bad:
            self.assertEqual((await self.ask("POST", "/tokens", body)).code, 400, body)
        admin = (await self.ask("POST", "/tokens", {"role": "admin"})).json()["token"]
        unfit: list[Any] = [[""], ["x" * 5000], [f"p{n}/" for n in range(17)], "p/", [1]]
        for prefixes in unfit:
            body = {"role": "read", "prefixes": prefixes}
            self.assertEqual((await self.ask("POST", "/tokens", body, admin)).code, 400, body)

    async def test_the_door_closes(self) -> None:
        """With the first token those who are connected already need one, watchers too."""
        socket = await self.websocket()
        await socket.ask({"Subscribe": {"rid": 1, "channel": "kv"}})
        old, _ = await self.handshake()
        silent = WebSocketClient(old, old.received.index(b"\r\n\r\n") + 4)
        silent.send({"Subscribe": {"channel": "kv"}})
        await silent.ask({"Select": {"rid": 0, "protocol": "KV"}})
        events = await self.connect()
        line = f"GET /watch?channel=kv HTTP/1.1\r\nHost: 127.0.0.1:{self.number}\r\n\r\n"
        events.write(line.encode())
        await events.until(lambda data: b"subscribed" in data)
        self.protect()
        await events.until(lambda data: b"event: ended" in data)
        self.assertIn(b'"code":401', events.received)
        await socket.raw.until(lambda data: b"Ended" in data)
        await silent.raw.until(lambda data: silent.close_code is not None)
        self.assertEqual((await socket.ask({"Get": {"rid": 2, "key": "a"}}))["code"], 401)
        await self.ask("POST", "/kv/secret", {"value": "1"}, self.tokens[ADMIN])
        for client in (socket.raw, old, events):
            self.assertNotIn(b"secret", client.received)
        auth = {"Auth": {"rid": 3, "token": self.tokens[READ]}}
        self.assertEqual((await socket.ask(auth))["code"], 200)
        self.assertEqual((await socket.ask({"Get": {"rid": 4, "key": "secret"}}))["data"], "1")

    async def test_a_token_goes(self) -> None:
        """Who has a token that is removed may do nothing from then on, and is told so."""
        self.protect()
        socket = await self.socket(READ)
        await socket.ask({"Subscribe": {"rid": 1, "channel": "kv"}})
        path = f"/tokens/{self.tokens[READ].partition('.')[0]}"
        self.assertEqual((await self.ask("DELETE", path, token=self.tokens[ADMIN])).code, 200)
        await socket.raw.until(lambda data: b"Ended" in data)
        self.assertEqual((await socket.ask({"Get": {"rid": 2, "key": "a"}}))["code"], 401)
        await self.ask("POST", "/kv/secret", {"value": "1"}, self.tokens[ADMIN])
        self.assertNotIn(b"secret", socket.raw.received)
        self.assertEqual((await self.ask("GET", "/status", token=self.tokens[READ])).code, 401)

    async def test_auth_where_no_token_is_needed(self) -> None:
        """A client that always says who it is is welcome where nobody asks."""
        socket = await self.websocket()
        told = await socket.ask({"Auth": {"rid": 1, "token": "x.y"}})
        self.assertEqual(told, {"rid": 1, "code": 200, "data": None})

    async def test_a_late_node(self) -> None:
        """A node that has not applied the first token yet does not make another one."""
        self.gateway.holding = True
        asked: Deferred[Response] = Deferred.fromCoroutine(
            self.ask("POST", "/tokens", {"role": "admin"})
        )
        while not self.gateway.held:
            await self.ask("GET", "/version")
        held, self.gateway.held, self.gateway.holding = self.gateway.held, [], False
        self.protect()
        held[0]()
        self.assertEqual((await asked).code, 409)


class FailureTests(AccessTestCase):
    """Wrong tokens in great numbers."""

    limits = evolve(Limits(), token_failures=3, token_failure_seconds=60.0)

    async def test_bounded(self) -> None:
        """More than so many are answered 429 with a time to wait; right ones are served."""
        for _ in range(3):
            self.assertEqual(
                (await self.request("GET", "/status", Authorization="Bearer a.b")).code, 401
            )
        found = await self.request("GET", "/status", Authorization="Bearer a.b")
        self.assertEqual((found.code, found.headers["retry-after"]), (429, "60"))
        self.assertEqual((await self.head("GET", "/status", None, READ)).code, 200)
        self.assertEqual((await self.head("GET", "/status", None, NOBODY)).code, 401)
        socket = await self.socket(NOBODY)
        told = await socket.ask({"Auth": {"rid": 1, "token": "a.b"}})
        self.assertEqual(told["code"], 429)
        self.clock.advance(60)
        found = await self.request("GET", "/status", Authorization="Bearer a.b")
        self.assertEqual(found.code, 401)

    def test_addresses_are_bounded(self) -> None:
        """So many addresses are remembered, and the oldest is forgotten first."""
        from uring.api import doors

        self.patch(doors, "ADDRESSES_MAX", 2)
        failures = doors.Failures(1, 60.0, self.clock)
        codes = [failures.failed(address).code for address in ("a", "b", "c", "b", "a")]
        self.assertEqual(codes, [401, 401, 401, 429, 401])
