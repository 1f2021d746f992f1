"""Addresses as people write them: ``host:port``, or a Twisted endpoint string."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from attrs import frozen
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

if TYPE_CHECKING:  # TLS is loaded only where it is used: see uring.lean
    from uring.peers.tls import Files

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]+):([0-9]{1,5})")
_SSL = ("port", "interface", "privateKey", "certKey", "extraCertChain")
_KINDS = frozenset({"tcp", "tcp4", "tcp6", "unix", "ssl", "tls", "host", "systemd", "fd"})
"""What endpoint strings begin with; no host may be called so."""
BACKLOG = 1024
"""Connections that wait to be accepted.  With Twisted's 50 a thousand clients that come back at
once, as they do when another node has ended, wait for seconds: the kernel tries again after one."""
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


@frozen
class Listener:
    """Where to listen, and with which certificate, if clients are to come by TLS."""

    endpoint: IStreamServerEndpoint
    files: Files | None = None


def listener(reactor: Any, text: str) -> Listener:
    """Return what listens at ``text``.  Raises ValueError.

    ``ssl:`` is not left to Twisted, so that nodes can come to the same port, each version and
    option is ours, and certificates can be read again.
    """
    if text.startswith("ssl:"):
        from uring.peers.tls import Files

        named = _ssl(text)
        host, port = named.get("interface", ""), int(named["port"])
        certificate, key = named["certKey"], named["privateKey"]
        files = Files(certificate, key, chain=named.get("extraCertChain"))
        return Listener(_tcp(reactor, host, port), files)
    if not _is_host_port(text):
        return Listener(serverFromString(reactor, text))
    return Listener(_tcp(reactor, *parse(text)))


def _tcp(reactor: Any, host: str, port: int) -> IStreamServerEndpoint:
    server = TCP6ServerEndpoint if isIPv6Address(host) else TCP4ServerEndpoint
    return server(reactor, port, backlog=BACKLOG, interface=host)


def _arguments(text: str) -> dict[str, str]:
    """Return the named arguments of an endpoint string; the first place is its port."""
    parts = [part.replace("\0", ":") for part in text.replace("\\:", "\0").split(":")[1:]]
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    places = [part for part in parts if part and "=" not in part]
    if places:
        named.setdefault("port", places[0])
    return named


def _ssl(text: str) -> dict[str, str]:
    named = _arguments(text)
    unknown = sorted(named.keys() - set(_SSL))
    if unknown:
        raise ValueError(f"{text!r}: unknown {', '.join(unknown)}; known are {', '.join(_SSL)}")
    if not (named.get("port", "").isdecimal() and int(named["port"]) < 65536):
        raise ValueError(f"{text!r} has no port; write ssl:8443:privateKey=FILE:certKey=FILE")
    if "privateKey" not in named or "certKey" not in named:
        raise ValueError(
            f"{text!r} names no certificate; write ssl:8443:privateKey=FILE:certKey=FILE"
        )
    return named


def is_local(text: str) -> bool:
    """Tell whether only this machine can reach what listens at ``text``; if in doubt, no."""
    kind = text.partition(":")[0]
    if kind == "unix":
        return True
    if _is_host_port(text):
        host = parse(text)[0]
    elif kind in ("tcp", "tcp4", "tcp6", "ssl"):
        host = _arguments(text).get("interface", "")
    else:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def advertised(text: str) -> str:
    """Return the "host:port" by which others reach what listens at ``text``.

    Raises ValueError where that cannot be known: a wildcard address, port 0, a path.
    """
    if _is_host_port(text):
        host, port = parse(text)
    else:
        named = _arguments(text)
        host, number = named.get("interface", ""), named.get("port", "")
        port = int(number) if number.isdecimal() else 0
    if not host or host in _WILDCARDS or not port:
        raise ValueError(
            f"other nodes cannot dial {text!r}; say how they reach this one: --advertise HOST:PORT"
        )
    return format_address(host, port)
