"""Certificates between nodes, over real connections through the door that all share."""

from __future__ import annotations

import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from contrib.certificates import Authority
from tests.peers.base import LIMIT, hello
from tests.support.http import RawClient
from uring.peers.address import client_endpoint
from uring.peers.door import PeerOrHttpFactory
from uring.peers.mesh import Mesh
from uring.peers.tls import ClientTls, Files, PeerTls
from uring.raft.messages import Heartbeat
from uring.wire.framing import encode_frame
from uring.wire.hello import MAGIC, encode_hello

SECRET_WORDS = b"nobody shall read this"


def files(authority: Authority, path: Path) -> Files:
    """Return what a node is given at its start."""
    return Files(str(path), str(path.with_suffix(".key")), authorities=str(authority.path))


class HttpStub(Protocol):
    """Stands for HTTP behind the door."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"http:" + data)  # type: ignore[union-attr]


@define
class Log:
    """Keeps what a mesh warns of."""

    warn: Callable[..., None]

    def info(self, text: str, **fields: object) -> None:
        pass


@define(eq=False)
class Member:
    """A mesh with a door of its own."""

    node_id: int
    mesh: Mesh
    port: Any = None
    address: str = ""
    lines: list[str] = field(factory=list)
    messages: list[Any] = field(factory=list)


class TlsTestCase(TestCase):
    """Members on loopback ports."""

    timeout = 30

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.directory = Path(self.mktemp()).absolute()
        self.authority = Authority.create(self.directory)
        self.members: list[Member] = []
        self.raws: list[RawClient] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for raw in self.raws:
            raw.transport.abortConnection()  # type: ignore[union-attr]
            await raw.until_closed()
        for member in self.members:
            await member.port.stopListening()
            await member.mesh.stop()

    async def member(self, node_id: int, tls: PeerTls | None, https: Any = None) -> Member:
        mesh = Mesh(
            clock=self.reactor,
            me=lambda: hello(node_id),
            check=lambda greeted: None,
            connect=lambda address: client_endpoint(self.reactor, address),
            random=random.Random(node_id),
            tls=tls,
        )
        member = Member(node_id, mesh)
        self.members.append(member)
        mesh.on_messages = lambda peer, messages: member.messages.extend(messages)

        def warn(text: str, **fields: object) -> None:
            member.lines.append(text.format(**fields))

        mesh.log = Log(warn)  # type: ignore[assignment]
        door = PeerOrHttpFactory(mesh.factory, Factory.forProtocol(HttpStub), self.reactor, https)
        member.port = await TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(door)
        member.address = f"127.0.0.1:{member.port.getHost().port}"
        mesh.start()
        return member

    async def certified(self, node_id: int, *names: str, **more: Any) -> Member:
        """Return a member with a certificate for ``names``; its own name if there are none."""
        path = self.authority.issue(f"m{node_id}", *(names or (f"node-{node_id}.uring",)), **more)
        tls = PeerTls(node_id, files(self.authority, path), is_checked=not (names or more))
        return await self.member(node_id, tls)

    async def until(self, condition: Callable[[], Any]) -> None:
        for _ in range(500):
            if condition():
                return
            await deferLater(self.reactor, 0.02, lambda: None)
        self.fail(f"waited too long: {[member.lines[:5] for member in self.members]}")

    async def raw(self, member: Member) -> RawClient:
        host, port = member.address.split(":")
        endpoint = TCP4ClientEndpoint(self.reactor, host, int(port))
        client: Any = await endpoint.connect(Factory.forProtocol(RawClient))
        self.raws.append(client)
        return client

    async def refused(self, one: Member, two: Member, here: str, there: str) -> None:
        """``two`` dials ``one``; both refuse, and say so in one line each."""
        two.mesh.add_seed(one.address)
        await self.until(lambda: one.lines and two.lines)
        for _ in range(3):  # further attempts are not worth further lines
            await deferLater(self.reactor, 0.1, lambda: None)
        self.assertEqual((one.mesh.connected(), two.mesh.connected()), (set(), set()))
        for member, text in ((one, here), (two, there)):
            (line,) = member.lines
            self.assertIn(text, line)
            self.assertNotIn("\n", line)


class MutualTests(TlsTestCase):
    """Who is believed, and who is not."""

    async def test_members(self) -> None:
        """Members with certificates in their names talk, and nobody else can read it."""
        one, two = await self.certified(1), await self.certified(2)
        seen = await self.tap(one)
        two.mesh.add_seed(f"127.0.0.1:{seen.port}")
        await self.until(lambda: one.mesh.connected() == {2} and two.mesh.connected() == {1})
        words = hello(2, address=SECRET_WORDS.decode())
        self.assertNotEqual(words, hello(2))
        beat = Heartbeat(to=1, from_=2, term=77, context=SECRET_WORDS)
        two.mesh.send(1, [beat])
        await self.until(lambda: one.messages)
        self.assertEqual(one.messages, [beat])
        self.assertGreater(len(seen.data), 500)
        self.assertNotIn(SECRET_WORDS, bytes(seen.data))
        self.assertNotIn(hello(2).cluster_id, bytes(seen.data))

    async def tap(self, member: Member) -> Any:
        """Listen in front of ``member`` and keep a copy of what passes by, both ways."""
        tap = Tap(self.reactor, member.address)
        port = await TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(tap)
        self.addCleanup(tap.close)
        self.addCleanup(port.stopListening)
        tap.port = port.getHost().port
        return tap

    async def test_wrong_name(self) -> None:
        """A member's certificate does not let it pass for another member."""
        one, two = await self.certified(1), await self.certified(2, "node-3.uring")
        await self.refused(one, two, "is not for node-2.uring", "is not for node-2.uring")

    async def test_wrong_name_of_the_one_that_is_dialled(self) -> None:
        """Nor is it believed of one that was dialled."""
        one, two = await self.certified(1, "node-2.uring"), await self.certified(2)
        await self.refused(one, two, "is not for node-1.uring", "is not for node-1.uring")

    async def test_no_name(self) -> None:
        """A certificate of the cluster's authority for no node is that of no node."""
        one, two = await self.certified(1), await self.certified(2, "www.example")
        await self.refused(one, two, "is not for node-2.uring", "is not for node-2.uring")

    async def test_expired(self) -> None:
        """An expired certificate is refused; both sides say why."""
        one, two = await self.certified(1), await self.certified(2, days=-1)
        await self.refused(one, two, "has expired", "does not believe this node's certificate")

    async def test_unknown_authority(self) -> None:
        """A certificate of another authority is refused, whatever name it carries."""
        one = await self.certified(1)
        stranger = Authority.create(self.directory / "other", "evil CA")
        path = stranger.issue("node-2", "node-2.uring")
        # It believes ours, so that only its own certificate is in question.
        mixed = Files(
            str(path), str(path.with_suffix(".key")), authorities=str(self.authority.path)
        )
        two = await self.member(2, PeerTls(2, mixed))
        await self.refused(
            one, two, "unknown authority", "does not believe this node's certificate"
        )

    async def test_no_certificate(self) -> None:
        """P7: who shows no certificate at all is refused, though it speaks TLS."""
        one = await self.certified(1)
        client = await self.raw(one)
        client.write(MAGIC)
        from twisted.internet.ssl import CertificateOptions

        client.transport.startTLS(CertificateOptions())  # type: ignore[union-attr]
        client.write(encode_frame(encode_hello(hello(2)), LIMIT))
        await client.until_closed()
        await self.until(lambda: one.lines)
        self.assertIn("has no certificate", one.lines[0])
        self.assertEqual(client.received, b"")

    async def test_without_tls(self) -> None:
        """P5: a node without certificates is refused by one with them, and the other way round."""
        one, two = await self.certified(1), await self.member(2, None)
        two.mesh.add_seed(one.address)
        await self.until(lambda: one.lines)
        self.assertIn("does not speak TLS", one.lines[0])
        one.mesh.add_seed(two.address)
        await self.until(lambda: any("--peer-ca" in line for line in two.lines))
        self.assertEqual((one.mesh.connected(), two.mesh.connected()), (set(), set()))

    async def test_garbage(self) -> None:
        """P4: what is neither TLS nor a hello ends the connection, and no other."""
        one, two = await self.certified(1), await self.certified(2)
        two.mesh.add_seed(one.address)
        await self.until(lambda: one.mesh.connected() == {2})
        chance = random.Random(7)
        for size in (1, 5, 100, 5000):
            client = await self.raw(one)
            client.write(MAGIC + chance.randbytes(size) + bytes(200))
            await client.until_closed()
        self.assertEqual(one.mesh.connected(), {2})
        self.assertEqual(self.flushLoggedErrors(), [])


