"""The command line: what is taken, what is refused, and what the refusal says to write."""

from __future__ import annotations

from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from uring.options import Options, Settings


def parse(*words: str) -> Settings:
    options = Options()
    options.parseOptions(list(words))
    return options.settings


class DefaultTests(SynchronousTestCase):
    """What a node is told when nothing is said."""

    def test_defaults(self) -> None:
        """Without words the node listens on 127.0.0.1:8080 as node 1, with JSON logs."""
        settings = parse()
        self.assertEqual(settings.endpoint, "127.0.0.1:8080")
        self.assertEqual(settings.node_id, 1)
        self.assertEqual(settings.peers, ())
        self.assertFalse(settings.bootstrap)
        self.assertTrue(settings.json_logs)
        self.assertEqual((settings.heartbeat_ms, settings.election_ms), (100, 1000))
        self.assertEqual(settings.request_timeout_ms, 5000)

    def test_data_directory_follows_the_id(self) -> None:
        """The default data directory is named after the id."""
        self.assertEqual(parse("-i7").data_dir, "./raft-leveldb-7")
        self.assertEqual(parse("-i7", "-d", "elsewhere").data_dir, "elsewhere")


class SeedTests(SynchronousTestCase):
    """The command lines of the seed's README."""

    def test_first_node(self) -> None:
        """The line that founds a cluster is taken with its peers in order."""
        settings = parse(
            *("-e", "127.0.0.1:8081", "-p", "127.0.0.1:8082", "-p", "127.0.0.1:8083", "-i1", "-b")
        )
        self.assertEqual(settings.endpoint, "127.0.0.1:8081")
        self.assertEqual(settings.peers, ("127.0.0.1:8082", "127.0.0.1:8083"))
        self.assertTrue(settings.bootstrap)

    def test_restart_with_one_peer(self) -> None:
        """The line of a restart is taken, with its one peer and without -b."""
        settings = parse("-e", "127.0.0.1:8081", "-i", "1", "-p", "127.0.0.1:8082")
        self.assertEqual(settings.peers, ("127.0.0.1:8082",))
        self.assertFalse(settings.bootstrap)

    def test_later_options(self) -> None:
        """The options added later are taken, in their short forms too."""
        settings = parse("-b", "-r", "64", "--http", "127.0.0.1:9081", "-n")
        self.assertEqual(settings.ring_size, 64)
        self.assertEqual(settings.http, "127.0.0.1:9081")
        self.assertFalse(settings.json_logs)


class AddressTests(SynchronousTestCase):
    """Addresses: host:port or endpoint strings."""

    def test_accepted(self) -> None:
        """Host and port, IPv6 in brackets, and endpoint strings are taken."""
        for address in ("localhost:1", "[::1]:8080", "tcp:8080:interface=127.0.0.1", "unix:/x"):
            self.assertEqual(parse("-e", address).endpoint, address)

    def test_refused(self) -> None:
        """What is no address is refused with an example of one."""
        for address in ("", "8080", "host", "host:", ":8080", "host:65536", "a b:1", "::1:8080"):
            for option in ("-e", "-p", "--http"):
                error = self.assertRaises(UsageError, parse, option, address)
                self.assertIn("write 127.0.0.1:", str(error))

    def test_same_peer_twice(self) -> None:
        """A peer named twice is one peer."""
        self.assertEqual(parse("-p", "a:1", "-p", "a:1").peers, ("a:1",))

    def test_advertise(self) -> None:
        """Only what others can dial may be advertised."""
        self.assertEqual(parse("--advertise", "192.0.2.7:8080").advertise, "192.0.2.7:8080")
        for address in ("0.0.0.0:8080", "[::]:8080", "host:0", "tcp:8080", "x"):
            error = self.assertRaises(UsageError, parse, "--advertise", address)
            self.assertIn("write HOST:PORT", str(error))


class ProtectionTests(SynchronousTestCase):
    """Certificates, secrets and names."""

    FILES = ("--peer-ca", "ca.pem", "--peer-cert", "c.pem", "--peer-key", "k.pem")

    def test_peer_certificates(self) -> None:
        """The three files of TLS between nodes go together; which are missing is said."""
        settings = parse(*self.FILES)
        self.assertEqual(
            (settings.peer_ca, settings.peer_cert, settings.peer_key), ("ca.pem", "c.pem", "k.pem")
        )
        error = self.assertRaises(UsageError, parse, *self.FILES[:2])
        self.assertIn("needs --peer-cert and --peer-key", str(error))
        error = self.assertRaises(UsageError, parse, *self.FILES[2:])
        self.assertIn("needs --peer-ca", str(error))
        for option in ("--peer-ca", "--peer-secret-file"):
            error = self.assertRaises(UsageError, parse, *self.FILES, option, "")
            self.assertIn("is empty", str(error))

    def test_tls_in_a_peers_address(self) -> None:
        """An address of a peer says where it is, not how to talk to it."""
        error = self.assertRaises(UsageError, parse, "-p", "ssl:10.0.0.7:8443")
        self.assertIn("--peer-ca", str(error))

    def test_hosts(self) -> None:
        """Further names are taken lower-case; what is no name is refused."""
        settings = parse("--allow-host", "Uring.Example", "--allow-host", "[::1]")
        self.assertEqual(settings.allow_hosts, ("uring.example", "::1"))
        for name in ("", "a b", "uring.example:80", "*", "http://a"):
            error = self.assertRaises(UsageError, parse, "--allow-host", name)
            self.assertIn("without a port", str(error))


