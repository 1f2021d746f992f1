"""Abuse of the port between nodes: the names (P1 ...) are those of docs/TESTING.md.

P5 and P7 to P9 are in tests/peers, too, where there are secrets and certificates.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.peers.base import LIMIT, MeshBench, Wire, hello
from tests.support.node import Bench, make_bench
from uring.machines.commands import Put
from uring.peers.limits import PeerLimits
from uring.raft.messages import (
    Append,
    AppendResponse,
    Heartbeat,
    InstallSnapshot,
    Message,
    TimeoutNow,
    Vote,
    VoteResponse,
)
from uring.raft.types import ConfState, EntryKind, Snapshot, SnapshotMeta
from uring.wire.codec import DecodeError, decode_messages, encode_messages, seal
from uring.wire.framing import encode_frame
from uring.wire.hello import HelloRefused, encode_hello

BEAT = Heartbeat(to=1, from_=2, term=1)


class StreamTests(SynchronousTestCase):
    """Bytes that are no frames, or not those that should come."""

    def setUp(self) -> None:
        self.bench = MeshBench()
        self.witness = self.bench.accept().greet(hello(3))
        self.bench.news.clear()

    def served(self) -> None:
        """Check that another node is heard."""
        beat = Heartbeat(to=1, from_=3, term=1)
        self.witness.say([beat])
        self.assertEqual(self.bench.news, [("got", 3, [beat])])
        self.bench.news.clear()

    def closed(self, name: str, data: bytes, ready: bool = False) -> Wire:
        wire = self.bench.accept()
        if ready:
            wire.greet(hello(2))
            self.bench.news.clear()
        wire.link.dataReceived(data)
        self.assertTrue(wire.closed, name)
        self.assertLess(wire.link._decoder._held, 1 << 16, name)
        self.bench.news = [each for each in self.bench.news if each != ("down", 2)]
        self.served()
        return wire

    def test_lengths(self) -> None:
        """P1: a length that cannot be is refused at its four bytes; nothing is kept."""
        for length in (0, 4097, 1 << 20, 2**31, 2**32 - 1):
            self.closed(f"P1 {length}", length.to_bytes(4))
        limit = PeerLimits().frame_bytes
        for length in (0, limit + 1, 2**31, 2**32 - 1):
            self.closed(f"P1 ready {length}", length.to_bytes(4) + b"x" * 1000, ready=True)

    def test_silence(self) -> None:
        """P2, P3: a hello or a frame that does not end is closed in time, whatever trickles in."""
        limits = PeerLimits()
        early, late = self.bench.accept(), self.bench.accept().greet(hello(2))
        early.link.dataReceived((4000).to_bytes(4))
        late.link.dataReceived((1 << 20).to_bytes(4))
        for _ in range(int(max(limits.hello_seconds, limits.frame_seconds)) + 1):
            for wire in (early, late):
                wire.link.dataReceived(b"x")
            self.bench.clock.advance(1)
        self.assertTrue(early.closed and late.closed)

    def test_other_protocols(self) -> None:
        """P4: what speaks something else is closed, without an error in our own code."""
        chance = random.Random(4)
        for name, data in {
            "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "random": chance.randbytes(1000),
            "zeroes": bytes(1000),
            "msgpack of another": encode_frame(msgspec.msgpack.encode({"a": 1}), LIMIT),
            "deep": encode_frame(b"\x91" * 4000, LIMIT),
            "a list of a lie": encode_frame(b"\xdd\xff\xff\xff\xff", LIMIT),
            "a text of a lie": encode_frame(b"\xdb\xff\xff\xff\xff", LIMIT),
        }.items():
            self.closed(f"P4 {name}", data)
            self.closed(f"P4 ready {name}", data, ready=True)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_messages_first(self) -> None:
        """P5: messages before a hello are not looked at."""
        self.closed("P5", encode_frame(encode_messages([BEAT]), LIMIT))

    def test_hellos(self) -> None:
        """P6: a hello of another version or with fields out of range is refused."""
        good = msgspec.msgpack.decode(encode_hello(hello(2)))
        for place, value in (
            (1, 0),
            (1, 255),
            (1, 256),
            (1, -1),
            (2, b"short"),
            (2, b"c" * 17),
            (3, 0),
            (3, -1),
            (3, 2**63),
            (3, 2.0),
            (3, "2"),
            (4, b""),
            (4, b"x" * 17),
            (5, ""),
            (5, "x" * 513),
            (5, b"\xff"),
            (6, -1),
            (6, 2**64 - 1),
            (7, b"x" * 33),
        ):
            changed = [*good[:place], value, *good[place + 1 :]]
            data = encode_frame(msgspec.msgpack.encode(changed), LIMIT)
            self.closed(f"P6 {place} {value!r}", data)
        self.closed("P6 too few", encode_frame(msgspec.msgpack.encode(good[:3]), LIMIT))

    def test_unwanted(self) -> None:
        """P6, P10: another cluster, an unknown, removed or own id is refused, and told why."""
        for code in ("cluster", "id", "instance", "self"):
            self.bench.refusal = HelloRefused(code, "go away")
            wire = self.bench.accept().greet(hello(2))
            self.assertEqual((wire.closed, wire.hellos()), (True, [self.bench.refusal]))
            self.served()

    def test_second_connection(self) -> None:
        """P11: the newer of two accepted connections of a node stays, and nothing flaps."""
        old = self.bench.accept().greet(hello(2))
        new = self.bench.accept().greet(hello(2))
        self.assertEqual((old.closed, new.closed), (True, False))
        self.assertNotIn(("down", 2), self.bench.news)
        self.bench.clock.pump([1] * 30)
        self.assertFalse(new.closed)

    def test_names_of_others(self) -> None:
        """P12: a message in another's name, or for another, closes the connection."""
        for wrong in (Heartbeat(to=1, from_=3, term=1), Heartbeat(to=2, from_=2, term=1)):
            self.closed("P12", encode_frame(encode_messages([wrong]), LIMIT), ready=True)

    def test_mutations(self) -> None:
        """P4: three thousand frames with some bytes changed end no more than their connection."""
        chance = random.Random(5)
        frames = [
            encode_messages([BEAT, Vote(to=1, from_=2, term=9, last_index=9, last_term=9)]),
            encode_messages(
                [
                    Append(
                        to=1,
                        from_=2,
                        term=1,
                        prev_index=0,
                        prev_term=0,
                        entries=(seal(1, 1, EntryKind.NORMAL, b"data"),),
                    )
                ]
            ),
            encode_hello(hello(2)),
        ]
        wire = self.bench.accept().greet(hello(2))
        for _ in range(3000):
            data = bytearray(encode_frame(chance.choice(frames), LIMIT))
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            if wire.closed:
                wire = self.bench.accept().greet(hello(2))
            wire.link.dataReceived(bytes(data))
        self.bench.news.clear()
        self.served()
        self.assertEqual(self.flushLoggedErrors(), [])


