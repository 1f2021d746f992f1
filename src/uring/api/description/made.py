"""The documents as they are to be: what the files of this folder hold."""

from __future__ import annotations

import json
from collections.abc import Callable

from uring import __version__
from uring.api.description import asyncapi, openapi
from uring.api.description.schemas import Schema

DOCUMENTS: dict[str, Callable[[str], Schema]] = {
    "openapi.json": openapi.document,
    "asyncapi.json": asyncapi.document,
}


def text(name: str) -> bytes:
    """Return the content of the file ``name``."""
    document = DOCUMENTS[name](__version__)
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