class OriginTests(SynchronousTestCase):
    """Pages of other origins."""

    def test_origins(self) -> None:
        """Origins are named one by one, exactly."""
        settings = parse("--allow-origin", "https://a.example", "--allow-origin", "http://b:3000")
        self.assertEqual(settings.allow_origins, ("https://a.example", "http://b:3000"))
        self.assertEqual(parse().allow_origins, ())
        for origin in ("*", "null", "", "https://A.example", "https://a.example/", "a.example"):
            error = self.assertRaises(UsageError, parse, "--allow-origin", origin)
            self.assertIn("as browsers do", str(error))


class LimitTests(SynchronousTestCase):
    """Bounds by name."""

    def test_set(self) -> None:
        """Every bound has a name, and can be set by it."""
        limits = parse("--limit", "body_bytes=1000", "--limit", "peer_hello_seconds=2.5").limits
        self.assertEqual((limits.clients.body_bytes, limits.peers.hello_seconds), (1000, 2.5))
        listed = limits.listed()
        self.assertEqual(listed["body_bytes"], 1000)
        for name, value in listed.items():
            self.assertEqual(parse("--limit", f"{name}={value}").limits.listed()[name], value)
        self.assertIn("peer_clients_per_address", listed)
        self.assertIn("node_waiting_commands", listed)
        guide = Path(__file__).parents[1] / "docs" / "SECURITY.md"
        if guide.exists():  # tests of an installed package may be elsewhere
            text = guide.read_text("utf-8")
            self.assertEqual([name for name in listed if f"`{name}`" not in text], [])

    def test_refused(self) -> None:
        """Unknown names and senseless values are refused, with what to write."""
        for text, expected in {
            "body_bytes": "write --limit NAME=VALUE",
            "nope=1": "unknown; known are backlog_bytes",
            "body_bytes=0": "a whole number above 0",
            "body_bytes=-1": "a whole number above 0",
            "body_bytes=1.5": "a whole number above 0",
            "body_bytes=1_0_x": "a whole number above 0",
            "body_bytes=99999999999999999999": "a whole number above 0",
            "idle_seconds=nan": "a number above 0",
            "idle_seconds=inf": "a number above 0",
            "idle_seconds=": "a number above 0",
        }.items():
            error = self.assertRaises(UsageError, parse, "--limit", text)
            self.assertIn(expected, str(error), text)


class NumberTests(SynchronousTestCase):
    """Numbers and how they go together."""

    def test_ids(self) -> None:
        """An id is a whole number from 1 to 2**63 - 1."""
        self.assertEqual(parse("-i", str(2**63 - 1)).node_id, 2**63 - 1)
        for text in ("0", "-1", "x", "1.0", str(2**63), "\u0661", ""):
            error = self.assertRaises(UsageError, parse, "-i", text)
            self.assertIn("--id=N with N from 1", str(error))

    def test_election_and_heartbeat(self) -> None:
        """An election time-out below three heartbeats is refused, and the least one is named."""
        self.assertEqual(parse("--heartbeat-ms", "50", "--election-ms", "150").election_ms, 150)
        error = self.assertRaises(UsageError, parse, "--heartbeat-ms", "50", "--election-ms", "149")
        self.assertIn("--election-ms=150", str(error))

    def test_ring_size(self) -> None:
        """A ring size goes with -b, from 1 to 2**24."""
        self.assertEqual(parse("-b", "-r", str(2**24)).ring_size, 2**24)
        for text in ("0", str(2**24 + 1), "-1"):
            self.assertRaises(UsageError, parse, "-b", "-r", text)
        error = self.assertRaises(UsageError, parse, "-r", "64")
        self.assertIn("--bootstrap", str(error))

    def test_trailing_entries(self) -> None:
        """Fewer entries are kept than make a snapshot."""
        error = self.assertRaises(
            UsageError, parse, "--snapshot-entries", "10", "--trailing-entries", "11"
        )
        self.assertIn("--trailing-entries=11", str(error))

    def test_stray_word(self) -> None:
        """A word that belongs to no option is refused."""
        error = self.assertRaises(UsageError, parse, "127.0.0.1:8082")
        self.assertIn("-p HOST:PORT", str(error))

    def test_backups(self) -> None:
        """Backups go to a directory that is not lost with the data."""
        found = parse("--backup-dir", "b", "--backup-interval-s", "60", "--backup-keep", "1")
        self.assertEqual(
            (found.backup_dir, found.backup_interval_s, found.backup_keep), ("b", 60, 1)
        )
        self.assertEqual((parse().backup_dir, parse().backup_keep), (None, 24))
        for place in ("d", "d/../d/backups", "./d/x"):
            error = self.assertRaises(UsageError, parse, "-d", "d", "--backup-dir", place)
            self.assertIn("--data-dir", str(error))
        for words in (
            ["--backup-dir", ""],
            ["--backup-interval-s", "0"],
            ["--backup-keep", "0"],
            ["--backup-keep", "some"],
        ):
            self.assertRaises(UsageError, parse, *words)
