"""The OpenAPI document: valid, as it would be made, and of exactly the routes that there are."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from openapi_spec_validator import validate
from twisted.trial.unittest import SynchronousTestCase

from tests.support.http import SiteTestCase
from uring.api.description.made import DOCUMENTS, text
from uring.api.description.openapi import PATHS, operation_id
from uring.api.documents import load
from uring.api.doors import PUBLIC
from uring.api.keys import PREFIXES
from uring.api.plain import PlainParser
from uring.api.rest import Rest

IMPLIED = {"HEAD", "OPTIONS"}


def shape(path: str) -> str:
    """Return a path with its parameters left blank, of klein's spelling or of OpenAPI's."""
    return re.sub(r"<[^>]*>|\{[^}]*\}", "{}", path)


def routes() -> set[tuple[str, str]]:
    """Return what klein routes."""
    found = set()
    for rule in Rest.app.url_map.iter_rules():
        # klein makes a second rule of each that has branches, for what follows: that is a name.
        if rule.rule.endswith("/"):
            continue
        if rule.rule == "/" or not rule.rule.endswith("/"):
            found |= {(shape(rule.rule), method) for method in (rule.methods or set()) - IMPLIED}
    return found | {("/", "GET")}


class DocumentTests(SynchronousTestCase):
    """What is written."""

    def setUp(self) -> None:
        self.document = json.loads(load("openapi.json"))

    def test_valid(self) -> None:
        """It is OpenAPI 3.1."""
        validate(self.document)
        self.assertTrue(self.document["openapi"].startswith("3.1."))

    def test_files_are_as_made(self) -> None:
        """python -m uring.api.description would write what is there."""
        for name in DOCUMENTS:
            self.assertEqual(load(name), text(name), "run python -m uring.api.description")

    def test_names(self) -> None:
        """Each operation has a name of its own; each schema one that no other room has, too."""
        names = [operation_id(path, method) for path in PATHS for method in PATHS[path]]
        self.assertEqual(len(set(names)), len(names))
        for name in self.document["components"]["schemas"]:
            self.assertNotIn(".", name)

    def test_every_route_both_ways(self) -> None:
        """What is routed is in it, and what is in it is routed: by klein or the keys' own door."""
        documented = {(shape(path), method.upper()) for path in PATHS for method in PATHS[path]}
        keys = {each for each in documented if each[0].startswith(("/kv/", "/data/"))}
        self.assertEqual(documented - keys, routes())
        expected = {
            (f"{prefix.decode()}{{}}{more}", method)
            for prefix in PREFIXES
            for more, methods in (("", ("GET", "POST", "PUT", "DELETE")), ("/cas", ("POST",)))
            for method in methods
        }
        self.assertEqual(keys, expected)

    def test_plain_requests_are_documented(self) -> None:
        """What the fast path takes is an operation of the document, and nothing else is taken."""
        parser = PlainParser(1000, 1000)
        methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
        for path in PATHS:
            for method in methods:
                spelled = re.sub(r"\{[^}]*\}", "x", path)
                data = f"{method} {spelled} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
                if parser.parse(data, 0, lambda host: True) is None:
                    continue
                root = path.removesuffix("/cas")
                self.assertIn(root, ("/kv/{key}", "/data/{key}"))
                self.assertIn(method.lower(), PATHS[root])

    def test_public(self) -> None:
        """What anybody may see needs no token, and everything else may."""
        for path, methods in self.document["paths"].items():
            if path == "/dashboard/{name}":
                continue  # all that are there are public, and others are not
            for operation in methods.values():
                self.assertEqual(operation.get("security") == [], path.encode() in PUBLIC, path)
                self.assertEqual("401" in operation["responses"], path.encode() not in PUBLIC)

    def test_conditions(self) -> None:
        """Headers that an operation takes beside its parameters are described in one place."""
        known = self.document["components"]["parameters"]
        named = {
            each["$ref"].rpartition("/")[2]
            for methods in self.document["paths"].values()
            for operation in methods.values()
            for each in operation.get("x-conditions", ())
        }
        self.assertEqual(named, set(known))

    def test_bodies_have_good_examples(self) -> None:
        """Each example is what the decoder of that body takes."""
        for path, methods in PATHS.items():
            for method, operation in methods.items():
                body = operation.body
                if body is None or not isinstance(body.shape, type) or body.shape is bytes:
                    continue
                for example in body.examples:
                    self.assertTrue(msgspec.convert(example, body.shape), (path, method))


class ServedTests(SiteTestCase):
    """What a node says."""

    async def test_documents(self) -> None:
        """Both are served as JSON, to anybody."""
        for name in DOCUMENTS:
            response = await self.request("GET", f"/{name}")
            self.assertEqual(response.code, 200)
            self.assertEqual(response.headers["content-type"], "application/json")
            self.assertEqual(response.body, load(name))

    async def test_methods(self) -> None:
        """Every method that is not documented is refused by 405 with those that are."""
        unknown: Any = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY")
        for path, methods in PATHS.items():
            spelled = re.sub(r"\{[^}]*\}", "1", path)
            there = {method.upper() for method in methods}
            for method in (*unknown, "OPTIONS"):
                if method in there:
                    continue
                response = await self.request(method, spelled)
                about = (method, spelled, response.code)
                self.assertEqual(response.code, 204 if method == "OPTIONS" else 405, about)
                allowed = set(response.headers["allow"].split(", "))
                self.assertEqual(allowed - IMPLIED, there, about)
