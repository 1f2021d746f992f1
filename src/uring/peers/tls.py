"""TLS: of nodes among each other, each with a certificate in its own name; and for clients.

Between nodes both sides show a certificate of the cluster's authority.  That of node 7 carries the
name ``node-7.uring`` (a DNS name among its alternative names), and a hello is believed only from
whoever has the certificate of that id.  Files are read again when the process is told to; a file
that cannot be used leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

EXPIRES_SOON = timedelta(days=14)
"""A certificate that ends sooner is spoken of when it is read."""

_PROBLEMS = {
    7: "is not signed by the authority that it names",
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "is of an unknown authority",
    20: "is of an unknown authority",
    21: "is of an unknown authority",
    23: "is revoked",
    26: "is not meant for this use",
}
"""X509_V_ERR_* of OpenSSL, as people say them."""

_log = Logger(namespace="uring.tls")


def node_name(node_id: int) -> str:
    """Return the name that the certificate of a node carries."""
    return f"node-{node_id}.uring"


@frozen
class Files:
    """Where a certificate (with what leads to its authority), its key, and authorities are."""

    certificate: str
    key: str
    chain: str | None = None
    """More certificates on the way to the authority, where they are in a file of their own."""
    authorities: str | None = None
    """Whom to believe; None asks the other side for no certificate."""

    def load(self) -> SSL.Context:
        """Read everything.  Raises ValueError with a line that names the file."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        # Each connection proves itself anew: a session could outlive its certificate.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        context.set_passwd_cb(lambda length, confirm, data: b"")  # nobody is there to be asked
        _reading(self.certificate, context.use_certificate_chain_file)
        if self.chain is not None:
            for extra in _reading(self.chain, _certificates):
                context.add_extra_chain_cert(extra)
        _reading(self.key, context.use_privatekey_file)
        _reading(self.key, lambda name: context.check_privatekey())
        if self.authorities is not None:
            _reading(self.authorities, context.load_verify_locations)
        return context

    def own(self) -> x509.Certificate:
        """Return the certificate itself.  Raises ValueError if it is out of date."""
        (own, *_) = _reading(self.certificate, _certificates)
        now = datetime.now(UTC)
        if not own.not_valid_before_utc <= now <= own.not_valid_after_utc:
            raise ValueError(
                f"{self.certificate}: is valid from {own.not_valid_before_utc:%Y-%m-%d %H:%M} to "
                f"{own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; renew it, or set the clock"
            )
        if own.not_valid_after_utc - now < EXPIRES_SOON:
            _log.warn(
                "{file} expires at {end}: renew it and send SIGHUP",
                file=self.certificate,
                end=str(own.not_valid_after_utc),
            )
        return own


def _reading(path: str, read: Callable[[str], Any]) -> Any:
    """Return ``read(path)``; what goes wrong gets the file's name."""
    try:
        Path(path).read_bytes()  # OpenSSL alone would not say why it cannot
        return read(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except (SSL.Error, ValueError) as error:
        raise ValueError(f"{path}: cannot be used ({_reason(error)})") from None


def _certificates(path: str) -> list[x509.Certificate]:
    found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    if not found:
        raise ValueError("it holds no certificate")
    return found


def _reason(error: BaseException | None) -> str:
    """Return what OpenSSL says, without its names of libraries."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        reasons = [str(each[2]) for each in error.args[0] if each[2]]
        return ", ".join(reasons) or "no reason given"
    return " ".join(str(error).split())


def names_in(certificate: x509.Certificate) -> frozenset[str]:
    """Return the DNS names that a certificate is for, lower-case."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))


@define(eq=False)
class PeerTls:
    """What one node shows to others, and whom it believes.

    Raises ValueError, when made, with a line that says which file is wrong.
    """

    node_id: int
    files: Files
    is_checked: bool = True
    """Whether the node's own certificate must be in order; tests want to show others, too."""
    _context: SSL.Context = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reload()

    def reload(self) -> None:
        """Read the files again, for connections to come.  ValueError means that nothing changed."""
        context = self.files.load()
        if self.is_checked and node_name(self.node_id) not in names_in(self.files.own()):
            raise ValueError(
                f"{self.files.certificate}: is not for {node_name(self.node_id)}, "
                "which must be among its DNS names (subjectAltName)"
            )
        self._context = context

    def handshake(self, refused: Callable[[str], None]) -> Handshake:
        """Return what starts TLS on one connection, either way."""
        return Handshake(self._context, refused)

    def objection(self, transport: Any, node_id: int) -> str | None:
        """Say why the other side of ``transport`` is not ``node_id``, or None if it is."""
        shown = transport.getPeerCertificate()
        names = frozenset() if shown is None else names_in(shown.to_cryptography())
        if node_name(node_id) in names:
            return None
        return (
            f"its certificate is not for {node_name(node_id)} but for {sorted(names) or 'nobody'}"
        )

    @staticmethod
    def failure_of(reason: Failure) -> str | None:
        """Return what was wrong if TLS is why a connection ended, or None."""
        if not reason.check(SSL.Error):
            return None
        text = _reason(reason.value)
        if "alert" in text:
            return f"the other side does not believe this node's certificate ({text})"
        if "peer did not return a certificate" in text:
            return "the other side has no certificate"
        if "wrong version" in text or "packet length" in text:
            return (
                "the other side does not speak TLS; "
                "start it with --peer-ca, --peer-cert, --peer-key"
            )
        return f"TLS failed ({text})"


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
@define(eq=False)
class Handshake:
    """One connection between nodes: both sides must show a certificate."""

    _context: SSL.Context
    _refused: Callable[[str], None]
    """Told why the other side's certificate is not believed."""

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection = SSL.Connection(self._context, None)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verify)
        return connection

    serverConnectionForTLS = clientConnectionForTLS

    def _verify(self, connection: Any, shown: Any, number: int, depth: int, is_good: int) -> bool:
        if not is_good:
            subject = shown.to_cryptography().subject.rfc4514_string()
            problem = _PROBLEMS.get(number, f"is not believed (OpenSSL's reason {number})")
            self._refused(f"the certificate of {subject[:200]} {problem}")
        return bool(is_good)


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class ClientTls:
    """What a node shows to its clients, who need no certificate.  Raises as PeerTls does."""

    files: Files
    _context: SSL.Context = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reload()

    def reload(self) -> None:
        """Read the files again, for connections to come.  ValueError means that nothing changed."""
        context = self.files.load()
        self.files.own()
        context.set_alpn_select_callback(_select_http)
        self._context = context

    def names(self) -> frozenset[str]:
        """Return the names that the certificate is for."""
        return names_in(self.files.own())

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """See IOpenSSLServerConnectionCreator."""
        return SSL.Connection(self._context, None)


def _select_http(connection: Any, offered: list[bytes]) -> Any:
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS
