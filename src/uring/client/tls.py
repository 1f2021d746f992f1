"""TLS towards a node: which authorities are believed, and what an address says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

SECURE = "https://"
_BEFORE_ANYTHING_IS_SENT = ("certificate verify failed", "wrong version number")
_BEGIN = b"-----BEGIN CERTIFICATE-----"


@implementer(IPolicyForHTTPS)
@define
class Trust:
    """Believes the authorities of a file, or those of the operating system.

    Raises ValueError, when made, if the file holds none.
    """

    file: str | None = None
    _root: Any = None

    def __attrs_post_init__(self) -> None:
        self._root = platformTrust() if self.file is None else _authorities(self.file)

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """See IPolicyForHTTPS."""
        return optionsForClientTLS(hostname.decode("ascii"), trustRoot=self._root)

    def endpoint(self, reactor: Any, address: str, timeout: float) -> IStreamClientEndpoint:
        """Return what connects to ``address`` ("host:port", after https:// for TLS)."""
        host, _, port = address.removeprefix(SECURE).rpartition(":")
        host = host.strip("[]")
        plain = HostnameEndpoint(reactor, host, int(port), timeout=timeout)
        if not address.startswith(SECURE):
            return plain
        return wrapClientTLS(optionsForClientTLS(host, trustRoot=self._root), plain)


def _authorities(file: str) -> Any:
    try:
        parts = Path(file).read_bytes().split(_BEGIN)[1:]
        found = [Certificate.loadPEM(_BEGIN + part) for part in parts]
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    except (crypto.Error, ValueError):
        raise ValueError(f"{file}: holds a certificate that cannot be read") from None
    if not found:
        raise ValueError(f"{file}: holds no certificate")
    return trustRootFromCertificates(found)


def distrust(error: Exception) -> str | None:
    """Say why TLS could not begin, so that nothing was sent; None if that is not what went wrong.

    An error of TLS that may have come later says nothing of what the node has read by then.
    """
    reasons = getattr(error, "reasons", ())
    for value in [error, *(reason.value for reason in reasons)]:
        if isinstance(value, VerificationError):
            return "its certificate is for another name"
        if isinstance(value, SSL.Error) and value.args and isinstance(value.args[0], list):
            told = ", ".join(str(each[2]) for each in value.args[0])
            if any(each in told for each in _BEFORE_ANYTHING_IS_SENT):
                return f"TLS failed: {told}"
    return None
