"""The first frame of a connection."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.wire import hello as wire_hello
from uring.wire.codec import DecodeError
from uring.wire.hello import (
    HELLO_BYTES_MAX,
    MAGIC,
    Hello,
    HelloRefused,
    common_version,
    decode_hello,
    encode_hello,
)

HELLO = Hello(1, b"c" * 16, 2, b"i" * 16, "127.0.0.1:8082", 7)


class HelloTests(SynchronousTestCase):
    """Hellos and refusals."""

    def test_round_trips(self) -> None:
        """Hellos with and without a cluster, and refusals, come back as they were."""
        for hello in (
            HELLO,
            msgspec.structs.replace(HELLO, cluster_id=b""),
            HelloRefused("id", "x"),
        ):
            self.assertEqual(decode_hello(encode_hello(hello)), hello)
            self.assertLess(len(encode_hello(hello)), HELLO_BYTES_MAX)

    def test_what_makes_no_sense(self) -> None:
        """Ids and instances have their sizes, addresses are not empty."""
        for changes in (
            {"node_id": 0},
            {"node_id": -1},
            {"node_id": 2**63},
            {"cluster_id": b"short"},
            {"instance_id": b""},
            {"instance_id": b"x" * 17},
            {"address": ""},
            {"address": "x" * 513},
            {"version": 256},
            {"applied": -1},
            {"level": 0},
            {"newest": 256},
        ):
            wrong = msgspec.structs.replace(HELLO, **changes)
            with self.assertRaises(DecodeError):
                decode_hello(encode_hello(wrong))

    def test_common_version(self) -> None:
        """Two nodes speak the newest version of the protocol that both know, if there is one."""
        self.patch(wire_hello, "OLDEST", 2)
        self.patch(wire_hello, "NEWEST", 4)
        for theirs, expected in (
            ((2, 4), 4),
            ((1, 2), 2),
            ((4, 9), 4),
            ((3, 3), 3),
            ((3, 0), 3),  # a program that knows of one only
            ((1, 1), None),
            ((1, 0), None),
            ((5, 6), None),
        ):
            found = msgspec.structs.replace(HELLO, version=theirs[0], newest=theirs[1])
            self.assertEqual(common_version(found), expected, theirs)

    def test_fields_that_are_not_there(self) -> None:
        """A hello from before a field is read with its default; one with more is read, too."""
        whole = msgspec.msgpack.decode(encode_hello(HELLO))
        older = decode_hello(msgspec.msgpack.encode(whole[:-2]))
        assert isinstance(older, Hello)
        self.assertEqual((older.level, older.newest), (1, 0))
        self.assertEqual(decode_hello(msgspec.msgpack.encode([*whole, "more"])), HELLO)

    @given(st.binary(max_size=100))
    def test_any_bytes(self, data: bytes) -> None:
        """Bytes that are no hello are refused by DecodeError."""
        with self.assertRaises(DecodeError):
            decode_hello(data)

    def test_no_http_request_begins_like_a_peer(self) -> None:
        """The magic is not the beginning of any request line."""
        self.assertNotIn(b" ", MAGIC)
        self.assertTrue(MAGIC.endswith(b"\n"))
