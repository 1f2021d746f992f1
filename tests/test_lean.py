"""A node loads no more of the libraries than its options ask for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.test_plugin import run
from uring.lean import wants_tls
from uring.options import Options, Settings

STARTED = """
import sys
from uring import entry
options = entry.Options()
options.parseOptions(["-d", "unused", *sys.argv[1:]])
entry.makeService(options)
"""
"""As twistd does it."""

UNUSED = ("autobahn.twisted.wamp", "cryptography", "OpenSSL", "service_identity", "treq")


def settings(*words: str) -> Settings:
    options = Options()
    options.parseOptions(["-d", "unused", *words])
    return options.settings


class WantsTlsTests(SynchronousTestCase):
    """By what TLS is recognized."""

    def test_without(self) -> None:
        """Plain addresses want none, in either form."""
        self.assertFalse(wants_tls(settings("-e", "127.0.0.1:8080", "-p", "127.0.0.1:8081")))
        self.assertFalse(wants_tls(settings("-e", "tcp:8080", "--advertise", "a:8080")))

    def test_with(self) -> None:
        """A port for clients with a certificate wants it, and so do certificates of nodes."""
        https = "ssl:8443:privateKey=key:certKey=certificate"
        files = ("--peer-ca=a", "--peer-cert=b", "--peer-key=c")
        self.assertTrue(wants_tls(settings("-e", https, "--advertise", "a:8443")))
        self.assertTrue(wants_tls(settings("--http", https)))
        self.assertTrue(wants_tls(settings(*files)))


class WithoutExtrasTests(SynchronousTestCase):
    """What is kept out, and for how long."""

    def check(self, code: str, *words: str) -> None:
        done = run(STARTED + code, *words)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_plain_node(self) -> None:
        """A node without TLS loads neither OpenSSL nor WAMP."""
        self.check(f"assert not set({UNUSED}) & set(sys.modules), sorted(sys.modules)")

    def test_node_with_tls(self) -> None:
        """One with TLS has Twisted's, although WAMP is still left out."""
        self.check(
            "from twisted.internet import reactor\n"
            "from twisted.internet.interfaces import IReactorSSL\n"
            "from twisted.internet.tcp import Connection\n"
            "assert IReactorSSL.providedBy(reactor) and hasattr(Connection, 'startTLS')\n"
            "assert 'autobahn.twisted.wamp' not in sys.modules\n",
            "--http=ssl:8443:privateKey=key:certKey=certificate",
        )

    def test_nothing_stays_hidden(self) -> None:
        """What is imported later finds everything; what was loaded before is left alone."""
        self.check("import OpenSSL, cryptography.x509; from twisted.internet import ssl")

    def test_loaded_before(self) -> None:
        """What another part of the process uses already stays as it is."""
        done = run("import autobahn.twisted, OpenSSL\n" + STARTED + "autobahn.twisted.sleep")
        self.assertEqual(done.returncode, 0, done.stderr)