class RotationTests(TlsTestCase):
    """New files without a restart."""

    async def test_new_certificates_serve_new_connections(self) -> None:
        """After a reload new connections use the new files; those that exist go on."""
        one, two = await self.certified(1), await self.certified(2)
        assert one.mesh.tls is not None
        two.mesh.add_seed(one.address)
        await self.until(lambda: two.mesh.connected() == {1})
        renewed = Authority.create(self.directory)  # the same paths, a new authority
        renewed.issue("m1", "node-1.uring")
        renewed.issue("m2", "node-2.uring")
        one.mesh.tls.reload()
        self.assertEqual(two.mesh.connected(), {1})
        two.mesh.renew(1)
        await self.until(lambda: any("refused" in line for line in two.lines))
        assert two.mesh.tls is not None
        two.mesh.tls.reload()
        await self.until(lambda: two.mesh.connected() == {1})

    async def test_bad_files_change_nothing(self) -> None:
        """A file that cannot be used is named, and everything stays as it was."""
        one, two = await self.certified(1), await self.certified(2)
        tls: Any = one.mesh.tls
        for name, change in {
            "m1.pem": lambda path: path.write_text("no certificate"),
            "m1.key": lambda path: path.write_bytes((self.directory / "m2.key").read_bytes()),
            "ca.pem": lambda path: path.unlink(),
        }.items():
            path = self.directory / name
            before = path.read_bytes()
            change(path)
            error = self.assertRaises(ValueError, tls.reload)
            self.assertIn(name, str(error))
            path.write_bytes(before)
        two.mesh.add_seed(one.address)
        await self.until(lambda: two.mesh.connected() == {1})


