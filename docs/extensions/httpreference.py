"""Renders what uring says of its own API: directives for its OpenAPI and AsyncAPI documents.

``{openapi}`` and ``{asyncapi}`` stand for the whole document.  They make Markdown, which is then
parsed as if it stood in the page, headings included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

METHODS = ("get", "put", "post", "delete", "patch")
EXAMPLE_MAX = 4000
NAMES_MAX = 12


def document(name: str) -> dict[str, Any]:
    """Return a description as a node serves it; empty where this version has none."""
    try:
        text = files("uring.api").joinpath("description", name).read_bytes()
    except FileNotFoundError:
        return {}
    found: dict[str, Any] = json.loads(text)
    return found


class Renderer:
    """Makes Markdown of one document."""

    def __init__(self, found: dict[str, Any], level: int) -> None:
        self.document = found
        self.level = level

    def resolved(self, part: Any) -> dict[str, Any]:
        """Return ``part``, or what it refers to."""
        while isinstance(part, dict) and "$ref" in part:
            target: Any = self.document
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step.replace("~1", "/").replace("~0", "~")]
            part = target
        return part or {}

    def heading(self, text: str, deeper: int) -> str:
        """Return a heading, ``deeper`` levels below the page's own."""
        return f"\n{'#' * (self.level + deeper)} {text}\n"

    def shape(self, schema: Any) -> str:
        """Return a schema in a few words."""
        if not isinstance(schema, dict):
            return "anything"
        if "$ref" in schema:
            return f"`{schema['$ref'].rpartition('/')[2]}`"
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return " or ".join(dict.fromkeys(self.shape(each) for each in schema[word]))
        if "const" in schema:
            return f"`{json.dumps(schema['const'])}`"
        if "enum" in schema:
            return ", ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
        kind = schema.get("type", "anything")
        if isinstance(kind, list):
            return " or ".join(kind)
        if kind == "array":
            if "prefixItems" in schema:
                return "array of " + ", ".join(map(self.shape, schema["prefixItems"]))
            return f"array of {self.shape(schema.get('items', {}))}"
        return str(kind) + self.bounds(schema)

    def bounds(self, schema: dict[str, Any]) -> str:
        """Return what a number or a string must be between."""
        names = (("minimum", "maximum"), ("minLength", "maxLength"))
        for least, most in names:
            if least in schema and most in schema:
                return f", {schema[least]} to {schema[most]}"
            if least in schema:
                return f", from {schema[least]}"
            if most in schema:
                return f", up to {schema[most]}"
        return ""

    def fields(self, schema: dict[str, Any]) -> Iterator[str]:
        """Yield a table of an object's fields."""
        if not schema.get("properties"):
            yield self.shape(schema) + "\n"
            return
        required = schema.get("required", ())
        yield "| field | type | |\n|---|---|---|"
        for name, part in schema["properties"].items():
            about = [self.resolved(part).get("description", "")] if "$ref" not in part else []
            if name not in required:
                about.append("optional")
            if "default" in part:
                about.append(f"default `{json.dumps(part['default'])}`")
            words = "; ".join(filter(None, about))
            yield f"| `{name}` | {cell(self.shape(part))} | {cell(words)} |"
        yield ""

    def schemas(self) -> Iterator[str]:
        """Yield every schema that the document names."""
        yield self.heading("Shapes", 1)
        for name, schema in sorted(self.document.get("components", {}).get("schemas", {}).items()):
            yield self.heading(name, 2)
            if schema.get("description"):
                yield schema["description"] + "\n"
            yield from self.fields(schema)