class RangeTests(SynchronousTestCase):
    """Messages whose fields cannot be."""

    def refused(self, name: str, message: Message, change: Callable[[list[Any]], None]) -> None:
        version, [fields] = msgspec.msgpack.decode(encode_messages([message]))
        change(fields)
        try:
            data = msgspec.msgpack.encode((version, [fields]))
        except OverflowError:  # not even an integer of msgpack
            return
        self.assertRaises(DecodeError, decode_messages, data)

    def test_terms(self) -> None:
        """P13, P15: terms and indexes are integers from 0 to 2^63-1, or the message is refused."""
        append = Append(to=1, from_=2, term=1, prev_index=5, prev_term=1, commit=5)
        for message in (BEAT, append, AppendResponse(to=1, from_=2, term=1, index=3)):
            fields = msgspec.msgpack.decode(encode_messages([message]))[1][0]
            places = [n for n, each in enumerate(fields) if n and type(each) is int]
            for place in places:
                for value in (2**64 - 1, 2**63, -1, 1.0, 2**200, None, "1", True, [1]):

                    def change(fields: list[Any], place: int = place, value: Any = value) -> None:
                        fields[place] = value

                    self.refused(f"P13 {place} {value!r}", message, change)

    def test_entries(self) -> None:
        """P14: entries with a gap, a falling term, or of a later term than their leader's."""

        def append(*entries: tuple[int, int], term: int = 3) -> Append:
            sealed = tuple(seal(each, index, EntryKind.NORMAL, b"") for each, index in entries)
            return Append(to=1, from_=2, term=term, prev_index=5, prev_term=2, entries=sealed)

        decode_messages(encode_messages([append((2, 6), (3, 7))]))
        for wrong in (
            append((2, 7)),
            append((2, 6), (2, 8)),
            append((2, 6), (2, 6)),
            append((2, 5)),
            append((1, 6)),
            append((3, 6), (2, 7)),
            append((4, 6)),
        ):
            self.assertRaises(DecodeError, decode_messages, encode_messages([wrong]))

    def test_damaged_entry(self) -> None:
        """P14: an entry whose checksum is wrong is refused."""
        entry = seal(1, 1, EntryKind.NORMAL, b"data")
        append = Append(to=1, from_=2, term=1, prev_index=0, prev_term=0, entries=(entry,))
        data = encode_messages([append]).replace(b"data", b"Data")
        self.assertRaises(DecodeError, decode_messages, data)


