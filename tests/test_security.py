"""What a node refuses to start with, unless it is told to."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from contrib.certificates import Authority
from uring import security
from uring.access import Access
from uring.machines.commands import Token
from uring.options import Options
from uring.security import SECRET_VARIABLE, Security, secure

SECRET = "a secret that is long enough"


class SecurityTestCase(SynchronousTestCase):
    """Certificates and secrets in a directory."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.authority = Authority.create(self.directory)
        self.path = self.authority.issue("node-1", "node-1.uring", "db.example")
        self.key = self.path.with_suffix(".key")
        files = ("--peer-ca", self.authority.path, "--peer-cert", self.path, "--peer-key", self.key)
        self.peer_tls = tuple(map(str, files))
        self.secret = self.directory / "secret"
        self.secret.write_text(SECRET + "\n")
        self.secret.chmod(0o600)

    def secure(self, *words: str) -> Security:
        options = Options()
        options.parseOptions(list(words))
        return secure(options.settings, MemoryReactorClock())

    def ssl(self, interface: str) -> str:
        return f"ssl:8443:interface={interface}:privateKey={self.key}:certKey={self.path}"

    def refused(self, *words: str) -> str:
        problem = str(self.assertRaises(ValueError, self.secure, *words))
        self.assertNotIn("\n", problem)
        return problem


class ExposureTests(SecurityTestCase):
    """Who could listen, and who could pass for a node."""

    def test_loopback_needs_nothing(self) -> None:
        """What only this machine can reach is taken as it is."""
        for endpoint in ("127.0.0.1:1", "[::1]:1", "unix:/run/uring"):
            security = self.secure("-e", endpoint)
            self.assertEqual((security.peer_tls, security.secret, security.https), (None, None, {}))

    def test_exposed(self) -> None:
        """What others can reach needs TLS for clients, and proof of who a node is."""
        secret = ("--peer-secret-file", str(self.secret))
        problem = self.refused("-e", "10.0.0.7:1")
        self.assertIn("ssl:PORT", problem)
        self.assertIn("pass for a node", problem)
        self.assertIn("--insecure", problem)
        self.assertNotIn("ssl:PORT", self.refused("-e", self.ssl("10.0.0.7")))
        self.assertNotIn("pass for a node", self.refused("-e", "10.0.0.7:1", *secret))
        self.assertIn("ssl:PORT", self.refused("--http", "0.0.0.0:1"))
        self.secure("-e", self.ssl("10.0.0.7"), *secret)
        self.secure("-e", self.ssl("10.0.0.7"), *self.peer_tls)
        self.secure("-e", "127.0.0.1:1", "--http", self.ssl("10.0.0.7"))

    def test_tokens_that_can_be_read(self) -> None:
        """With the first token a node says once that others may see it on its way."""
        said: list[str] = []
        self.patch(security._log, "warn", lambda text, **more: said.append(text.format(**more)))
        token = Token("a" * 16, bytes(32), "admin", (), "", 0)
        for words, count in (
            (("-e", "127.0.0.1:1"), 0),
            (("-e", self.ssl("10.0.0.7"), *self.peer_tls), 0),
            (("-e", "127.0.0.1:1", "--http", "10.0.0.7:2", "--insecure"), 1),
        ):
            found, access = self.secure(*words), Access()
            said.clear()
            options = Options()
            options.parseOptions(list(words))
            found.warn_of_tokens(options.settings, access)
            self.assertEqual(said, [])
            for tokens in ([token], [], [token]):
                access.replace(tokens)
            self.assertEqual(len(said), count, words)
            self.assertTrue(all("10.0.0.7:2" in each for each in said))

    def test_insecure(self) -> None:
        """Who says so may do without."""
        security = self.secure("-e", "0.0.0.0:1", "--http", "10.0.0.7:2", "--insecure")
        self.assertFalse(security.has_files)


class FileTests(SecurityTestCase):
    """What is read at the start, and again."""

    def test_secrets(self) -> None:
        """A secret comes from a file or from the environment, and is long enough."""
        self.assertIsNotNone(self.secure("--peer-secret-file", str(self.secret)).secret)
        self.patch_environment(SECRET)
        self.assertIn(SECRET_VARIABLE, self.refused("--peer-secret-file", str(self.secret)))
        from_file, from_environment = None, self.secure().secret
        self.patch_environment(None)
        from_file = self.secure("--peer-secret-file", str(self.secret)).secret
        self.assertEqual(from_file, from_environment)
        self.patch_environment("short")
        self.assertIn("openssl rand", self.refused())

    def patch_environment(self, value: str | None) -> None:
        import os

        environment = {name: each for name, each in os.environ.items() if name != SECRET_VARIABLE}
        if value is not None:
            environment[SECRET_VARIABLE] = value
        self.patch(os, "environ", environment)

    def test_secrets_that_are_none(self) -> None:
        """A file that is missing, too short, too long, or everybody's is refused by name."""
        for content, mode, expected in (
            ("x" * 15, 0o600, "has 15 bytes"),
            ("", 0o600, "has 0 bytes"),
            ("x" * 5000, 0o600, "more than 4096"),
            (SECRET, 0o644, "chmod 600"),
        ):
            self.secret.write_text(content)
            self.secret.chmod(mode)
            problem = self.refused("--peer-secret-file", str(self.secret))
            self.assertIn(expected, problem)
            self.assertNotIn(SECRET, problem)
        problem = self.refused("--peer-secret", SECRET)
        self.assertIn("names no file that can be read (No such file", problem)
        self.assertNotIn(SECRET, problem)

    def test_certificates(self) -> None:
        """A certificate that cannot be used is refused by name, for clients and for peers."""
        self.assertIn("node-1.pem: is not for node-2", self.refused("-i2", *self.peer_tls))
        self.authority.issue("node-1", "node-1.uring", days=-1)
        self.assertIn("node-1.pem: is valid from", self.refused(*self.peer_tls))
        self.assertIn("node-1.pem: is valid from", self.refused("-e", self.ssl("127.0.0.1")))
        self.key.unlink()
        self.assertIn("node-1.key: No such file", self.refused("-e", self.ssl("127.0.0.1")))

    def test_names(self) -> None:
        """Names in a certificate for clients are names that they may use."""
        self.assertEqual(
            self.secure("-e", self.ssl("127.0.0.1")).names(), {"node-1.uring", "db.example"}
        )

    def test_reload(self) -> None:
        """What can be read again is; what cannot leaves the old one in use, and is logged."""
        security = self.secure("-e", self.ssl("127.0.0.1"), *self.peer_tls)
        assert security.peer_tls is not None
        before = security.peer_tls._context
        self.path.write_text("")
        security.reload()
        self.assertIs(security.peer_tls._context, before)
        self.authority.issue("node-1", "node-1.uring")
        security.reload()
        self.assertIsNot(security.peer_tls._context, before)
