"""Twisted and autobahn without the parts that this node does not use: 15 MB of 70 at the start.

Both load OpenSSL, ``cryptography`` and WAMP whenever they find them.  All memory of a node counts
three times in a cluster, so where no option asks for TLS they are told that there is none, as on a
machine without pyOpenSSL, which both support.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec

from uring.options import Settings

TLS = ("OpenSSL", "cryptography", "service_identity")
"""What is imported for TLS alone."""
PACKAGES = ("autobahn.twisted", "autobahn.wamp")
"""Their ``__init__`` imports WAMP, which we do not speak; we need single modules of them."""


def wants_tls(settings: Settings) -> bool:
    """Tell whether anything of a node with these settings can speak TLS."""
    places = (settings.endpoint, settings.http or "")
    is_for_clients = any(place.partition(":")[0] in ("ssl", "tls") for place in places)
    return is_for_clients or settings.peer_ca is not None


@contextmanager
def without_extras(tls: bool) -> Iterator[None]:
    """Keep WAMP, and TLS unless ``tls``, from what is imported meanwhile for the first time."""
    # One without the others would be a broken installation to whoever imports them.
    hidden = [] if tls or any(name in sys.modules for name in TLS) else TLS
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # an import of it raises ImportError
    for name in PACKAGES:
        if name not in sys.modules:
            _open(name)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _open(name: str) -> None:
    """Let the modules of a package be imported without its ``__init__``."""
    found = find_spec(name)
    if found is None:
        return  # whoever imports it will say so
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = found.submodule_search_locations
    sys.modules[name] = module_from_spec(spec)