class HttpsTests(TlsTestCase):
    """The same door, with TLS for clients."""

    async def serving(self) -> tuple[Member, ClientTls]:
        path = self.authority.issue("server", "localhost", "127.0.0.1")
        tls = ClientTls(Files(str(path), str(path.with_suffix(".key"))))
        return await self.member(1, None, https=tls), tls

    async def secure(self, member: Member) -> RawClient:
        from twisted.internet.endpoints import wrapClientTLS
        from twisted.internet.ssl import Certificate, optionsForClientTLS

        trust = Certificate.loadPEM(self.authority.path.read_bytes())
        host, port = member.address.split(":")
        endpoint = wrapClientTLS(
            optionsForClientTLS("localhost", trust),
            TCP4ClientEndpoint(self.reactor, host, int(port)),
        )
        client: Any = await endpoint.connect(Factory.forProtocol(RawClient))
        self.raws.append(client)
        return client

    async def test_three_at_one_port(self) -> None:
        """Clients come by TLS, peers by their magic; plain HTTP is told to come by TLS."""
        one, _ = await self.serving()
        client = await self.secure(one)
        client.write(b"GET")
        self.assertEqual(await client.until(lambda data: len(data) >= 8), b"http:GET")
        plain = await self.raw(one)
        plain.write(b"GET / HTTP/1.1\r\n\r\n")
        answer = await plain.until_closed()
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertIn(b"https", answer)
        two = await self.member(2, None)
        two.mesh.add_seed(one.address)
        await self.until(lambda: one.mesh.connected() == {2})

    async def test_old_versions(self) -> None:
        """TLS before 1.2 is not spoken."""
        import ssl

        one, _ = await self.serving()
        host, port = one.address.split(":")

        def handshake() -> str:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self.authority.path)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            with socket.create_connection((host, int(port)), timeout=5) as plain:
                try:
                    context.wrap_socket(plain, server_hostname="localhost").close()
                except ssl.SSLError as error:
                    return str(error)
            return "connected"

        from twisted.internet.threads import deferToThread

        self.assertIn("alert protocol version", (await deferToThread(handshake)).lower())

    async def test_rotation(self) -> None:
        """A renewed certificate is shown to the next client."""
        one, tls = await self.serving()
        before = await self.secure(one)
        before.write(b"GET")
        await before.until(lambda data: len(data) >= 8)
        serial = self.serial(before)
        self.authority.issue("server", "localhost")
        tls.reload()
        after = await self.secure(one)
        after.write(b"GET")
        await after.until(lambda data: len(data) >= 8)
        self.assertNotEqual(self.serial(after), serial)
        before.write(b"still")
        self.assertEqual(await before.until(lambda data: len(data) >= 18), b"http:GEThttp:still")

    def serial(self, client: RawClient) -> int:
        transport: Any = client.transport
        return transport.getPeerCertificate().get_serial_number()