class OpenApi(Renderer):
    """Paths by tag, then schemas."""

    def rendered(self) -> Iterator[str]:
        """Yield the document."""
        yield self.document["info"].get("description", "") + "\n"
        tags = [tag["name"] for tag in self.document.get("tags", ())]
        for tag in tags:
            yield self.heading(tag, 1)
            for path, operations in self.document["paths"].items():
                for method in METHODS:
                    operation = operations.get(method)
                    if operation is not None and tag in operation.get("tags", ()):
                        yield from self.operation(method, path, operation)
        yield from self.schemas()

    def operation(self, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
        """Yield one operation."""
        yield self.heading(f"{method.upper()} `{path}`", 2)
        yield operation.get("summary", "") + ".\n"
        if operation.get("description"):
            yield operation["description"] + "\n"
        given = [self.resolved(each) for each in operation.get("parameters", ())]
        given += [self.resolved(each) for each in operation.get("x-conditions", ())]
        if given:
            yield "| parameter | in | type | |\n|---|---|---|---|"
            for each in given:
                yield (
                    f"| `{each['name']}` | {each['in']} | {cell(self.shape(each.get('schema')))} "
                    f"| {cell(each.get('description', ''))} |"
                )
            yield ""
        yield from self.body(self.resolved(operation.get("requestBody")))
        yield "| answer | means | body |\n|---|---|---|"
        for code, part in sorted(operation["responses"].items()):
            answer = self.resolved(part)
            bodies = [
                f"{self.shape(media['schema'])} ({kind})" if "schema" in media else kind
                for kind, media in answer.get("content", {}).items()
            ]
            yield f"| {code} | {cell(answer['description'])} | {cell('; '.join(bodies))} |"
        yield ""

    def body(self, body: dict[str, Any]) -> Iterator[str]:
        """Yield what a request carries, with its first example."""
        for kind, media in body.get("content", {}).items():
            need = "" if body.get("required") else ", optional"
            shape = self.shape(media["schema"]) if media.get("schema") else "any bytes"
            yield f"Body ({kind}{need}): {shape}\n"
            for example in list(media.get("examples", {}).values())[:1]:
                yield from fenced(self.resolved(example).get("value"))


class AsyncApi(Renderer):
    """Operations of a WebSocket: what is sent, what comes back."""

    def rendered(self) -> Iterator[str]:
        """Yield the document."""
        yield self.document["info"].get("description", "") + "\n"
        for action, title in (("receive", "What a client sends"), ("send", "What comes back")):
            yield self.heading(title, 1)
            for name, operation in self.document.get("operations", {}).items():
                if operation["action"] == action:
                    yield self.heading(f"`{name}`", 2)
                    yield from self.operation(operation)
        yield from self.schemas()

    def operation(self, operation: dict[str, Any]) -> Iterator[str]:
        """Yield one operation and its messages."""
        for word in ("summary", "description"):
            if operation.get(word):
                yield operation[word] + "\n"
        channel = self.resolved(operation["channel"])
        messages = operation.get("messages") or list(channel.get("messages", {}).values())
        for part in messages:
            message = self.resolved(part)
            text = message.get("summary") or message.get("description") or ""
            yield f"**{message.get('title') or message.get('name', '')}** {text}\n"
            payload = self.resolved(message.get("payload"))
            properties = payload.get("properties", {})
            if len(properties) == 1:
                ((name, inner),) = properties.items()
                yield f"`{name}`: {self.shape(inner)}\n"
            else:
                yield from self.fields(payload)
            for example in message.get("examples", ())[:1]:
                yield from fenced(example.get("payload"))


def cell(text: str) -> str:
    """Return ``text`` so that it fits into a table."""
    return " ".join(text.split()).replace("|", "\\|")


def fenced(value: Any) -> Iterator[str]:
    """Yield an example as a block of JSON."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > 80:
        text = json.dumps(value, ensure_ascii=False, indent=2)
    if len(text) <= EXAMPLE_MAX:
        yield f"```json\n{text}\n```\n"


class Reference(SphinxDirective):
    """The directives: where this version has no such document, the page says what there is."""

    optional_arguments = 1
    file = "openapi.json"
    renderer: type[Any] = OpenApi

    def run(self) -> list[nodes.Node]:
        """Return the rendered document."""
        found = document(self.file)
        if found.get("info"):
            text = "\n".join(self.renderer(found, 1).rendered())
        else:
            text = f"This version does not serve /{self.file}; see [PROTOCOL.md](../PROTOCOL.md)."
        lines = StringList(text.splitlines(), source=f"<{self.file}>")
        return self.parse_content_to_nodes(lines) if lines else []

    def parse_content_to_nodes(self, lines: StringList) -> list[nodes.Node]:
        """Parse Markdown with headings, as part of the page."""
        container = nodes.Element()
        container.document = self.state.document
        self.state.nested_parse(lines, self.content_offset, container, match_titles=True)
        return list(container.children)


class AsyncReference(Reference):
    """The same of the WebSocket."""

    file = "asyncapi.json"
    renderer = AsyncApi


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("openapi", Reference)
    app.add_directive("asyncapi", AsyncReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