class MemberTests(SynchronousTestCase):
    """Messages of a member that is wrong, or lies, to a whole node."""

    def setUp(self) -> None:
        self.bench = self.follower()

    def follower(self) -> Bench:
        """Return node 1, no member yet, with three entries of node 2, two of them committed."""
        bench = make_bench(self.mktemp(), bootstrap=False)
        self.addCleanup(bench.close)
        bench.node.administration.clusters.update({2: b"c" * 16, 3: b"c" * 16})
        entries = tuple(seal(1, n, EntryKind.NORMAL, b"") for n in (1, 2, 3))
        append = Append(to=1, from_=2, term=1, prev_index=0, prev_term=0, entries=entries, commit=2)
        bench.node.receive(2, [append])
        bench.settle()
        self.assertEqual(self.state(bench), (1, 3, 2))
        return bench

    def state(self, bench: Bench) -> tuple[int, int, int]:
        status = bench.node.status()
        return status["term"], status["last_index"], status["commit_index"]

    def take(self, *messages: Any) -> None:
        self.bench.node.receive(messages[0].from_, messages)
        self.bench.settle()

    def test_previous_entry_that_is_not_there(self) -> None:
        """P14: an append after what is not there is rejected; nothing changes."""
        entry = seal(1, 10, EntryKind.NORMAL, b"")
        self.take(Append(to=1, from_=2, term=1, prev_index=9, prev_term=1, entries=(entry,)))
        self.assertEqual(self.state(self.bench), (1, 3, 2))
        answer = self.bench.mesh.sent[-1][1]
        assert isinstance(answer, AppendResponse)
        self.assertTrue(answer.reject)

    def test_commit_beyond_the_entries(self) -> None:
        """P15: nothing is committed that is not in the log, whatever the leader says."""
        self.take(Append(to=1, from_=2, term=1, prev_index=3, prev_term=1, commit=2**63 - 1))
        self.assertEqual(self.state(self.bench), (1, 3, 3))
        self.assertEqual(self.bench.stopped, [])

    def test_committed_entry_replaced(self) -> None:
        """P16: a leader that would replace a committed entry is told what is committed."""
        entries = (seal(2, 2, EntryKind.NORMAL, b"other"),)
        self.take(Append(to=1, from_=2, term=2, prev_index=1, prev_term=1, entries=entries))
        log = self.bench.directory.log
        self.assertEqual((log.term(2), log.last_index()), (1, 3))
        answer = self.bench.mesh.sent[-1][1]
        assert isinstance(answer, AppendResponse)
        self.assertEqual((answer.index, answer.reject), (2, False))

    def test_votes_of_strangers(self) -> None:
        """P17: votes from no voter, twice, or for an older term make no leader."""
        self.take(
            VoteResponse(to=1, from_=9, term=1),
            VoteResponse(to=1, from_=9, term=1),
        )
        self.take(VoteResponse(to=1, from_=2, term=0))
        self.assertNotEqual(self.bench.node.status()["role"], "Leader")
        self.assertEqual(self.state(self.bench), (1, 3, 2))

    def test_acknowledgement_beyond_the_log(self) -> None:
        """P18: a leader commits nothing on the word of who has more than there is."""
        bench = make_bench(self.mktemp())
        self.addCleanup(bench.close)
        bench.settle()
        before = self.state(bench)
        term = before[0]
        bench.node.receive(2, [AppendResponse(to=1, from_=2, term=term, index=2**62)])
        bench.settle()
        self.assertEqual(self.state(bench), before)
        self.assertEqual(bench.stopped, [])
        answers = bench.submit(Put("k", "v"))
        bench.settle()
        self.assertEqual(len(answers), 1)

    def test_told_to_campaign_by_no_leader(self) -> None:
        """P19: only a member's leader can tell a node to campaign, and only in its term."""
        self.take(TimeoutNow(to=1, from_=3, term=0))
        self.assertEqual(self.state(self.bench), (1, 3, 2))
        self.take(TimeoutNow(to=1, from_=2, term=1))  # it is no voter
        self.assertEqual(self.state(self.bench)[0], 1)

    def test_snapshots_that_are_none(self) -> None:
        """P20: a snapshot that is older than the state, or of nobody, changes nothing."""
        for index, conf in ((1, ConfState(voters=(1, 2))), (2, ConfState(voters=(1,)))):
            snapshot = Snapshot(SnapshotMeta(index, 1, conf))
            self.take(InstallSnapshot(to=1, from_=2, term=1, snapshot=snapshot))
            self.assertEqual(self.state(self.bench), (1, 3, 2))
        self.assertEqual(self.bench.stopped, [])
