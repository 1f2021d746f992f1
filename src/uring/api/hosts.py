"""Which Host a request may name: a page elsewhere can make a browser resolve its own name to us."""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)


def host_of(header: str) -> str | None:
    """Return the host of a Host header, lower-case, or None if it is malformed."""
    match = _HOST.fullmatch(header)
    return None if match is None else match[1].strip("[]").lower().rstrip(".")


def is_ours(header: str, allowed: frozenset[str], local: Callable[[], IAddress]) -> bool:
    """Tell whether a Host header names this node.

    It does by a loopback name, one of ``allowed``, or the address that the client connected to
    (``local`` asks the kernel for it).
    """
    host = host_of(header)
    if host is None:
        return False
    if host in _LOCAL or host in allowed:
        return True
    address = local()
    return isinstance(address, IPv4Address | IPv6Address) and host == address.host
