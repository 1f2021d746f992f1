"""The dashboard: one page, its style and its scripts, served as they lie in this folder.

The page may load nothing from elsewhere, and nobody may put it into a frame: browsers are told so.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from attrs import define
from twisted.web.http import Request

from uring.api.routes import Routes, sized
from uring.errors import NotFound

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

ASSETS = {
    "style.css": b"text/css; charset=utf-8",
    **dict.fromkeys(
        ("app.js", "cluster.js", "keys.js", "page.js", "ring.js", "timeline.js"),
        b"text/javascript; charset=utf-8",
    ),
}
"""What the page loads, with its types."""


@cache
def _asset(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks, and not a program."""
    accepted = request.requestHeaders.getRawHeaders(b"accept", [])
    return any(b"text/html" in value for value in accepted)


def page(request: Request) -> bytes:
    """Answer with the page."""
    return _served(request, "index.html", b"text/html; charset=utf-8")


def _served(request: Request, name: str, kind: bytes) -> bytes:
    request.setHeader(b"Content-Security-Policy", POLICY)
    request.setHeader(b"Referrer-Policy", b"no-referrer")
    request.setHeader(b"Vary", b"Accept")
    return sized(request, kind, _asset(name))


@define(eq=False, slots=False)
class Dashboard(Routes):
    """What the page loads; the page itself is at the root, beside what programs get there."""

    app = Routes.app

    @app.route("/dashboard", methods=["GET"])
    def dashboard(self, request: Request) -> bytes:
        return page(request)

    @app.route("/dashboard/<name>", methods=["GET"])
    def asset(self, request: Request, name: str) -> bytes:
        if name not in ASSETS:
            raise NotFound("the dashboard has no such part")
        return _served(request, name, ASSETS[name])
