"""Pages of other origins that --allow-origin names, and those that it does not."""

from __future__ import annotations

from tests.support.http import SiteTestCase

ADMIN = "https://admin.example"
PREFLIGHT = {"Access_Control_Request_Method": "POST"}


class AllowedOriginTests(SiteTestCase):
    """Cross-origin requests."""

    origins = frozenset({ADMIN})

    async def test_allowed_page(self) -> None:
        """Its page may read and write, and the browser is told so, whatever the answer is."""
        for method, path, body, code in (
            ("POST", "/kv/k", {"value": "v"}, 201),
            ("GET", "/kv/k", None, 200),
            ("GET", "/kv/none", None, 404),
            ("GET", "/status", None, 200),
            ("POST", "/kv/k", b"nonsense", 400),
            ("DELETE", "/kv/k", None, 200),
        ):
            response = await self.request(
                method, path, body, Origin=ADMIN, Sec_Fetch_Site="cross-site"
            )
            self.assertEqual(response.code, code, path)
            self.assertEqual(response.headers["access-control-allow-origin"], ADMIN)
            self.assertEqual(response.headers["vary"], "Origin")
            self.assertNotIn("access-control-allow-credentials", response.headers)

    async def test_preflight(self) -> None:
        """The browser is told beforehand what such a page may send."""
        response = await self.request("OPTIONS", "/kv/k", Origin=ADMIN, **PREFLIGHT)
        self.assertEqual(response.code, 204)
        self.assertEqual(response.headers["access-control-allow-origin"], ADMIN)
        self.assertIn("POST", response.headers["access-control-allow-methods"])
        self.assertIn("Content-Type", response.headers["access-control-allow-headers"])

    async def test_websocket(self) -> None:
        """Its page may open a WebSocket."""
        _, response = await self.handshake(Origin=ADMIN)
        self.assertEqual(response.code, 101)

    async def test_similar_origins(self) -> None:
        """R5, R8, W1: an origin that only looks like it is a foreign one."""
        for origin in (
            "https://admin.example.evil",
            "http://admin.example",
            "https://admin.example:444",
            "https://evil.admin.example",
            "https://admin.example/",
            "HTTPS://ADMIN.EXAMPLE",
            "null",
        ):
            response = await self.request("POST", "/kv/k", {"value": "v"}, Origin=origin)
            self.assertEqual(response.code, 403, origin)
            self.assertNotIn("access-control-allow-origin", response.headers)
            preflight = await self.request("OPTIONS", "/kv/k", Origin=origin, **PREFLIGHT)
            self.assertNotIn("access-control-allow-origin", preflight.headers)
            _, response = await self.handshake(Origin=origin)
            self.assertEqual(response.code, 403, origin)
        self.assertEqual(self.gateway.applied, 0)

    async def test_two_origins(self) -> None:
        """A request with two Origins is foreign, whichever they are."""
        response = await self.raw(
            f"POST /kv/k HTTP/1.1\r\nHost: localhost\r\nOrigin: {ADMIN}\r\nOrigin: {ADMIN}\r\n"
            "Content-Length: 13\r\n\r\n".encode()
            + b'{"value":"v"}'
        )
        self.assertEqual(response.code, 403)

    async def test_host_is_still_checked(self) -> None:
        """R3: a name that is not the node's is refused to its pages, too."""
        response = await self.request("GET", "/status", Host="evil.example", Origin=ADMIN)
        self.assertEqual(response.code, 421)
