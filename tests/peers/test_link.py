"""One connection: its hello, its frames, its bounds."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.peers.base import LIMIT, MeshBench, hello
from uring.peers.limits import PeerLimits
from uring.raft.messages import Heartbeat
from uring.wire.codec import decode_messages, encode_messages
from uring.wire.framing import encode_frame
from uring.wire.hello import MAGIC, HelloRefused, encode_hello

BEAT = Heartbeat(to=1, from_=2, term=3)
ANSWER = Heartbeat(to=2, from_=1, term=3)


class LinkTests(SynchronousTestCase):
    """Accepted and dialled connections."""

    def setUp(self) -> None:
        self.bench = MeshBench()

    def test_accepted(self) -> None:
        """An accepted side says hello after it has heard one; then messages flow both ways."""
        wire = self.bench.accept()
        self.assertEqual(wire.transport.value(), b"")
        wire.greet(hello(2))
        self.assertEqual(wire.hellos(), [hello(1)])
        wire.say([BEAT, BEAT])
        self.assertEqual(self.bench.news, [("hello", 2), ("up", 2), ("got", 2, [BEAT, BEAT])])
        self.assertTrue(self.bench.mesh.send(2, [ANSWER]))
        self.assertEqual(decode_messages(wire.frames()[1]), [ANSWER])

    def test_dialled(self) -> None:
        """A dialling side sends the magic and its hello at once, and waits for the other's."""
        self.bench.mesh.add_seed("10.0.0.2:1")
        wire = self.bench.succeed()
        self.assertTrue(wire.transport.value().startswith(MAGIC))
        self.assertEqual(wire.hellos(), [hello(1)])
        self.assertFalse(self.bench.mesh.send(2, [ANSWER]))
        wire.greet(hello(2))
        self.assertEqual(decode_messages(wire.frames()[1]), [])
        self.assertTrue(self.bench.mesh.send(2, [ANSWER]))

    def test_refusal_is_told(self) -> None:
        """Who is refused hears why before the connection is closed."""
        self.bench.refusal = HelloRefused("cluster", "another cluster")
        wire = self.bench.accept().greet(hello(2))
        self.assertEqual(wire.hellos(), [self.bench.refusal])
        self.assertTrue(wire.closed)
        self.assertEqual(self.bench.news, [])

    def test_being_refused_after_one_hello(self) -> None:
        """An accepted side that is refused by the dialling one was never up."""
        wire = self.bench.accept()
        wire.link.dataReceived(encode_frame(encode_hello(hello(2)), LIMIT))
        self.assertEqual(wire.hellos(), [hello(1)])
        wire.greet(HelloRefused("id", "taken"))
        self.assertTrue(wire.closed)
        self.assertEqual(self.bench.news, [])

    def test_refused_stranger_has_no_second_try(self) -> None:
        """What comes after a refused hello in the same segment is not looked at."""
        wire = self.bench.accept()
        wrong = encode_frame(encode_hello(hello(2, version=9)), LIMIT)
        right = encode_frame(encode_hello(hello(2)), LIMIT)
        wire.link.dataReceived(wrong + right + encode_frame(encode_messages([BEAT]), LIMIT))
        self.assertTrue(wire.closed)
        self.assertEqual(self.bench.news, [])

    def test_hello_and_a_large_frame_together(self) -> None:
        """What follows a hello in the same segment has the limit of messages."""
        self.bench.mesh.add_seed("10.0.0.2:1")
        wire = self.bench.succeed()
        batch = [BEAT] * 2000
        wire.link.dataReceived(
            encode_frame(encode_hello(hello(2)), LIMIT)
            + encode_frame(encode_messages(batch), LIMIT)
        )
        self.assertEqual(self.bench.news[-1], ("got", 2, batch))

    def test_busy_connection_stays(self) -> None:
        """A connection on which frames keep completing is never overdue."""
        wire = self.bench.accept().greet(hello(2))
        frame = encode_frame(encode_messages([BEAT]), LIMIT)
        wire.link.dataReceived(frame[:5])
        for _ in range(60):
            self.bench.clock.advance(1)
            wire.link.dataReceived(frame[5:] + frame[:5])
        self.assertFalse(wire.closed)

    def test_other_protocol_version(self) -> None:
        """Another version of the protocol is refused as such."""
        (refusal,) = self.bench.accept().greet(hello(2, version=9)).hellos()
        assert isinstance(refusal, HelloRefused)
        self.assertEqual(refusal.code, "version")

    def test_being_refused(self) -> None:
        """When the other side refuses, the connection ends."""
        self.bench.mesh.add_seed("10.0.0.2:1")
        wire = self.bench.succeed().greet(HelloRefused("id", "taken"))
        self.assertTrue(wire.closed)
        self.assertEqual(self.bench.news, [])

    def test_nonsense_closes(self) -> None:
        """Frames that are too large, undecodable or out of turn close the connection."""
        for data in (
            (2**32 - 1).to_bytes(4),
            (0).to_bytes(4),
            (5000).to_bytes(4),
            b"GET / HTTP/1.1\r\n\r\n",
            (3).to_bytes(4) + b"abc",
        ):
            wire = self.bench.accept()
            wire.link.dataReceived(data)
            self.assertTrue(wire.closed, data)
        ready = self.bench.accept().greet(hello(2))
        ready.link.dataReceived((3).to_bytes(4) + b"abc")
        self.assertTrue(ready.closed)

    def test_message_in_the_name_of_another(self) -> None:
        """Messages are only taken from the node that said hello, and only for this one."""
        for wrong in (Heartbeat(to=1, from_=3, term=3), Heartbeat(to=9, from_=2, term=3)):
            wire = self.bench.accept().greet(hello(2))
            wire.say([wrong])
            self.assertTrue(wire.closed)
        self.assertNotIn("got", [each[0] for each in self.bench.news])

    def test_silence_before_hello(self) -> None:
        """A connection without a hello is closed in time, and a byte a second does not help."""
        wire = self.bench.accept()
        wire.link.dataReceived((4000).to_bytes(4))
        for _ in range(int(PeerLimits().hello_seconds)):
            self.assertFalse(wire.closed)
            wire.link.dataReceived(b"x")
            self.bench.clock.advance(1)
        self.assertTrue(wire.closed)

    def test_frame_that_does_not_end(self) -> None:
        """A frame that has begun must end in time; silence between frames is no fault."""
        wire = self.bench.accept().greet(hello(2))
        self.bench.clock.pump([1] * 60)
        self.assertFalse(wire.closed)
        wire.link.dataReceived((1 << 20).to_bytes(4) + b"x")
        self.bench.clock.pump([1] * int(PeerLimits().frame_seconds + 1))
        self.assertTrue(wire.closed)

    def test_slow_peer_costs_its_outbox(self) -> None:
        """What waits for a peer that does not read is bounded; then messages are dropped."""
        self.bench.mesh.limits = PeerLimits(outbox_bytes=1000)
        wire = self.bench.accept().greet(hello(2))
        wire.link.pauseProducing()
        before = wire.transport.value()
        sent = 0
        while self.bench.mesh.send(2, [ANSWER]):
            sent += 1
            self.assertLess(sent, 1000)
        self.assertEqual(wire.transport.value(), before)
        wire.link.resumeProducing()
        self.assertEqual(len(wire.frames()), 1 + sent)
        self.assertTrue(self.bench.mesh.send(2, [ANSWER]))

    def test_nothing_after_the_end(self) -> None:
        """Bytes that come after a connection was closed are not looked at."""
        wire = self.bench.accept().greet(hello(2))
        wire.link.close()
        wire.say([BEAT])
        self.assertNotIn("got", [each[0] for each in self.bench.news])
