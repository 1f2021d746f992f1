"""REST of the documents that tell programs what this API is."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from attrs import define
from twisted.web.http import Request

from uring.api.replies import JSON
from uring.api.routes import Routes, sized


@cache
def load(name: str) -> bytes:
    """Return the document ``name`` as it is served."""
    return files("uring.api.description").joinpath(name).read_bytes()


@define(eq=False, slots=False)
class Documents(Routes):
    """These routes; :class:`uring.api.rest.Rest` adds its own to the same app."""

    app = Routes.app

    @app.route("/openapi.json", methods=["GET"])
    def openapi(self, request: Request) -> bytes:
        return sized(request, JSON, load("openapi.json"))

    @app.route("/asyncapi.json", methods=["GET"])
    def asyncapi(self, request: Request) -> bytes:
        return sized(request, JSON, load("asyncapi.json"))
