"""Lists of keys, page by page, with a cursor that clients hand back as it is."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as BadBase64
from typing import Any

from uring.api import replies
from uring.errors import BadRequest
from uring.machines.commands import List, Page
from uring.machines.limits import KEY_BYTES_MAX, LIST_BYTES_MAX, LIST_COUNT_MAX

COUNT_DEFAULT = 100


def query(prefix: str, cursor: str, limit: int) -> List:
    """Return what asks for one page.  Raises BadRequest."""
    if len(prefix.encode()) > KEY_BYTES_MAX:
        raise BadRequest(f"a prefix must have at most {KEY_BYTES_MAX} bytes")
    if not 1 <= limit <= LIST_COUNT_MAX:
        raise BadRequest(f"limit must be from 1 to {LIST_COUNT_MAX}")
    return List(prefix, _key_of(cursor), limit, LIST_BYTES_MAX)


def shown(page: Page) -> dict[str, Any]:
    """Return a page as clients see it."""
    items = [replies.found(item) for item in page.items]
    found: dict[str, Any] = {"revision": page.revision, "items": items}
    if page.more:
        found["cursor"] = urlsafe_b64encode(page.items[-1].key.encode()).decode().rstrip("=")
    return found


def _key_of(cursor: str) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        # It is a place, no key: what stands in the way of UTF-8 only moves it.
        found = b64decode(padded, b"-_", validate=True).decode(errors="replace")
    except (BadBase64, ValueError):
        raise BadRequest("no cursor of ours; begin again without one") from None
    if len(found.encode()) > KEY_BYTES_MAX:
        raise BadRequest("no cursor of ours; begin again without one")
    return found
