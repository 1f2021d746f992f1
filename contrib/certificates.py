"""``bin/dev-ca``: an authority of one's own, and a certificate for each node of a cluster.

Meant for development and tests: the authority's key lies beside what it signs.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.python import usage

AUTHORITY_DAYS = 3650
LOCAL = ("localhost", "127.0.0.1", "::1")


@frozen
class Authority:
    """Signs certificates and writes them, with their keys, into its directory."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, directory: Path, name: str = "uring development CA") -> Authority:
        """Make a new authority: DIRECTORY/ca.pem and ca.key."""
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), _name(name), key, AUTHORITY_DAYS)
        certificate = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        ).sign(key, hashes.SHA256())
        _write(directory / "ca", key, certificate)
        return cls(directory, key, certificate)

    @classmethod
    def load(cls, directory: Path) -> Authority:
        """Open what :meth:`create` made."""
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{directory / 'ca.key'} was not made here")
        certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        return cls(directory, key, certificate)

    @property
    def path(self) -> Path:
        """Where its certificate is, for ``--peer-ca`` and for clients."""
        return self.directory / "ca.pem"

    def issue(self, stem: str, *names: str, days: int = 365) -> Path:
        """Write STEM.pem and STEM.key for ``names``; return the first.

        ``days`` from now until it ends; a negative number makes one that has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(stem), self.certificate.subject, key, days)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
            )
        certificate = builder.sign(self.key, hashes.SHA256())
        return _write(self.directory / stem, key, certificate)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - timedelta(days=1))  # clocks differ
        .not_valid_after(end)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(stem: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Path:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = stem.with_name(f"{stem.name}.key")
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
    path = stem.with_name(f"{stem.name}.pem")
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


class Options(usage.Options):
    """The command line of ``bin/dev-ca``."""

    synopsis = "Usage: bin/dev-ca DIRECTORY [-n ID ...] [--host NAME ...]"
    optParameters = [["days", None, 365, "How long the nodes' certificates are good", int]]
    longdesc = (
        "Makes DIRECTORY/ca.pem if there is none, and for each node DIRECTORY/node-ID.pem and "
        "node-ID.key.  Run again, it renews the nodes' certificates: SIGHUP makes nodes read them."
    )

    def __init__(self) -> None:
        super().__init__()
        self["nodes"] = []
        self["hosts"] = [*LOCAL]

    def opt_node(self, node_id: str) -> None:
        """Id of a node; may be given more than once [default: 1, 2 and 3]."""
        if not node_id.isdecimal() or int(node_id) < 1:
            raise usage.UsageError(f"{node_id!r} is no node's id: write -n 1")
        self["nodes"].append(int(node_id))

    opt_n = opt_node

    def opt_host(self, name: str) -> None:
        """Host name or IP address by which clients reach the nodes, beside this machine's own."""
        self["hosts"].append(name)

    def parseArgs(self, directory: str) -> None:  # type: ignore[override]
        """Take the one argument."""
        self["directory"] = directory


def main(words: list[str]) -> None:
    """Make what the command line asks for, and say how to use it."""
    options = Options()
    try:
        options.parseOptions(words)
    except usage.UsageError as problem:
        raise SystemExit(f"dev-ca: {problem}\n{options.synopsis}") from None
    directory = Path(options["directory"])
    exists = (directory / "ca.key").exists()
    authority = (Authority.load if exists else Authority.create)(directory)
    for node_id in options["nodes"] or (1, 2, 3):
        names = (f"node-{node_id}.uring", *options["hosts"])
        path = authority.issue(f"node-{node_id}", *names, days=options["days"])
        key = path.with_suffix(".key")
        print(f"node {node_id}:")
        print(f"  -e ssl:8443:interface=127.0.0.1:privateKey={key}:certKey={path} \\")
        print(f"  --peer-ca {authority.path} --peer-cert {path} --peer-key {key}")
    print(f"clients:\n  curl --cacert {authority.path} https://localhost:8443/status")


if __name__ == "__main__":
    main(sys.argv[1:])
