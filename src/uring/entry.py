"""Where twist and twistd come in: the options first, then the rest, which depends on them."""

from __future__ import annotations

from twisted.application.service import IService

from uring.lean import wants_tls, without_extras
from uring.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Return the node as a Twisted service.  Called by ``twist`` and ``twistd``."""
    with without_extras(wants_tls(options.settings)):
        from twisted.internet import reactor  # noqa: F401 # it takes TLS along where it can

        from uring import service
    return service.makeService(options)
