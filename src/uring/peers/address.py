"""Addresses as people write them: ``host:port``, or a Twisted endpoint string."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
    clientFromString,
    serverFromString,
)
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]+):([0-9]{1,5})")
_KINDS = frozenset({"tcp", "tcp4", "tcp6", "unix", "ssl", "tls", "host", "systemd", "fd"})
"""What endpoint strings begin with; no host may be called so."""
_WILDCARDS = frozenset({"0.0.0.0", "::"})


def parse(text: str) -> tuple[str, int]:
    """Return host, without brackets, and port.  Raises ValueError that says what to write."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"{text!r} is no address; write host:port, for example 127.0.0.1:8080")
    return match[1].strip("[]"), int(match[2])


def format_address(host: str, port: int) -> str:
    """Return "host:port", IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_host_port(text: str) -> bool:
    return text.partition(":")[0] not in _KINDS and _HOST_PORT.fullmatch(text) is not None


def client_endpoint(reactor: Any, text: str) -> IStreamClientEndpoint:
    """Return the endpoint that dials ``text``.  Raises ValueError."""
    if not _is_host_port(text):
        return clientFromString(reactor, text)
    host, port = parse(text)
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, timeout=5)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout=5)
    return HostnameEndpoint(reactor, host, port, timeout=5)


def server_endpoint(reactor: Any, text: str) -> IStreamServerEndpoint:
    """Return the endpoint that listens at ``text``.  Raises ValueError."""
    if not _is_host_port(text):
        return serverFromString(reactor, text)
    host, port = parse(text)
    server = TCP6ServerEndpoint if isIPv6Address(host) else TCP4ServerEndpoint
    return server(reactor, port, interface=host)


def advertised(text: str) -> str:
    """Return the "host:port" by which others reach what listens at ``text``.

    Raises ValueError where that cannot be known: a wildcard address, port 0, a path.
    """
    if _is_host_port(text):
        host, port = parse(text)
    else:
        _, _, rest = text.partition(":")
        arguments = [part for part in rest.replace("\\:", "\0").split(":") if part]
        named = dict(part.split("=", 1) for part in arguments if "=" in part)
        places = [part for part in arguments if "=" not in part]
        host = named.get("interface", "").replace("\0", ":")
        number = named.get("port", places[0] if places else "")
        port = int(number) if number.isdecimal() else 0
    if not host or host in _WILDCARDS or not port:
        raise ValueError(
            f"other nodes cannot dial {text!r}; say how they reach this one: --advertise HOST:PORT"
        )
    return format_address(host, port)
