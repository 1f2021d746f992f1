"""The secret that nodes share: who has it, who has not, and who pretends."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.peers.base import LIMIT, MeshBench, Wire, hello
from uring.peers.proof import NONCE_BYTES, Secret
from uring.raft.messages import Heartbeat
from uring.wire.framing import encode_frame
from uring.wire.hello import MAGIC, Hello, HelloRefused, Proof, encode_hello

SECRET = Secret(b"a secret of thirty-two bytes ...")
OTHER = Secret(b"another secret of that length ..")
NONCE = b"n" * NONCE_BYTES
BEAT = Heartbeat(to=1, from_=2, term=3)


def frame(greeting: Hello | HelloRefused | Proof) -> bytes:
    """Return ``greeting`` as it is sent."""
    return encode_frame(encode_hello(greeting), LIMIT)


class PairTests(SynchronousTestCase):
    """Two nodes, 2 dialling 1, and a wire between them that the test can look into."""

    def pair(self, secret: Secret | None, other: Secret | None) -> None:
        self.one, self.two = MeshBench(1, secret), MeshBench(2, other)
        self.two.mesh.add_seed("10.0.0.1:1")
        self.accepted, self.dialled = self.one.accept(), self.two.succeed()
        self.said: dict[str, bytes] = {"accepted": b"", "dialled": b""}
        self.carry()

    def carry(self) -> None:
        """Carry bytes to and fro until nobody says anything more."""
        ends = {"accepted": (self.accepted, self.dialled), "dialled": (self.dialled, self.accepted)}
        while any(wire.transport.value() for wire, _ in ends.values()):
            for name, (wire, other) in ends.items():
                data = wire.transport.value()
                wire.transport.clear()
                self.said[name] += data
                if data and not other.closed:
                    other.link.dataReceived(data.removeprefix(MAGIC))

    def ups(self, bench: MeshBench) -> list[object]:
        return [each[1] for each in bench.news if each[0] == "up"]

    def test_both_have_it(self) -> None:
        """Nodes with the same secret are connected, and the secret is not on the wire."""
        self.pair(SECRET, SECRET)
        self.assertEqual((self.ups(self.one), self.ups(self.two)), ([2], [1]))
        self.accepted.link.send([Heartbeat(to=2, from_=1, term=3)])
        self.carry()
        self.assertEqual(self.two.news[-1][0], "got")
        self.assertNotIn(SECRET._key, self.said["accepted"] + self.said["dialled"])

    def test_wrong_secret(self) -> None:
        """P7: without the secret nobody is believed, nor is his hello looked at."""
        self.pair(SECRET, OTHER)
        self.assertEqual((self.ups(self.one), self.ups(self.two)), ([], []))
        self.assertTrue(self.accepted.closed and self.dialled.closed)
        self.assertEqual((self.one.checked, self.two.checked), ([], []))
        assert self.dialled.link.refusal is not None
        self.assertEqual(self.dialled.link.refusal.code, "secret")

    def test_only_one_has_one(self) -> None:
        """A node with a secret and one without say so and part, whoever dialled."""
        for secret, other in ((SECRET, None), (None, SECRET)):
            self.pair(secret, other)
            self.assertEqual((self.ups(self.one), self.ups(self.two)), ([], []))
            for wire in (self.accepted, self.dialled):
                assert wire.link.refusal is not None
                self.assertIn("--peer-secret-file", wire.link.refusal.reason)

    def test_stranger_is_shown_no_proof(self) -> None:
        """A stranger who dials gets nothing that he could try secrets against."""
        wire = MeshBench(1, SECRET).accept()
        wire.link.dataReceived(frame(hello(2, nonce=NONCE)))
        (answer,) = wire.hellos()
        self.assertIsInstance(answer, Hello)

    def test_messages_instead_of_a_proof(self) -> None:
        """P5: what comes instead of a proof closes the connection, and is not looked at."""
        bench = MeshBench(1, SECRET)
        wire = bench.accept()
        wire.link.dataReceived(frame(hello(2, nonce=NONCE)))
        wire.say([BEAT])
        self.assertTrue(wire.closed)
        self.assertEqual(bench.news, [])

    def test_large_frame_before_the_proof(self) -> None:
        """P1: until it has proved itself, the other side gets no more room than hellos need."""
        wire = MeshBench(1, SECRET).accept()
        wire.link.dataReceived(frame(hello(2, nonce=NONCE)) + (1 << 20).to_bytes(4))
        self.assertTrue(wire.closed)

    def test_real_peer_stays(self) -> None:
        """P7: who claims the id of a connected member does not drive it out."""
        self.pair(SECRET, SECRET)
        for impostor in (hello(2), hello(2, nonce=NONCE)):
            wire = self.one.accept()
            wire.link.dataReceived(frame(impostor) + frame(Proof(bytes(32))))
            self.assertTrue(wire.closed)
        self.assertFalse(self.accepted.closed)
        self.assertEqual(self.one.mesh.connected(), {2})

    def test_replay(self) -> None:
        """P8: what a node once said to prove itself proves nothing the next time."""
        self.pair(SECRET, SECRET)
        wire = self.one.accept()
        wire.link.dataReceived(self.said["dialled"].removeprefix(MAGIC))
        self.assertTrue(wire.closed)
        assert wire.link.refusal is not None
        self.assertEqual(wire.link.refusal.code, "secret")

    def test_replay_of_the_accepting_side(self) -> None:
        """P8: nor does what the accepting side said, to one who dials."""
        self.pair(SECRET, SECRET)
        fresh = MeshBench(2, SECRET)
        fresh.mesh.add_seed("10.0.0.1:1")
        wire = fresh.succeed()
        wire.link.dataReceived(self.said["accepted"])
        self.assertTrue(wire.closed)
        self.assertEqual(self.ups(fresh), [])

    def test_reflection(self) -> None:
        """P9: a node that is sent back its own words does not take them for another's."""
        bench = MeshBench(1, SECRET)
        bench.mesh.add_seed("10.0.0.2:1")
        wire = bench.succeed()
        while wire.transport.value() and not wire.closed:
            data = wire.transport.value()
            wire.transport.clear()
            wire.link.dataReceived(data.removeprefix(MAGIC))
        self.assertTrue(wire.closed)
        self.assertEqual((bench.news, bench.checked), ([], []))

    def test_reflection_by_way_of_another_connection(self) -> None:
        """P9: a proof of one side, asked for on another connection, is none of the other side."""
        bench = MeshBench(1, SECRET)
        bench.mesh.add_seed("10.0.0.2:1")
        dialled, accepted = bench.succeed(), bench.accept()
        mine = dialled.transport.value().removeprefix(MAGIC)
        accepted.link.dataReceived(mine)  # its own hello, as if another node had dialled
        dialled.link.dataReceived(accepted.transport.value())
        proof = dialled.frames()[-1]
        accepted.link.dataReceived(encode_frame(proof, LIMIT))
        answer = accepted.frames()
        # Only now do both ends know whom they met: this node itself, which it does not talk to.
        self.assertEqual(bench.checked, [1])
        self.assertEqual(len(answer), 2)

    def test_proofs_differ(self) -> None:
        """A proof depends on the secret, the side and every byte of both hellos."""
        proof = SECRET.prove("dialled", b"a", b"b")
        for other in (
            OTHER.prove("dialled", b"a", b"b"),
            SECRET.prove("accepted", b"a", b"b"),
            SECRET.prove("dialled", b"b", b"a"),
            SECRET.prove("dialled", b"ab", b""),
        ):
            self.assertNotEqual(proof, other)
        self.assertTrue(SECRET.is_proof(proof, "dialled", b"a", b"b"))

    def test_secret_that_can_be_guessed(self) -> None:
        """A short secret is refused, and none is shown where objects are printed."""
        self.assertRaises(ValueError, Secret, b"x" * 15)
        self.assertNotIn("thirty-two", repr(SECRET))

    def test_being_refused_after_the_proof(self) -> None:
        """A node that proved itself and is not wanted hears why."""
        self.one = MeshBench(1, SECRET)
        self.one.refusal = HelloRefused("cluster", "another cluster")
        self.two = MeshBench(2, SECRET)
        self.two.mesh.add_seed("10.0.0.1:1")
        self.accepted, self.dialled = self.one.accept(), self.two.succeed()
        self.said = {"accepted": b"", "dialled": b""}
        self.carry()
        self.assertEqual(self.dialled.link.refusal, self.one.refusal)
        self.assertEqual((self.ups(self.one), self.ups(self.two)), ([], []))


class ComplaintTests(SynchronousTestCase):
    """What strangers can make a node write to its log."""

    def test_flood_of_nonsense(self) -> None:
        """P6: a thousand bad hellos from one address are worth one line, until much later."""
        bench = MeshBench()
        lines: list[str] = []
        self.patch(bench.mesh.log, "warn", lambda text, **fields: lines.append(text))
        for _ in range(1000):
            Wire(bench.mesh.factory.buildProtocol(None)).link.dataReceived(bytes(4))  # type: ignore[arg-type]
        self.assertEqual(len(lines), 1)
        bench.clock.pump([60] * 11)
        bench.accept().link.dataReceived(bytes(4))
        self.assertEqual(len(lines), 2)