class FileTests(SynchronousTestCase):
    """Files that a node must not start with."""

    def setUp(self) -> None:
        self.authority = Authority.create(Path(self.mktemp()))
        self.path = self.authority.issue("node-1", "node-1.uring")

    def problem(self, node_id: int = 1) -> str:
        given = files(self.authority, self.path)
        return str(self.assertRaises(ValueError, PeerTls, node_id, given))

    def test_refused(self) -> None:
        """Each problem is one line that names the file."""
        self.assertIn("node-1.pem: is not for node-2.uring", self.problem(2))
        self.authority.issue("node-1", "node-1.uring", days=-3)
        self.assertIn("node-1.pem: is valid from", self.problem())
        self.path.write_text("")
        self.assertIn("node-1.pem: cannot be used", self.problem())
        self.path.unlink()
        self.assertIn("node-1.pem: No such file", self.problem())
        self.path = self.authority.issue("node-1", "node-1.uring")
        shutil.copy(self.authority.directory / "ca.key", self.path.with_suffix(".key"))
        self.assertIn("node-1.key: cannot be used", self.problem())


class Tap(Factory):
    """Connects each that comes with an address, and keeps what passes by."""

    def __init__(self, reactor: Any, address: str) -> None:
        self.reactor = reactor
        self.address = address
        self.data = bytearray()
        self.port = 0
        self.ends: list[TapEnd] = []

    def buildProtocol(self, addr: Any) -> Protocol:
        return TapEnd(self)

    async def close(self) -> None:
        for end in self.ends:
            end.transport.abortConnection()  # type: ignore[union-attr]
        await deferLater(self.reactor, 0.05, lambda: None)


class TapEnd(Protocol):
    """One half of a tapped connection."""

    def __init__(self, tap: Tap, other: TapEnd | None = None) -> None:
        self.tap = tap
        self.other = other
        self.waiting = b""
        tap.ends.append(self)

    def connectionMade(self) -> None:
        if self.other is None:
            host, port = self.tap.address.split(":")
            endpoint = TCP4ClientEndpoint(self.tap.reactor, host, int(port))
            far = TapEnd(self.tap, self)
            connecting: Deferred[Any] = endpoint.connect(Factory.forProtocol(lambda: far))  # type: ignore[arg-type]
            connecting.addCallback(self.through)

    def through(self, far: Any) -> None:
        self.other = far
        far.transport.write(self.waiting)

    def dataReceived(self, data: bytes) -> None:
        self.tap.data += data
        if self.other is None:
            self.waiting += data
        else:
            self.other.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()
