"""What a node shows, whom it believes, who may reach it: decided before anything starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.logger import Logger

from uring.access import Access
from uring.options import Settings
from uring.peers.address import is_local, listener
from uring.peers.proof import Secret

if TYPE_CHECKING:  # TLS is loaded only where it is used: see uring.lean
    from uring.peers.tls import ClientTls, PeerTls

SECRET_VARIABLE = "URING_PEER_SECRET"
SECRET_BYTES_MAX = 4096

_log = Logger(namespace="uring.security")


@frozen
class Security:
    """How one node is protected."""

    peer_tls: PeerTls | None
    secret: Secret | None
    https: dict[str, ClientTls]
    """By endpoint, those at which clients come by TLS."""

    def reload(self) -> None:
        """Read all certificates again; what cannot be used leaves the old ones as they are."""
        for tls in (self.peer_tls, *self.https.values()):
            if tls is None:
                continue
            try:
                tls.reload()
            except ValueError as problem:
                _log.error("{problem}; the old certificate stays in use", problem=str(problem))
            else:
                _log.info("{file} was read again", file=tls.files.certificate)

    @property
    def has_files(self) -> bool:
        """Whether there is anything to read again."""
        return self.peer_tls is not None or bool(self.https)

    def warn_of_tokens(self, settings: Settings, access: Access) -> None:
        """Say so, once, when there are tokens that can be read on their way."""
        exposed = [
            endpoint
            for endpoint in _endpoints(settings)
            if not is_local(endpoint) and endpoint not in self.https
        ]

        def check() -> None:
            if access.required and exposed:
                _log.warn(
                    "insecure: tokens come to {endpoints} without TLS: whoever can see packets "
                    "can take them out",
                    endpoints=", ".join(exposed),
                )
                exposed.clear()

        access.on_change.append(check)
        check()

    def names(self) -> frozenset[str]:
        """Return the names for which clients are shown a certificate."""
        return frozenset().union(*(tls.names() for tls in self.https.values()))


def secure(settings: Settings, reactor: Any) -> Security:
    """Read the certificates and secrets that ``settings`` name.

    Raises ValueError, one line that says what to do, for a file that cannot be used, and where
    others could listen or pass for a node and nobody said that they may.
    """
    endpoints = _endpoints(settings)
    https = {}
    for endpoint in endpoints:
        files = listener(reactor, endpoint).files
        if files is not None:
            from uring.peers.tls import ClientTls

            https[endpoint] = ClientTls(files)
    security = Security(_peer_tls(settings), _secret(settings), https)
    _check_exposure(settings, security, endpoints)
    return security


def _endpoints(settings: Settings) -> list[str]:
    return [settings.endpoint] + ([settings.http] if settings.http is not None else [])


def _peer_tls(settings: Settings) -> PeerTls | None:
    if settings.peer_ca is None or settings.peer_cert is None or settings.peer_key is None:
        return None  # the options have seen to it that it is all or none
    from uring.peers.tls import Files, PeerTls

    files = Files(settings.peer_cert, settings.peer_key, authorities=settings.peer_ca)
    return PeerTls(settings.node_id, files)


def _secret(settings: Settings) -> Secret | None:
    named, given = settings.peer_secret_file, os.environ.get(SECRET_VARIABLE)
    if named is None:
        return None if given is None else Secret(given.encode())
    if given is not None:
        raise ValueError(f"there are both --peer-secret-file and {SECRET_VARIABLE}; take one away")
    try:
        with Path(named).open("rb") as file:
            text = file.read(SECRET_BYTES_MAX + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        # The name is not repeated: it might be the secret itself.
        raise ValueError(
            f"--peer-secret-file names no file that can be read ({error.strerror}); it takes a "
            "path, never the secret"
        ) from None
    if len(text) > SECRET_BYTES_MAX:
        raise ValueError(f"--peer-secret-file={named}: has more than {SECRET_BYTES_MAX} bytes")
    if mode & 0o007:
        raise ValueError(f"--peer-secret-file={named}: everybody may read it; chmod 600 {named}")
    return Secret(text.strip())


def _check_exposure(settings: Settings, security: Security, endpoints: list[str]) -> None:
    problems = []
    for endpoint in endpoints:
        if not is_local(endpoint) and endpoint not in security.https:
            problems.append(
                f"{endpoint} can be reached from other machines, without TLS for clients: write "
                "ssl:PORT:interface=ADDRESS:privateKey=FILE:certKey=FILE, or listen on 127.0.0.1"
            )
    proven = security.peer_tls is not None or security.secret is not None
    if not is_local(settings.endpoint) and not proven:
        problems.append(
            f"{settings.endpoint} can be reached from other machines, and anyone there could pass "
            "for a node: write --peer-ca, --peer-cert and --peer-key, or --peer-secret-file"
        )
    if problems and not settings.insecure:
        raise ValueError(f"{'; '.join(problems)}; or say --insecure")
    for problem in problems:
        _log.warn("insecure: {problem}", problem=problem)
